//! A kubelet without API server on a containerd of its own: static pods run, are restarted, survive the
//! kubelet and leave nothing behind. Skipped, with a note, where it cannot run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "registry.test/busybox:1";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: knarr_kubelet::Args,
}

/// A containerd that ends with the test.
struct Containerd {
    process: Child,
    dir: tempfile::TempDir,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.internal.v1.opt\"]\n\
             [grpc]\n  address = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"{IMAGE}\"\n  restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\n  conf_dir = {:?}\n",
            at("root"),
            at("state"),
            at("c.sock"),
            at("cni"),
        );
        std::fs::write(dir.path().join("config.toml"), config).expect("configuration");
        let log = std::fs::File::create(dir.path().join("containerd.log")).expect("log");
        let process = Command::new("containerd")
            .arg("--config")
            .arg(dir.path().join("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd starts");
        Self { process, dir }
    }

    fn socket(&self) -> String {
        self.dir.path().join("c.sock").display().to_string()
    }
}

/// Why the test cannot run here.
fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    for program in ["containerd", "ctr", "runc"] {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Some(format!("no {program}"));
        }
    }
    match busybox() {
        Some(_) => None,
        None => Some("no static busybox".to_owned()),
    }
}

fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// An archive with one image: busybox, which by default sleeps, so that it is its own pause image.
fn archive() -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let program = std::fs::read(busybox().expect("busybox")).expect("read");
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    layer.append_data(&mut header, "bin/busybox", program.as_slice()).expect("layer");
    for name in ["sh", "sleep", "cat"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{name}"), "busybox").expect("link");
    }
    let layer = layer.into_inner().expect("layer");
    let mut out = tar::Builder::new(Vec::new());
    let mut put = |path: String, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, path, bytes).expect("archive");
    };
    let mut blob = |bytes: &[u8], kind: &str| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        put(format!("blobs/sha256/{digest}"), bytes);
        serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    };
    let layer = blob(&layer, "application/vnd.oci.image.layer.v1.tar");
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": { "Entrypoint": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
    let mut entry = blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = serde_json::json!({ "io.containerd.image.name": IMAGE });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    put("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    put("index.json".to_owned(), index.to_string().as_bytes());
    out.into_inner().expect("archive")
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
    if let Some(obstacle) = obstacle() {
        println!("skipped: {obstacle}");
        return;
    }
    let containerd = Containerd::start();
    let dir = containerd.dir.path();
    let file = dir.join("busybox.tar");
    std::fs::write(&file, archive()).expect("archive");
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = knarr_kubelet::images::import(&containerd.socket(), &file).await {
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
    let kubelet = tokio::spawn(knarr_kubelet::run(cli(), stop.clone()));
    until("main has spoken", || logs(&log_root, "main").iter().any(|log| log.contains("hello"))).await;
    assert!(logs(&log_root, "main")[0].contains("made"), "init container ran first");
    until("crash was restarted", || logs(&log_root, "crash").len() >= 2).await;
    stop.cancel();
    kubelet.await.expect("task").expect("kubelet");

    let stop = CancellationToken::new();
    let kubelet = tokio::spawn(knarr_kubelet::run(cli(), stop.clone()));
    let begun = Instant::now();
    // Long enough for the pod to be looked at; its crashing container shows that it is.
    until("the new kubelet works", || begun.elapsed() > Duration::from_secs(1)).await;
    assert_eq!(logs(&log_root, "main").len(), 1, "main was adopted, not started again");
    std::fs::remove_file(manifests.join("p.yaml")).expect("manifest");
    until("nothing is left of the pod", || entries(&root.join("pods")) + entries(&log_root) == 0).await;
    stop.cancel();
    kubelet.await.expect("task").expect("kubelet");

    let node = knarr_kubelet::cleanup::Node {
        endpoint: containerd.socket(),
        root_dir: root,
        cgroup_root,
        grace: Duration::from_secs(1),
    };
    knarr_kubelet::cleanup::remove_pods(&node).await.expect("pods removed");
    knarr_kubelet::cleanup::remove_files(&node).expect("files removed");
}
