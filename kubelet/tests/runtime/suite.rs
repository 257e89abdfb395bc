//! The behaviours.

use std::time::{Duration, Instant};

use knarr_kubelet::runtime::types::*;

use crate::fixture::Fixture;

/// Runs all of them.
pub async fn run(fixture: &Fixture) {
    life(fixture).await;
}

/// A container is made, runs, speaks, is stopped with its signal, and leaves nothing.
async fn life(fixture: &Fixture) {
    let runtime = &fixture.runtime;
    let pod = fixture.pod("life");
    let sandbox = fixture.sandbox(&pod).await;
    let listed = runtime.list_pod_sandboxes(Some("uid-life")).await.expect("list");
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [sandbox.as_str()]);
    assert_eq!(listed[0].annotations.get("note").map(String::as_str), Some("kept"));
    let script = "trap 'echo bye; exit 3' TERM; echo out; echo err >&2; while true; do sleep 0.05; done";
    let id =
        runtime.create_container(&sandbox, fixture.script(&pod, script), pod.clone()).await.expect("created");
    let status = runtime.container_status(&id).await.expect("status");
    assert_eq!((status.state(), status.started_at), (ContainerState::Created, 0));
    runtime.start_container(&id).await.expect("started");
    fixture.hears(&pod, "err").await;
    let status = runtime.container_status(&id).await.expect("status");
    assert_eq!(status.state(), ContainerState::Running);
    assert!(status.started_at >= status.created_at && status.created_at > 0);
    let begun = Instant::now();
    runtime.stop_container(&id, Duration::from_secs(20)).await.expect("stopped");
    assert!(begun.elapsed() < Duration::from_secs(10), "it ends on its signal");
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.finished_at >= status.started_at);
    let log = std::fs::read_to_string(&status.log_path).expect("log");
    for line in ["stdout F out", "stderr F err", "stdout F bye"] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
    fixture.remove(&sandbox).await;
    assert!(runtime.list_containers(Some("uid-life")).await.expect("list").is_empty());
    assert!(runtime.list_pod_sandboxes(Some("uid-life")).await.expect("list").is_empty());
    runtime.stop_pod_sandbox(&sandbox).await.expect("what is gone needs no stopping");
    runtime.remove_pod_sandbox(&sandbox).await.expect("nor removing");
}
