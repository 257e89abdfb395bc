//! A runtime under test with its image, and pods that go with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use knarr_kubelet::runtime::Runtime;
use knarr_kubelet::runtime::cri::CriRuntime;
use knarr_kubelet::runtime::embedded::{Bandwidth, Embedded, PodNetwork, Settings};
use knarr_kubelet::runtime::types::*;

use crate::support::{self, Containerd, IMAGE};

/// A runtime with what it needs.
pub struct Fixture {
    pub runtime: Arc<dyn Runtime>,
    pub dir: PathBuf,
    /// Settings of the embedded runtime, to open it once more.
    pub reopen: Option<fn(&Path) -> Embedded>,
    _containerd: Option<Containerd>,
    _dir: Option<tempfile::TempDir>,
}

/// Address of every pod with a network of its own.
pub const ADDRESS: &str = "192.0.2.7";

/// A network in which each pod is alone.
struct Alone;

impl PodNetwork for Alone {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn attach(
        &self,
        _: &str,
        namespace: &str,
        _: &[PortMapping],
        _: Bandwidth,
    ) -> Result<Vec<std::net::IpAddr>, String> {
        assert!(Path::new(namespace).exists());
        Ok(vec![ADDRESS.parse().expect("address")])
    }

    fn detach(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// What a failed test has left.
impl Drop for Fixture {
    fn drop(&mut self) {
        for sandbox in std::fs::read_dir(self.dir.join("sandboxes")).into_iter().flatten().flatten() {
            let note = std::fs::read(sandbox.path().join("sandbox.json")).unwrap_or_default();
            let note: serde_json::Value = serde_json::from_slice(&note).unwrap_or_default();
            if let Some(pid) = note["shim"].as_i64().filter(|_| note["stopped"] == false) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid as i32),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            let containers = std::fs::read_dir(sandbox.path().join("c")).into_iter().flatten().flatten();
            let containers: Vec<PathBuf> = containers.map(|one| one.path()).collect();
            containers
                .iter()
                .for_each(|one| knarr_kubelet::runtime::embedded::shim::userns::unmount_all(one));
            for mount in containers.iter().map(|one| one.join("rootfs")).chain([sandbox.path().join("shm")]) {
                let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        let trees = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for root in trees
            .map(|tree| tree.path().join(self.cgroup().trim_start_matches('/')))
            .filter(|root| root.is_dir())
        {
            remove_cgroup(&root);
        }
    }
}

fn remove_cgroup(path: &Path) {
    let inner = std::fs::read_dir(path).into_iter().flatten().flatten();
    inner.filter(|entry| entry.path().is_dir()).for_each(|entry| remove_cgroup(&entry.path()));
    for pid in std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
        let pid = nix::unistd::Pid::from_raw(pid.parse().expect("number"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let _ = std::fs::remove_dir(path);
}

fn open(dir: &Path) -> Embedded {
    let settings = Settings {
        root: dir.join("sandboxes"),
        store: dir.join("store"),
        shim: vec![env!("CARGO_BIN_EXE_runtime-shim").to_owned()],
        registries: Default::default(),
        network: Arc::new(Alone),
    };
    Embedded::open(settings).expect("runtime")
}

impl Fixture {
    /// The runtime of this program.
    pub async fn embedded() -> Self {
        let dir = tempfile::Builder::new().prefix("knarr-node-").tempdir().expect("directory");
        // Roots of pods with users of their own must come through.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .expect("mode");
        let file = dir.path().join("image.tar");
        std::fs::write(&file, support::archive()).expect("archive");
        let runtime = open(dir.path());
        runtime.store().load(&file).expect("image");
        let path = dir.path().to_owned();
        Self { runtime: Arc::new(runtime), dir: path, reopen: Some(open), _containerd: None, _dir: Some(dir) }
    }

    /// A containerd.
    pub async fn containerd() -> Self {
        let containerd = Containerd::start();
        let dir = containerd.dir.path().to_owned();
        let file = dir.join("image.tar");
        std::fs::write(&file, support::archive()).expect("archive");
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = knarr_kubelet::images::Place::Containerd(containerd.socket()).load(&file).await
        {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await; // a runtime that starts does not say so
        }
        let runtime = Arc::new(CriRuntime::new(&containerd.socket()).expect("runtime"));
        Self { runtime, dir, reopen: None, _containerd: Some(containerd), _dir: None }
    }

    /// A new folder of the host.
    pub fn folder(&self, name: &str) -> String {
        let path = self.dir.join("folders").join(name);
        std::fs::create_dir_all(&path).expect("folder");
        path.display().to_string()
    }

    fn cgroup(&self) -> String {
        let kind = if self.reopen.is_some() { "embedded" } else { "cri" };
        format!("/knarr-node-{kind}-{}", std::process::id())
    }

    /// Configuration of a pod on the host's network.
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        let namespaces = NamespaceOption {
            network: NamespaceMode::Node as i32,
            pid: NamespaceMode::Container as i32,
            ..NamespaceOption::default()
        };
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            log_directory: self.dir.join("logs").join(name).display().to_string(),
            labels: labels(name),
            annotations: BTreeMap::from([("note".to_owned(), "kept".to_owned())]),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/pod-{name}", self.cgroup()),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces),
                    ..Default::default()
                }),
                sysctls: BTreeMap::new(),
            }),
            dns_config: Some(DnsConfig {
                servers: vec!["10.0.0.10".to_owned()],
                searches: vec!["a.test".to_owned()],
                options: vec!["ndots:5".to_owned()],
            }),
            ..Default::default()
        }
    }

    /// Configuration of a container that runs a script.
    pub fn script(&self, pod: &PodSandboxConfig, text: &str) -> ContainerConfig {
        let pod = pod.metadata.clone().unwrap_or_default().name;
        let namespaces = NamespaceOption {
            pid: NamespaceMode::Container as i32,
            network: NamespaceMode::Node as i32,
            ..Default::default()
        };
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: IMAGE.to_owned() }),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
            labels: labels(&pod),
            log_path: "main/0.log".to_owned(),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources::default()),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    /// Makes a sandbox; answers its id.
    pub async fn sandbox(&self, pod: &PodSandboxConfig) -> String {
        self.runtime.run_pod_sandbox(pod.clone(), "").await.expect("sandbox")
    }

    /// Makes and starts a container in a sandbox; answers its id.
    pub async fn start(&self, sandbox: &str, pod: &PodSandboxConfig, config: ContainerConfig) -> String {
        let id = self.runtime.create_container(sandbox, config, pod.clone()).await.expect("created");
        self.runtime.start_container(&id).await.expect("started");
        id
    }

    /// Runs a container to its end and removes its pod; answers how it ended and what it said.
    pub async fn outcome(&self, pod: PodSandboxConfig, config: ContainerConfig) -> (ContainerStatus, String) {
        let sandbox = self.sandbox(&pod).await;
        let id = self.start(&sandbox, &pod, config).await;
        let status = self.ended(&id).await;
        let said = self.said(&pod);
        self.remove(&sandbox).await;
        (status, said)
    }

    /// Waits for a container's end.
    pub async fn ended(&self, id: &str) -> ContainerStatus {
        self.until("the container has ended", || async {
            let status = self.runtime.container_status(id).await.expect("status");
            (status.state() == ContainerState::Exited).then_some(status)
        })
        .await
    }

    /// Stops and removes a pod.
    pub async fn remove(&self, sandbox: &str) {
        self.runtime.stop_pod_sandbox(sandbox).await.expect("stopped");
        self.runtime.remove_pod_sandbox(sandbox).await.expect("removed");
    }

    /// What the container has written by now, without the log's marks.
    pub fn said(&self, pod: &PodSandboxConfig) -> String {
        let log =
            std::fs::read_to_string(Path::new(&pod.log_directory).join("main/0.log")).unwrap_or_default();
        let text = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
        log.lines().map(text).collect::<Vec<_>>().join("\n")
    }

    /// Waits until something is there.
    pub async fn until<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        mut look: impl FnMut() -> F,
    ) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(10)).await; // what is looked at lies behind other programs
        }
    }

    /// Waits until the container has said something.
    pub async fn hears(&self, pod: &PodSandboxConfig, text: &str) {
        self.until(&format!("it says {text:?}"), || async { self.said(pod).contains(text).then_some(()) })
            .await;
    }
}

fn labels(pod: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("io.kubernetes.pod.uid", format!("uid-{pod}")),
        ("io.kubernetes.pod.name", pod.to_owned()),
        ("io.kubernetes.pod.namespace", "default".to_owned()),
        ("io.kubernetes.container.name", "main".to_owned()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The security context of a container, to change it.
pub fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}
