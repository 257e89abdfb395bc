//! The [`Runtime`] itself.

use std::collections::HashMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, SystemInfo, SystemInfoCgroupDriverEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, InspectContainerOptions, KillContainerOptions,
    ListContainersOptions, RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use super::create::{self, Around, Host};
use super::engine::{Engine, gone_is_fine};
use super::exec::{Command, Session};
use super::logs::Logs;
use super::note::{self, ContainerNote, Kind, SandboxNote};
use super::sandbox::{Attached, Folder};
use super::{images, pause, status};
use crate::runtime::embedded::{Bandwidth, PodNetwork};
use crate::runtime::streams::command::{self, Wanted};
use crate::runtime::streams::{self, ports};
use crate::runtime::types::*;
use crate::runtime::unbroken::Unbroken;
use crate::runtime::usage::{self, Written};
use crate::runtime::{PodUid, Result, Runtime, RuntimeError, answering};

/// Scheme of an endpoint that is a Docker Engine.
const SCHEME: &str = "docker://";
/// File in the folder of sandboxes that says where the engine is.
const ENDPOINT: &str = "endpoint";
/// How long Docker may take to finish a removal that somebody else began.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a port of a pod may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Containers whose end, or whose making, is of interest.
const EVENTS: [&str; 5] = ["create", "start", "die", "oom", "destroy"];

/// The endpoint of an engine's socket.
pub fn endpoint(socket: &Path) -> String {
    format!("{SCHEME}{}", socket.display())
}

/// The socket that an endpoint names, if it is an engine's.
pub fn socket(endpoint: &str) -> Option<PathBuf> {
    endpoint.strip_prefix(SCHEME).map(PathBuf::from)
}

/// The endpoint that a kubelet with this folder of sandboxes has used.
pub fn used(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join(ENDPOINT)).ok()
}

/// What the runtime is made with.
pub struct Settings {
    /// The engine's socket.
    pub socket: PathBuf,
    /// The kubelet's `--root-dir`, by which its containers are told from others.
    pub root_dir: PathBuf,
    /// Directory of the kubelet's sandboxes.
    pub folders: PathBuf,
    /// Who gives pods their network.
    pub network: Arc<dyn PodNetwork>,
}

/// Containers run by Docker Engine.
#[derive(Clone)]
pub struct DockerRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    owner: String,
    folders: PathBuf,
    network: Arc<dyn PodNetwork>,
    logs: Logs,
    host: Host,
    /// Where containers write beside their volumes, by id.
    written: Mutex<HashMap<String, Option<Written>>>,
    /// Calls that make or remove something.
    changes: Unbroken,
}

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(error.to_string())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(failed(error)))
}

/// What the host lets be asked for. Machines within machines refuse scores below their own.
fn host() -> Host {
    let may_all = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE);
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
    let own = own.and_then(|text| text.trim().parse().ok());
    Host {
        lowest_oom_score: if may_all.unwrap_or_default() { None } else { own },
        has_ipv6: Path::new("/proc/sys/net/ipv6").exists(),
    }
}

impl DockerRuntime {
    /// Opens the runtime and takes over what runs. Must be called within a tokio runtime.
    pub fn open(settings: Settings) -> Result<Self> {
        std::fs::create_dir_all(&settings.folders).map_err(failed)?;
        let own = endpoint(&settings.socket);
        std::fs::write(settings.folders.join(ENDPOINT), own).map_err(failed)?;
        let engine = Engine::new(&settings.socket);
        let runtime = Self {
            inner: Arc::new(Inner {
                logs: Logs::new(),
                engine,
                owner: settings.root_dir.display().to_string(),
                folders: settings.folders,
                network: settings.network,
                host: host(),
                written: Mutex::default(),
                changes: Unbroken::default(),
            }),
        };
        let adopting = runtime.clone();
        tokio::spawn(async move {
            answering(&adopting).await;
            if let Err(error) = adopting.adopt().await {
                tracing::error!(%error, "containers of an earlier kubelet not followed");
            }
        });
        Ok(runtime)
    }

    /// Goes on with the output of containers that are there, and frees the network of sandboxes that are not.
    async fn adopt(&self) -> Result<()> {
        for summary in self.list(note::of_pod(&self.inner.owner, Kind::Container, None)).await? {
            match self.container(&summary.id.unwrap_or_default()).await {
                Err(RuntimeError::NotFound(_)) => {}
                other => other.and_then(|(found, note)| self.follow(&found, &note))?,
            }
        }
        self.tidy("").await
    }

    /// Follows the output of a container, unless it was never started.
    fn follow(&self, found: &ContainerInspectResponse, note: &ContainerNote) -> Result<()> {
        let kept = found.log_path.as_deref().filter(|path| !path.is_empty() && !note.log_path.is_empty());
        let (Some(kept), Some(id)) = (kept, &found.id) else { return Ok(()) };
        self.inner.logs.follow(id, Path::new(kept), Path::new(&note.log_path)).map_err(failed)
    }

    /// Removes folders of sandboxes that somebody has removed, with their network; of one pod, or of all if the uid is
    /// empty.
    async fn tidy(&self, uid: &str) -> Result<()> {
        let noted = |folder: Folder| Some((folder.attached()?, folder));
        let folders = Folder::all(&self.inner.folders).into_iter();
        // Before Docker is asked: it knows of a sandbox before its folder does.
        let attached: Vec<_> =
            folders.filter(|folder| folder.name().starts_with(uid)).filter_map(noted).collect();
        if attached.is_empty() {
            return Ok(());
        }
        let known = self.list(note::of_pod(&self.inner.owner, Kind::Sandbox, None)).await?;
        let known: Vec<String> = known.iter().filter_map(|one| one.id.clone()).collect();
        for (attached, folder) in attached.iter().filter(|(one, _)| !known.contains(&one.sandbox)) {
            self.detach(&attached.sandbox, folder).await?;
        }
        Ok(())
    }

    async fn list(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>> {
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options =
            ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        self.inner.engine.call(|docker| async move { docker.list_containers(Some(options)).await }).await
    }

    async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse> {
        let options = None::<InspectContainerOptions>;
        self.inner.engine.call(|docker| async move { docker.inspect_container(id, options).await }).await
    }

    async fn info(&self) -> Result<SystemInfo> {
        self.inner.engine.call(|docker| async move { docker.info().await }).await
    }

    fn container_note(&self, labels: &Option<HashMap<String, String>>) -> Option<ContainerNote> {
        note::read(&self.inner.owner, Kind::Container, labels.as_ref()?)
    }

    fn sandbox_note(&self, labels: &Option<HashMap<String, String>>) -> Option<SandboxNote> {
        note::read(&self.inner.owner, Kind::Sandbox, labels.as_ref()?)
    }

    /// A container of ours.
    async fn container(&self, id: &str) -> Result<(ContainerInspectResponse, ContainerNote)> {
        let found = self.inspect(id).await?;
        let labels = found.config.as_ref().and_then(|config| config.labels.clone());
        let missing = || RuntimeError::NotFound(format!("container {id:?} not found"));
        let note = self.container_note(&labels).ok_or_else(missing)?;
        Ok((found, note))
    }

    /// A sandbox of ours.
    async fn sandbox(&self, id: &str) -> Result<(ContainerInspectResponse, SandboxNote)> {
        let found = self.inspect(id).await?;
        let labels = found.config.as_ref().and_then(|config| config.labels.clone());
        let missing = || RuntimeError::NotFound(format!("sandbox {id:?} not found"));
        let note = self.sandbox_note(&labels).ok_or_else(missing)?;
        Ok((found, note))
    }

    fn folder(&self, note: &SandboxNote) -> Folder {
        Folder::new(&self.inner.folders, &note.folder())
    }

    /// The sandbox's addresses, once its network is there.
    fn network_of(&self, id: &str, note: &SandboxNote) -> Option<Attached> {
        if note.host_network {
            return Some(Attached { sandbox: id.to_owned(), addresses: Vec::new() });
        }
        let attached = self.folder(note).attached()?;
        (attached.sandbox == id && !attached.addresses.is_empty()).then_some(attached)
    }

    /// Makes a container. One of the same name is what an interrupted attempt has left.
    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String> {
        let create = || {
            let (name, body) = (Some(name.to_owned()), body.clone());
            let options = CreateContainerOptions { name, ..CreateContainerOptions::default() };
            self.inner.engine.call(|docker| async move { docker.create_container(Some(options), body).await })
        };
        match create().await {
            Err(RuntimeError::Failed(text)) if text.contains("is already in use by container") => {
                self.delete(name).await?;
                Ok(create().await?.id)
            }
            other => Ok(other?.id),
        }
    }

    async fn start(&self, id: &str) -> Result<()> {
        let options = None::<StartContainerOptions>;
        self.inner.engine.call(|docker| async move { docker.start_container(id, options).await }).await
    }

    async fn kill(&self, id: &str) -> Result<()> {
        let options = Some(KillContainerOptions { signal: "KILL".to_owned() });
        let killed =
            self.inner.engine.call(|docker| async move { docker.kill_container(id, options).await }).await;
        match killed {
            // It has ended.
            Err(RuntimeError::Failed(text)) if text.contains("is not running") => Ok(()),
            other => gone_is_fine(other),
        }
    }

    /// Removes a container with its own volumes, whether it runs or not, and returns when it is gone.
    async fn delete(&self, id: &str) -> Result<()> {
        let options = || Some(RemoveContainerOptions { v: true, force: true, ..Default::default() });
        let deadline = tokio::time::Instant::now() + REMOVAL_TIMEOUT;
        loop {
            let options = options();
            let removed = self
                .inner
                .engine
                .call(|docker| async move { docker.remove_container(id, options).await })
                .await;
            match removed {
                Err(RuntimeError::Failed(text))
                    if text.contains("already in progress") && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await; // only who began it is told of the end
                }
                other => return gone_is_fine(other),
            }
        }
    }

    async fn make_sandbox(self, config: PodSandboxConfig, handler: String) -> Result<String> {
        create::refuse_sandbox(&config).map_err(failed)?;
        if !handler.is_empty() && !self.info().await?.runtimes.unwrap_or_default().contains_key(&handler) {
            return Err(failed(format!("no runtime for {handler:?} is configured")));
        }
        let pod = config.metadata.clone().unwrap_or_default();
        self.tidy(&pod.uid).await?;
        pause::ensure(&self.inner.engine).await?;
        let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let options = security.and_then(|security| security.namespace_options.as_ref());
        let note = SandboxNote {
            host_network: options.map(NamespaceOption::network) == Some(NamespaceMode::Node),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            handler: handler.clone(),
            attempt: pod.attempt,
            name: pod.name,
            uid: pod.uid,
            namespace: pod.namespace,
        };
        let folder = self.folder(&note);
        folder.make(&config.dns_config.clone().unwrap_or_default().file()).map_err(failed)?;
        let labels = note::write(&self.inner.owner, Kind::Sandbox, None, &config.labels, &note);
        let body = create::sandbox(&config, &handler, labels, self.inner.host);
        let name = format!("k8s_POD_{}_{}_{}_{}", note.name, note.namespace, note.uid, note.attempt);
        let id = self.create(&name, body).await?;
        if let Err(error) = self.begin_sandbox(&id, &folder, &config, &note).await {
            let ended = async {
                self.delete(&id).await?;
                self.detach(&id, &folder).await
            };
            if let Err(error) = ended.await {
                tracing::warn!(id, %error, "a sandbox that could not be made is not removed");
            }
            let _ = folder.remove();
            return Err(error);
        }
        Ok(id)
    }

    async fn begin_sandbox(
        &self,
        id: &str,
        folder: &Folder,
        config: &PodSandboxConfig,
        note: &SandboxNote,
    ) -> Result<()> {
        self.start(id).await?;
        if note.host_network {
            return Ok(());
        }
        let namespace = self.namespace(id).await?;
        let bandwidth = Bandwidth::of(&config.annotations).map_err(failed)?;
        let mut attached = Attached { sandbox: id.to_owned(), addresses: Vec::new() };
        folder.note(&attached).map_err(failed)?;
        let (network, id, ports) =
            (Arc::clone(&self.inner.network), id.to_owned(), config.port_mappings.clone());
        let attach = move || network.attach(&id, &namespace, &ports, bandwidth).map_err(failed);
        attached.addresses = blocking(attach).await?;
        folder.note(&attached).map_err(failed)
    }

    /// The network namespace of a sandbox, by its path on the host.
    async fn namespace(&self, id: &str) -> Result<String> {
        let process = status::process(&self.inspect(id).await?);
        let process = process.ok_or_else(|| failed(format!("sandbox {id:?} does not run")))?;
        Ok(format!("/proc/{process}/ns/net"))
    }

    /// Frees the network of a sandbox and forgets its folder.
    async fn detach(&self, id: &str, folder: &Folder) -> Result<()> {
        let (network, name) = (Arc::clone(&self.inner.network), id.to_owned());
        blocking(move || network.detach(&name).map_err(failed)).await?;
        folder.forget();
        Ok(())
    }

    async fn stop_sandbox(self, id: String) -> Result<()> {
        let (found, note) = match self.sandbox(&id).await {
            Err(RuntimeError::NotFound(_)) => return self.tidy("").await,
            other => other?,
        };
        for container in self.list(note::of_sandbox(&self.inner.owner, &id)).await? {
            if status::runs(&container) {
                self.kill(&container.id.unwrap_or_default()).await?;
            }
        }
        if status::is_running(&found) {
            self.kill(&id).await?;
        }
        let folder = self.folder(&note);
        match folder.attached() {
            Some(attached) if attached.sandbox == id => self.detach(&id, &folder).await,
            _ => Ok(()),
        }
    }

    async fn remove_sandbox(self, id: String) -> Result<()> {
        self.clone().stop_sandbox(id.clone()).await?;
        let note = match self.sandbox(&id).await {
            Err(RuntimeError::NotFound(_)) => return Ok(()),
            other => other?.1,
        };
        for container in self.list(note::of_sandbox(&self.inner.owner, &id)).await? {
            self.clone().delete_container(container.id.unwrap_or_default()).await?;
        }
        self.delete(&id).await?;
        self.folder(&note).remove().map_err(failed)
    }

    async fn make_container(
        self,
        sandbox: String,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String> {
        create::refuse_container(&config).map_err(failed)?;
        let (_, sandbox_note) = self.sandbox(&sandbox).await?;
        let image = config.image.clone().unwrap_or_default().image;
        let inspected = images::inspect(&self.inner.engine, &image).await?;
        let (image_name, image_ref) = images::reference(&inspected);
        let metadata = config.metadata.clone().unwrap_or_default();
        let log_path = match config.log_path.as_str() {
            "" => String::new(),
            path => Path::new(&sandbox_config.log_directory).join(path).display().to_string(),
        };
        let note = ContainerNote {
            name: metadata.name,
            attempt: metadata.attempt,
            sandbox: sandbox.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            log_path,
            cgroup_parent: sandbox_config.linux.clone().unwrap_or_default().cgroup_parent,
            image: image.clone(),
            image_name,
            image_ref,
        };
        make_sources(&config.mounts).map_err(failed)?;
        let profile = profile(&config).map_err(failed)?;
        let resolv_conf = self.folder(&sandbox_note).resolv_conf().display().to_string();
        let around = Around {
            sandbox: &sandbox,
            sandbox_config: &sandbox_config,
            handler: &sandbox_note.handler,
            resolv_conf: &resolv_conf,
            image_user: inspected.config.as_ref().and_then(|c| c.user.as_deref()).unwrap_or_default(),
            profile: profile.as_deref(),
            host: self.inner.host,
        };
        let labels = note::write(&self.inner.owner, Kind::Container, Some(&sandbox), &config.labels, &note);
        let body = create::container(&config, &image, labels, &around);
        let SandboxNote { name, namespace, uid, .. } = &sandbox_note;
        let name = format!("k8s_{}_{name}_{namespace}_{uid}_{}", note.name, note.attempt);
        self.create(&name, body).await
    }

    async fn delete_container(self, id: String) -> Result<()> {
        self.delete(&id).await?;
        self.inner.logs.forget(&id);
        self.inner.written.lock().remove(&id);
        Ok(())
    }

    /// Where a container writes beside its volumes, if Docker tells.
    async fn written(&self, id: &str) -> Option<Written> {
        if let Some(known) = self.inner.written.lock().get(id) {
            return known.clone();
        }
        let data = self.inspect(id).await.ok()?.graph_driver.map(|driver| driver.data).unwrap_or_default();
        let written = data
            .get("UpperDir")
            .map(PathBuf::from)
            .map(|folder| Written { file_system: folder.parent().unwrap_or(&folder).to_owned(), folder });
        self.inner.written.lock().insert(id.to_owned(), written.clone());
        written
    }
}

/// Makes the folders of the host that are to be mounted and are not there, as other runtimes do.
fn make_sources(mounts: &[Mount]) -> std::io::Result<()> {
    let missing = mounts.iter().map(|mount| Path::new(&mount.host_path)).filter(|path| !path.exists());
    missing.into_iter().try_for_each(std::fs::create_dir_all)
}

/// Text of the node's own system call profile that a container asks for.
fn profile(config: &ContainerConfig) -> std::result::Result<Option<String>, String> {
    let seccomp = create::security(config).seccomp.unwrap_or_default();
    if seccomp.profile_type() != ProfileType::Localhost {
        return Ok(None);
    }
    let path = &seccomp.localhost_ref;
    let text = std::fs::read_to_string(path);
    text.map(Some).map_err(|error| format!("cannot load seccomp profile {path:?}: {error}"))
}

/// Checks that the engine behind a socket answers and can run pods.
pub async fn check(socket: &Path) -> Result<()> {
    let info = Engine::new(socket).call(|docker| async move { docker.info().await }).await?;
    unfit(&info).map_err(failed)
}

/// Why the engine cannot run pods.
fn unfit(info: &SystemInfo) -> std::result::Result<(), String> {
    match info.cgroup_driver {
        Some(SystemInfoCgroupDriverEnum::CGROUPFS) => Ok(()),
        other => Err(format!(
            "Docker's cgroup driver is {}, needed is cgroupfs: set \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"] in /etc/docker/daemon.json",
            other.map_or_else(|| "none".to_owned(), |driver| driver.to_string())
        )),
    }
}

/// Connects to a port within a network namespace. Blocks; the namespace is entered by a thread of its own.
fn connect(namespace: &str, port: u16) -> std::io::Result<TcpStream> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    let namespace = std::fs::File::open(namespace)?;
    let within = move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        TcpStream::connect_timeout(&v4, CONNECT_TIMEOUT)
            .or_else(|error| TcpStream::connect_timeout(&v6, CONNECT_TIMEOUT).map_err(|_| error))
    };
    let thread = std::thread::Builder::new().name("port".to_owned()).spawn(within)?;
    thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the connecting thread panicked")))
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn version(&self) -> Result<VersionResponse> {
        let version = self.inner.engine.call(|docker| async move { docker.version().await }).await?;
        Ok(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "docker".to_owned(),
            runtime_version: version.version.unwrap_or_default(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn status(&self) -> Result<StatusResponse> {
        let info = self.info().await?;
        let network = Arc::clone(&self.inner.network);
        let network = blocking(move || Ok(network.ready())).await?;
        let handler =
            |name: String| RuntimeHandler { name, features: Some(RuntimeHandlerFeatures::default()) };
        let named = info.runtimes.clone().unwrap_or_default().into_keys();
        let mut names: Vec<String> = std::iter::once(String::new()).chain(named).collect();
        names.sort();
        Ok(StatusResponse {
            status: Some(RuntimeStatus::of(unfit(&info), network)),
            runtime_handlers: names.into_iter().map(handler).collect(),
            features: Some(RuntimeFeatures { supplemental_groups_policy: false }),
        })
    }

    async fn settled(&self) {
        self.inner.changes.settled().await;
    }

    async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String> {
        self.inner.changes.run(self.clone().make_sandbox(config, handler.to_owned())).await
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        self.inner.changes.run(self.clone().stop_sandbox(id.to_owned())).await
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.inner.changes.run(self.clone().remove_sandbox(id.to_owned())).await
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus> {
        let (found, note) = self.sandbox(id).await?;
        let network = self.network_of(id, &note).filter(|_| status::is_running(&found));
        let is_ready = network.is_some();
        let addresses = network.map(|network| network.addresses).unwrap_or_default();
        Ok(status::sandbox(&found, note, is_ready, &addresses))
    }

    async fn list_pod_sandboxes(&self, uid: PodUid<'_>) -> Result<Vec<PodSandbox>> {
        let found = self.list(note::of_pod(&self.inner.owner, Kind::Sandbox, uid)).await?;
        let view = |summary: &ContainerSummary| {
            let note = self.sandbox_note(&summary.labels)?;
            let id = summary.id.as_deref().unwrap_or_default();
            let is_ready = status::runs(summary) && self.network_of(id, &note).is_some();
            Some(status::listed_sandbox(summary, note, is_ready))
        };
        Ok(found.iter().filter_map(view).collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String> {
        // A description of a container is large.
        let make = Box::pin(self.clone().make_container(sandbox.to_owned(), config, sandbox_config));
        self.inner.changes.run(make).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let (runtime, id) = (self.clone(), id.to_owned());
        let start = async move {
            runtime.start(&id).await.map_err(|error| match error {
                RuntimeError::Failed(text) => failed(format!("failed to start container {id:?}: {text}")),
                other => other,
            })?;
            let (found, note) = runtime.container(&id).await?;
            runtime.follow(&found, &note)
        };
        self.inner.changes.run(start).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        if grace.is_zero() {
            return self.kill(id).await;
        }
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let t = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        let options = Some(StopContainerOptions { t, ..StopContainerOptions::default() });
        let stop = |docker: bollard::Docker| async move { docker.stop_container(id, options).await };
        gone_is_fine(self.inner.engine.long_call(stop).await)
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.inner.changes.run(self.clone().delete_container(id.to_owned())).await
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        let (found, note) = self.container(id).await?;
        let status = status::container(&found, note.clone());
        if status.state() == ContainerState::Exited {
            self.follow(&found, &note)?;
            // Its last words may be the end of its log.
            self.inner.logs.drained(id).await;
        }
        Ok(status)
    }

    async fn list_containers(&self, uid: PodUid<'_>) -> Result<Vec<Container>> {
        let found = self.list(note::of_pod(&self.inner.owner, Kind::Container, uid)).await?;
        let view =
            |summary: &ContainerSummary| Some(status::listed(summary, self.container_note(&summary.labels)?));
        Ok(found.iter().filter_map(view).collect())
    }

    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        let update = create::update(&resources);
        self.inner.engine.call(|docker| async move { docker.update_container(id, update).await }).await
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        self.inner.logs.reopen(id)
    }

    async fn exec_sync(&self, id: &str, cmd: Vec<String>, timeout: Duration) -> Result<ExecSyncResponse> {
        let wanted = Wanted { stdout: true, stderr: true, ..Wanted::default() };
        Command::prepare(&self.inner.engine, id, cmd, wanted).await?.run(timeout).await
    }

    async fn exec(&self, request: ExecRequest) -> Result<String> {
        let ExecRequest { container_id, cmd, tty, stdin, stdout, stderr } = request;
        let wanted = Wanted { stdin, stdout, stderr, tty };
        let command = Command::prepare(&self.inner.engine, &container_id, cmd, wanted).await?;
        offer(Session::Command(command, wanted), wanted).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<String> {
        let (found, _) = self.container(&request.container_id).await?;
        if !status::is_running(&found) {
            return Err(failed("container is not running"));
        }
        let AttachRequest { container_id, stdin, stdout, stderr, .. } = request;
        let tty = found.config.and_then(|config| config.tty) == Some(true);
        let wanted = Wanted { stdin, stdout, stderr, tty };
        offer(Session::Attach(self.inner.engine.clone(), container_id, wanted), wanted).await
    }

    async fn port_forward(&self, sandbox: &str, _: Vec<i32>) -> Result<String> {
        let namespace = self.namespace(sandbox).await?;
        let connect = move |port| {
            let namespace = namespace.clone();
            async move {
                let connect = move || connect(&namespace, port).map_err(failed);
                let socket = blocking(connect).await.map_err(|error| error.to_string())?;
                let socket = socket.set_nonblocking(true).map(|()| socket);
                socket.and_then(tokio::net::TcpStream::from_std).map_err(|error| error.to_string())
            }
        };
        let serve = move |client| ports::serve(client, connect);
        streams::offer(streams::PORTS, serve).await.map_err(failed)
    }

    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>> {
        let found = self.list(note::of_pod(&self.inner.owner, Kind::Container, None)).await?;
        let mut running = Vec::new();
        for summary in found.iter().filter(|summary| status::runs(summary)) {
            let (Some(id), Some(note)) = (&summary.id, self.container_note(&summary.labels)) else {
                continue;
            };
            let written = self.written(id).await;
            let attributes = ContainerAttributes {
                id: id.clone(),
                metadata: Some(ContainerMetadata { name: note.name, attempt: note.attempt }),
                labels: note.labels,
                annotations: note.annotations,
            };
            running.push((attributes, note.cgroup_parent, written));
        }
        blocking(move || {
            let stats = running.into_iter();
            Ok(stats.map(|(of, parent, written)| usage::of(of, &parent, written.as_ref())).collect())
        })
        .await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        images::list(&self.inner.engine).await
    }

    async fn image_status(&self, name: &str) -> Result<Option<Image>> {
        images::find(&self.inner.engine, name).await
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
        _: Option<PodSandboxConfig>,
    ) -> Result<String> {
        images::pull(&self.inner.engine, image, auth).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        images::remove(&self.inner.engine, image).await
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>> {
        Ok(vec![images::file_system(&self.inner.engine).await?])
    }

    async fn leave(&self) -> Result<()> {
        for left in self.list(note::of_owner(&self.inner.owner)).await? {
            let id = left.id.clone().unwrap_or_default();
            match self.sandbox_note(&left.labels) {
                Some(_) => self.clone().remove_sandbox(id).await?,
                None => self.delete(&id).await?,
            }
        }
        self.tidy("").await?;
        pause::remove(&self.inner.engine).await;
        Ok(())
    }

    fn events(&self) -> BoxStream<'static, ()> {
        let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filters = HashMap::from([
            ("type".to_owned(), text(&["container"])),
            ("event".to_owned(), text(&EVENTS)),
            ("label".to_owned(), note::of_owner(&self.inner.owner)),
        ]);
        let options = EventsOptions { filters: Some(filters), ..EventsOptions::default() };
        let engine = self.inner.engine.clone();
        let client = async move { engine.client().await };
        let events = client.map(|client| match client {
            Ok(client) => client.events(Some(options)).boxed(),
            Err(_) => futures::stream::empty().boxed(),
        });
        events.flatten_stream().take_while(|event| std::future::ready(event.is_ok())).map(drop).boxed()
    }
}

/// Waits for the client of a session; answers the URL.
async fn offer(session: Session, wanted: Wanted) -> Result<String> {
    let serve = move |client| command::serve(wanted, client, |opened| session.stream(opened));
    streams::offer(streams::COMMANDS, serve).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let socket_path = Path::new("/run/docker.sock");
        assert_eq!(endpoint(socket_path), "docker:///run/docker.sock");
        assert_eq!(socket("docker:///run/docker.sock").as_deref(), Some(socket_path));
        assert_eq!(socket("unix:///run/docker.sock"), None);
    }

    #[test]
    fn engines_that_keep_control_groups_otherwise_are_unfit() {
        let check = |driver: Option<SystemInfoCgroupDriverEnum>, fit: bool| {
            let info = SystemInfo { cgroup_driver: driver, ..SystemInfo::default() };
            assert_eq!(unfit(&info).is_ok(), fit);
        };
        check(Some(SystemInfoCgroupDriverEnum::CGROUPFS), true);
        check(Some(SystemInfoCgroupDriverEnum::SYSTEMD), false);
        check(None, false);
    }
}
