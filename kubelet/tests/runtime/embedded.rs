//! What only the embedded runtime shows: networks of its own, a new kubelet, a killed sandbox.

use std::path::Path;
use std::time::Duration;

use knarr_kubelet::runtime::Runtime;
use knarr_kubelet::runtime::types::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{ADDRESS, Fixture, security};

/// A pod has a network, a host name and kernel parameters of its own.
pub async fn namespaces(fixture: &Fixture) {
    let mut pod = fixture.pod("namespaces");
    pod.hostname = "web".to_owned();
    let linux = pod.linux.get_or_insert_default();
    let options = linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default();
    options.network = NamespaceMode::Pod as i32;
    linux.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned());
    linux.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
    let sandbox = fixture.sandbox(&pod).await;
    let status = fixture.runtime.pod_sandbox_status(&sandbox).await.expect("status");
    assert_eq!(status.network.expect("network").ip, ADDRESS);
    let script = "hostname; cat /etc/hostname; echo $HOSTNAME; ls /sys/class/net; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced";
    let mut config = fixture.script(&pod, script);
    security(&mut config).namespace_options.get_or_insert_default().network = NamespaceMode::Pod as i32;
    let id = fixture.start(&sandbox, &pod, config).await;
    fixture.ended(&id).await;
    assert_eq!(fixture.said(&pod), "web\nweb\nweb\nlo\n7\n1");
    fixture.remove(&sandbox).await;
}

/// A new kubelet finds what runs, and what has ended meanwhile.
pub async fn adoption(fixture: &Fixture) {
    let pod = fixture.pod("adoption");
    let sandbox = fixture.sandbox(&pod).await;
    let script = "trap 'exit 7' TERM; echo ready; while true; do sleep 0.02; done";
    let id = fixture.start(&sandbox, &pod, fixture.script(&pod, script)).await;
    fixture.hears(&pod, "ready").await;
    let before = fixture.runtime.container_status(&id).await.expect("status");
    let other = (fixture.reopen.expect("embedded"))(&fixture.dir);
    assert_eq!(other.container_status(&id).await.expect("status"), before);
    let listed = other.list_pod_sandboxes(Some("uid-adoption")).await.expect("list");
    assert_eq!(listed[0].state(), PodSandboxState::Ready);
    let answer = other.exec_sync(&id, vec!["true".to_owned()], Duration::from_secs(10)).await.expect("exec");
    assert_eq!(answer.exit_code, 0);
    other.stop_container(&id, Duration::from_secs(10)).await.expect("stopped");
    assert_eq!(fixture.ended(&id).await.exit_code, 7);
    fixture.remove(&sandbox).await;
}

/// When a sandbox's process is killed, its containers end and are known to have ended.
pub async fn loss(fixture: &Fixture) {
    let pod = fixture.pod("loss");
    let sandbox = fixture.sandbox(&pod).await;
    let id = fixture.start(&sandbox, &pod, fixture.script(&pod, "sleep 7654; true")).await;
    let directory = fixture.dir.join("sandboxes").join(&sandbox);
    let read = |file: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(file).expect("file")).expect("document")
    };
    let pid = |value: &serde_json::Value| Pid::from_raw(value.as_i64().expect("process") as i32);
    let shim = pid(&read(&directory.join("sandbox.json"))["shim"]);
    let first = pid(&read(&directory.join("c").join(&id).join("status.json"))["pid"]);
    kill(shim, Signal::SIGKILL).expect("killed");
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
    let left = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap_or_default();
    assert!(left.is_empty() || left.contains(") Z "), "{left}");
    let listed = fixture.runtime.list_pod_sandboxes(Some("uid-loss")).await.expect("list");
    assert_eq!(listed[0].state(), PodSandboxState::NotReady);
    fixture
        .runtime
        .exec_sync(&id, vec!["true".to_owned()], Duration::ZERO)
        .await
        .expect_err("it does not run");
    fixture.remove(&sandbox).await;
    assert!(!directory.exists());
}
