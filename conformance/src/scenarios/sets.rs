//! StatefulSets and DaemonSets.
use crate::context::{Context, contains, eventually, same};
use anyhow::Result;
use serde_json::json;

/// Pods in order, with names that stay.
pub fn stateful(context: &Context) -> Result<()> {
    let mut service = context.service("db", "ClusterIP");
    service["spec"]["clusterIP"] = "None".into();
    context.apply_json(&service)?;
    let mut set = context.deployment("db", 2);
    set["kind"] = "StatefulSet".into();
    set["spec"]["serviceName"] = "db".into();
    context.apply_json(&set)?;
    context.rolled_out("statefulset/db")?;
    context.toolbox("client")?;
    eventually("each pod has its name", || {
        contains(&context.exec("client", &["testbox", "get", "http://db-1.db:8080/hostname"])?, "db-1")
    })?;
    let uid = context.value("pod/db-1", ".metadata.uid")?;
    context.kubectl(&["delete", "pod", "db-1"])?;
    context.wait("pod/db-1", "condition=Ready")?;
    anyhow::ensure!(context.value("pod/db-1", ".metadata.uid")? != uid, "db-1 was not replaced");
    context.kubectl(&["set", "image", "statefulset/db", &format!("web={}", context.image(2))])?;
    context.rolled_out("statefulset/db")?;
    same(context.value("pod/db-0", ".spec.containers[0].image")?, context.image(2))?;
    context.kubectl(&["scale", "statefulset/db", "--replicas=1"])?;
    eventually("the last pod goes first", || {
        same(
            context.kubectl(&["get", "pods", "-l", "app=db", "-o", "name"])?.trim().to_owned(),
            "pod/db-0".to_owned(),
        )
    })
}

/// A pod on every node, updated in place.
pub fn daemon(context: &Context) -> Result<()> {
    let mut set = context.deployment("agent", 0);
    set["kind"] = "DaemonSet".into();
    set["spec"] = json!({"selector": set["spec"]["selector"], "template": set["spec"]["template"]});
    context.apply_json(&set)?;
    context.rolled_out("daemonset/agent")?;
    let nodes = context.kubectl(&["get", "nodes", "-o", "name"])?.lines().count();
    same(context.value("daemonset/agent", ".status.numberReady")?, nodes.to_string())?;
    context.kubectl(&["set", "image", "daemonset/agent", &format!("web={}", context.image(2))])?;
    context.rolled_out("daemonset/agent")?;
    context.kubectl(&["rollout", "undo", "daemonset/agent"])?;
    context.rolled_out("daemonset/agent").map(|_| ())
}
