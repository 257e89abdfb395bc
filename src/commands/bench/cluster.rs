//! A whole cluster of the benchmark's own: `up`, the first pod, the memory of every process.
use super::client::{Call, Connection, Target};
use super::report::{Report, median};
use super::{Scale, api, process};
use crate::cluster::{Cluster, paths};
use crate::progress::Progress;
use crate::supervisor::{self, components, holder};
use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Time between two looks for a server that is about to be started.
const LOOK: Duration = Duration::from_millis(2);

/// Takes all measurements in a cluster that is removed afterwards.
pub async fn measure(scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    let name = format!("bench-{}", std::process::id());
    let measured = tokio::time::timeout(api::PATIENCE * 3, play(&name, scale, report, progress)).await;
    progress.step("Removing the cluster");
    let begin = Instant::now();
    let removed = knarr(&["down", "--name", &name]).await;
    report.add_time("cluster.down", begin.elapsed());
    measured.context("the cluster took too long")??;
    removed
}

async fn play(name: &str, scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    progress.step("Creating a cluster");
    let begin = Instant::now();
    let arguments = ["up", "--name", name, "--no-kubeconfig", "--output", "json"];
    let (up, node) = tokio::join!(
        async { knarr(&arguments).await.map(|()| begin.elapsed()) },
        tokio::time::timeout(api::PATIENCE, node_ready(name))
    );
    let up = up?;
    let node = node.context("the node is not ready")??;
    report.add_time("cluster.node_ready", node - begin);
    report.add_time("cluster.up", up);
    let cluster = Cluster::open(&paths::home(), name)?;
    let target = Target::new(&cluster)?;
    let mut connection = target.connect().await?;
    if scale.wants("cluster.pod") {
        progress.step("Starting pods");
        let mut times = Vec::new();
        for number in 0..scale.pod_starts {
            times.push(pod_start(&mut connection, &format!("bench-{number}")).await?);
        }
        report.add_time("cluster.pod_first", times[0]);
        report.add_time("cluster.pod", median(times));
    }
    if scale.wants("cluster.memory") {
        progress.step("Measuring memory");
        memory(&cluster, "idle", report).await?;
        let pid = holder(&cluster.paths.lock("apiserver"))?.context("the API server does not run")?;
        api::prepare(&mut connection).await?;
        api::fill(&target, pid, scale).await?;
        memory(&cluster, "loaded", report).await?;
    }
    Ok(())
}

/// Memory of each process of the cluster; containerd and its shims are not counted.
async fn memory(cluster: &Cluster, when: &str, report: &mut Report) -> Result<()> {
    let plan = components(cluster)?;
    let own = plan.iter().map(|component| component.name).filter(|name| *name != crate::containerd::NAME);
    let mut pids = Vec::new();
    for name in own.chain([supervisor::NAME]) {
        pids.push((
            name,
            holder(&cluster.paths.lock(name))?.with_context(|| format!("{name} does not run"))?,
        ));
    }
    for (_, pid) in &pids {
        process::rest(*pid).await?;
    }
    let mut sum = 0.0;
    for (name, pid) in pids {
        let memory = process::memory(pid)?;
        sum += memory;
        report.add(format!("cluster.{name}.memory_{when}_mb"), memory);
    }
    report.add(format!("cluster.memory_{when}_mb"), sum);
    Ok(())
}

/// When the node of a cluster that is being created becomes Ready.
async fn node_ready(name: &str) -> Result<Instant> {
    let mut connection = loop {
        let opened = async {
            let cluster = Cluster::open(&paths::home(), name)?;
            let mut connection = Target::new(&cluster)?.connect().await?;
            connection.send(&Call::get("/readyz")).await?;
            Ok::<_, anyhow::Error>(connection)
        };
        match opened.await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(LOOK).await, // nothing announces a new listener
        }
    };
    let path = "/api/v1/nodes?watch=1&allowWatchBookmarks=true";
    watch(&mut connection, path, |_, node| condition(node, "Ready")).await
}

/// From sending a Deployment to its first pod's readiness.
async fn pod_start(connection: &mut Connection, name: &str) -> Result<Duration> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "main", "image": knarr_kubelet::runtime::PAUSE_IMAGE, "imagePullPolicy": "Never"},
            ]},
        }},
    });
    let collection = "/apis/apps/v1/namespaces/default/deployments";
    let selector = format!("labelSelector=app%3D{name}");
    let path = format!("/api/v1/namespaces/default/pods?watch=1&{selector}");
    let create = Call::json(Method::POST, collection, deployment.to_string());
    let begin = Instant::now();
    let mut watching = connection.clone();
    let (created, ready) = tokio::join!(
        connection.send(&create),
        tokio::time::timeout(api::PATIENCE, watch(&mut watching, &path, |_, pod| condition(pod, "Ready")))
    );
    created?;
    let time = ready.context("the pod is not ready")?? - begin;
    connection.send(&Call { method: Method::DELETE, ..Call::get(format!("{collection}/{name}")) }).await?;
    let gone = async {
        loop {
            let pods =
                connection.value(&Call::get(format!("/api/v1/namespaces/default/pods?{selector}"))).await?;
            let version = pods["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            if pods["items"].as_array().is_none_or(Vec::is_empty) {
                return Ok::<_, anyhow::Error>(());
            }
            let path = format!("{path}&resourceVersion={version}");
            watch(connection, &path, |change, _| change == "DELETED").await?;
        }
    };
    tokio::time::timeout(api::PATIENCE, gone).await.context("the pod does not go")??;
    Ok(time)
}

/// Watches until an event is what is waited for; returns when it came.
pub async fn watch(
    connection: &mut Connection,
    path: &str,
    awaited: impl Fn(&str, &Value) -> bool,
) -> Result<Instant> {
    let mut body = connection.open(&Call::get(path)).await?;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let event: Value =
                serde_json::from_slice(&rest.split_to(end + 1)).context("an event is no JSON")?;
            if awaited(event["type"].as_str().unwrap_or_default(), &event["object"]) {
                return Ok(Instant::now());
            }
        }
    }
    anyhow::bail!("the watch of {path} ended")
}

fn condition(object: &Value, name: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == name && one["status"] == "True")
}

/// Runs this program.
pub async fn knarr(arguments: &[&str]) -> Result<()> {
    let program = std::env::current_exe().context("cannot find the knarr program")?;
    let mut command = tokio::process::Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "knarr {}: {complaint}", arguments.join(" "));
    Ok(())
}
