//! A kubelet without API server on a containerd of its own: static pods run, are restarted, survive the
//! kubelet and leave nothing behind. Skipped, with a note, where it cannot run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use knarr_kubelet::runtime::choose::Choice;
use knarr_kubelet::runtime::embedded::HostOnly;
use tokio_util::sync::CancellationToken;

mod support;
use support::{Containerd, archive, obstacle};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: knarr_kubelet::Args,
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Contents of all log files of a container, in order of its restarts.
fn logs(root: &Path, container: &str) -> Vec<String> {
    let Ok(pods) = std::fs::read_dir(root) else { return Vec::new() };
    let directories = pods.flatten().map(|pod| pod.path().join(container));
    let mut files: Vec<PathBuf> = directories
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|files| files.flatten().map(|file| file.path()))
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect()
}

fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).map(|entries| entries.count()).unwrap_or_default()
}

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: init, image: "registry.test/busybox:1", command: [sh, -c, "echo made > /data/file"], volumeMounts: [{name: data, mountPath: /data}]}
  containers:
  - name: main
    image: registry.test/busybox:1
    command: [sh, -c, "cat /data/file; echo $(GREETING); sleep 1000"]
    env: [{name: GREETING, value: hello}]
    volumeMounts: [{name: data, mountPath: /data}]
  - {name: crash, image: "registry.test/busybox:1", command: [sh, -c, "echo crashed; exit 3"]}
  volumes: [{name: data, emptyDir: {}}]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_pods_live_and_die() {
    if let Some(obstacle) = obstacle(&["containerd", "ctr", "runc"]) {
        println!("skipped: {obstacle}");
        return;
    }
    let containerd = Containerd::start();
    let dir = containerd.dir.path();
    let file = dir.join("busybox.tar");
    std::fs::write(&file, archive()).expect("archive");
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = knarr_kubelet::images::Place::Containerd(containerd.socket()).load(&file).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (manifests, log_root, root) = (dir.join("manifests"), dir.join("logs"), dir.join("kubelet"));
    std::fs::create_dir(&manifests).expect("directory");
    std::fs::write(manifests.join("p.yaml"), POD).expect("manifest");
    let cgroup_root = format!("/knarr-test-{}", std::process::id());
    let cli = || {
        let words = [
            "kubelet".to_owned(),
            format!("--container-runtime-endpoint=unix://{}", containerd.socket()),
            format!("--root-dir={}", root.display()),
            format!("--pod-logs-dir={}", log_root.display()),
            format!("--pod-manifest-path={}", manifests.display()),
            format!("--cgroup-root={cgroup_root}"),
            "--hostname-override=n1".to_owned(),
            "--address=127.0.0.1".to_owned(),
            "--port=0".to_owned(),
        ];
        Cli::parse_from(words).args
    };

    let stop = CancellationToken::new();
    let kubelet = tokio::spawn(knarr_kubelet::run(cli(), Arc::new(HostOnly), stop.clone()));
    until("main has spoken", || logs(&log_root, "main").iter().any(|log| log.contains("hello"))).await;
    assert!(logs(&log_root, "main")[0].contains("made"), "init container ran first");
    until("crash was restarted", || logs(&log_root, "crash").len() >= 2).await;
    stop.cancel();
    kubelet.await.expect("task").expect("kubelet");

    let stop = CancellationToken::new();
    let kubelet = tokio::spawn(knarr_kubelet::run(cli(), Arc::new(HostOnly), stop.clone()));
    let begun = Instant::now();
    // Long enough for the pod to be looked at; its crashing container shows that it is.
    until("the new kubelet works", || begun.elapsed() > Duration::from_secs(1)).await;
    assert_eq!(logs(&log_root, "main").len(), 1, "main was adopted, not started again");
    std::fs::remove_file(manifests.join("p.yaml")).expect("manifest");
    until("nothing is left of the pod", || entries(&root.join("pods")) + entries(&log_root) == 0).await;
    stop.cancel();
    kubelet.await.expect("task").expect("kubelet");

    let node = knarr_kubelet::cleanup::Node {
        runtime: Choice {
            endpoint: containerd.socket(),
            root_dir: root,
            image_store_dir: dir.join("images"),
            registries: Default::default(),
            network: Arc::new(HostOnly),
        },
        cgroup_root,
        grace: Duration::from_secs(1),
    };
    knarr_kubelet::cleanup::remove_pods(&node).await.expect("pods removed");
    knarr_kubelet::cleanup::remove_files(&node).expect("files removed");
}
