//! Probes that kubectl's own words do not cover elsewhere.
use crate::context::{Context, contains, eventually};
use anyhow::{Result, ensure};
use serde_json::json;

/// gRPC's health protocol: serving, not serving, serving again; a service that the server does not know.
pub fn grpc(context: &Context) -> Result<()> {
    let mut pod = context.pod("caller", &["grpc-serve", "9000"]);
    let probe = |service: &str| json!({"grpc": {"port": 9000, "service": service}, "periodSeconds": 1});
    pod["spec"]["containers"][0]["startupProbe"] = json!({"grpc": {"port": 9000}, "periodSeconds": 1});
    pod["spec"]["containers"][0]["readinessProbe"] = probe("testbox");
    context.apply_json(&pod)?;
    context.wait("pod/caller", "condition=Ready")?;
    context.exec("caller", &["touch", "/tmp/failing"])?;
    context.wait("pod/caller", "condition=Ready=false")?;
    contains(&context.kubectl(&["describe", "pod", "caller"])?, "Readiness probe failed: service unhealthy")?;
    context.exec("caller", &["rm", "/tmp/failing"])?;
    context.wait("pod/caller", "condition=Ready")?;

    let mut pod = context.pod("stranger", &["grpc-serve", "9000"]);
    pod["spec"]["containers"][0]["livenessProbe"] = probe("nobody");
    pod["spec"]["containers"][0]["livenessProbe"]["failureThreshold"] = 1.into();
    context.apply_json(&pod)?;
    eventually("the container is restarted", || {
        let count = context.value("pod/stranger", ".status.containerStatuses[0].restartCount")?;
        ensure!(count.parse::<u32>().unwrap_or(0) > 0, "restarts: {count:?}");
        Ok(())
    })?;
    contains(&context.kubectl(&["describe", "pod", "stranger"])?, "failed liveness probe, will be restarted")
}
