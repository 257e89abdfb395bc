//! The [`Runtime`] itself.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast;

use super::client::{self, Connection};
use super::network::{Bandwidth, PodNetwork};
use super::registry::{self, Registries};
use super::sandbox::{Books, KnownContainer, KnownSandbox, write_config};
use super::shim::protocol::{Request, Streams};
use super::state::{self, Launch, Phase, Sandbox, Status};
use super::store::{Record, Store, StoreError};
use super::streams::{Session, connect};
use super::{leftovers, spec};
use crate::hex;
use crate::runtime::streams::command::{self, Wanted};
use crate::runtime::streams::{self, ports};
use crate::runtime::types::*;
use crate::runtime::unbroken::Unbroken;
use crate::runtime::usage::{self, Written};
use crate::runtime::{PodUid, Result, Runtime, RuntimeError, is_of};

/// How long a killed container may take until it is known to have ended.
const KILL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long output of a command is awaited that others of its processes may still write.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// How much output of a command is kept.
const MAX_OUTPUT: usize = 16 << 20;

/// What the runtime is made with.
pub struct Settings {
    /// Directory of this cluster's sandboxes.
    pub root: PathBuf,
    /// Directory of the host's images.
    pub store: PathBuf,
    /// The program, and its first arguments, that is a sandbox's process when the sandbox's directory is added.
    pub shim: Vec<String>,
    /// How registries are reached.
    pub registries: Registries,
    /// Who gives pods their network.
    pub network: Arc<dyn PodNetwork>,
}

/// Containers run by this program.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    store: Store,
    shim: Vec<String>,
    registries: Registries,
    network: Arc<dyn PodNetwork>,
    books: Mutex<Books>,
    changed: broadcast::Sender<()>,
    has_user_namespaces: bool,
    /// Calls that make or remove something.
    changes: Unbroken,
}

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(error.to_string())
}

impl From<StoreError> for RuntimeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing(_) => RuntimeError::NotFound(error.to_string()),
            _ => failed(error),
        }
    }
}

/// A new id: 64 hexadecimal digits.
fn new_id() -> String {
    hex::text(&rand::random::<[u8; 32]>())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(failed(error)))
}

impl Embedded {
    /// Opens the runtime and takes over what runs. Must be called within a tokio runtime.
    pub fn open(settings: Settings) -> Result<Self> {
        std::fs::create_dir_all(&settings.root).map_err(failed)?;
        let books = Books::read(&settings.root).map_err(failed)?;
        let obstacle = super::shim::userns::obstacle(&settings.root);
        if let Some(obstacle) = &obstacle {
            tracing::warn!(obstacle, "no pod can have users of its own");
        }
        let runtime = Self {
            inner: Arc::new(Inner {
                root: settings.root,
                store: Store::open(&settings.store)?,
                shim: settings.shim,
                registries: settings.registries,
                network: settings.network,
                books: Mutex::new(books),
                changed: broadcast::channel(16).0,
                has_user_namespaces: obstacle.is_none(),
                changes: Unbroken::default(),
            }),
        };
        let known: Vec<(String, KnownSandbox)> =
            runtime.inner.books.lock().sandboxes.iter().map(|(id, one)| (id.clone(), one.clone())).collect();
        for (id, sandbox) in known {
            if sandbox.alive {
                runtime.watch(&id, &sandbox.directory);
            } else {
                leftovers::clean(&sandbox.directory, &sandbox.config);
            }
        }
        Ok(runtime)
    }

    /// The images.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Follows a sandbox's process: tells of its containers, and cleans up when it is gone.
    fn watch(&self, id: &str, directory: &Path) {
        let (runtime, id, directory) = (self.clone(), id.to_owned(), directory.to_owned());
        tokio::spawn(async move {
            let error = runtime.follow(&directory).await;
            tracing::debug!(id, %error, "sandbox ended");
            let sandbox = runtime.inner.books.lock().sandboxes.get_mut(&id).map(|sandbox| {
                sandbox.alive = false;
                sandbox.clone()
            });
            if let Some(sandbox) = sandbox {
                let _ = blocking(move || {
                    leftovers::clean(&sandbox.directory, &sandbox.config);
                    Ok(())
                })
                .await;
            }
            let _ = runtime.inner.changed.send(());
        });
    }

    /// Tells of every container that ends, until the sandbox's process does.
    async fn follow(&self, directory: &Path) -> RuntimeError {
        let connection = match Connection::open(directory) {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        if let Err(error) = connection.send(&Request::Watch, &[]).await {
            return error;
        }
        loop {
            match connection.receive().await {
                Ok(_) => drop(self.inner.changed.send(())),
                Err(error) => return error,
            }
        }
    }

    fn sandbox(&self, id: &str) -> Result<KnownSandbox> {
        let missing = || RuntimeError::NotFound(format!("sandbox {id:?} not found"));
        self.inner.books.lock().sandboxes.get(id).cloned().ok_or_else(missing)
    }

    fn container(&self, id: &str) -> Result<KnownContainer> {
        let missing = || RuntimeError::NotFound(format!("container {id:?} not found"));
        self.inner.books.lock().containers.get(id).cloned().ok_or_else(missing)
    }

    /// The directory of a container's sandbox.
    fn directory_of(&self, container: &KnownContainer) -> Result<PathBuf> {
        Ok(self.sandbox(&container.sandbox)?.directory)
    }

    async fn make_sandbox(self, config: PodSandboxConfig, handler: String) -> Result<String> {
        if !handler.is_empty() {
            return Err(RuntimeError::Failed(format!("no runtime for {handler:?} is configured")));
        }
        let id = new_id();
        let directory = self.inner.root.join(&id);
        let note = Sandbox { created_at: state::now(), handler, ..Sandbox::default() };
        let made = self.begin_sandbox(&id, &directory, &config, note).await;
        let note = match made {
            Ok(note) => note,
            Err(error) => {
                self.end_sandbox(&id, &directory, &config).await;
                let _ = std::fs::remove_dir_all(&directory);
                return Err(error);
            }
        };
        let known = KnownSandbox { directory: directory.clone(), config, note, alive: true };
        self.inner.books.lock().sandboxes.insert(id.clone(), known);
        self.watch(&id, &directory);
        Ok(id)
    }

    async fn begin_sandbox(
        &self,
        id: &str,
        directory: &Path,
        config: &PodSandboxConfig,
        mut note: Sandbox,
    ) -> Result<Sandbox> {
        note.shim = self.start_shim(directory, config).map_err(failed)?;
        client::call(directory, &Request::SetUp).await?;
        let options = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let network =
            options.and_then(|options| options.namespace_options.as_ref()).map(NamespaceOption::network);
        if network != Some(NamespaceMode::Node) {
            let (network, id, ports) =
                (Arc::clone(&self.inner.network), id.to_owned(), config.port_mappings.clone());
            let namespace = format!("/proc/{}/ns/net", note.shim);
            let bandwidth = Bandwidth::of(&config.annotations).map_err(failed)?;
            let attach = move || network.attach(&id, &namespace, &ports, bandwidth).map_err(failed);
            note.addresses = blocking(attach).await?;
        }
        state::write_json(&directory.join(state::SANDBOX), &note).map_err(failed)?;
        Ok(note)
    }

    /// Starts the sandbox's process; answers its id.
    fn start_shim(&self, directory: &Path, config: &PodSandboxConfig) -> std::io::Result<i32> {
        std::fs::create_dir_all(directory.join(state::CONTAINERS))?;
        std::fs::create_dir_all(directory.join(state::OCI))?;
        write_config(directory, config)?;
        std::fs::write(directory.join("resolv.conf"), config.dns_config.clone().unwrap_or_default().file())?;
        let hostname = if config.hostname.is_empty() {
            nix::unistd::gethostname()?.to_string_lossy().into_owned()
        } else {
            config.hostname.clone()
        };
        std::fs::write(directory.join("hostname"), hostname + "\n")?;
        let listener: OwnedFd = state::socket::listener(&directory.join(state::SOCKET))?;
        let log = std::fs::File::create(directory.join(state::LOG))?;
        let (program, first) = self.inner.shim.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        let mut command = tokio::process::Command::new(program);
        command.args(first).arg(directory).stdin(Stdio::from(listener)).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        let pid = child.id().ok_or(std::io::ErrorKind::NotFound)?;
        tokio::spawn(async move { child.wait().await });
        i32::try_from(pid).map_err(std::io::Error::other)
    }

    /// Stops the sandbox's process and frees its network, as far as there is any.
    async fn end_sandbox(&self, id: &str, directory: &Path, config: &PodSandboxConfig) {
        if client::answers(directory)
            && let Err(error) = client::call(directory, &Request::Stop).await
        {
            tracing::warn!(id, %error, "sandbox not stopped");
        }
        let (network, name) = (Arc::clone(&self.inner.network), id.to_owned());
        let (directory, config) = (directory.to_owned(), config.clone());
        let cleaned = blocking(move || {
            leftovers::clean(&directory, &config);
            network.detach(&name).map_err(failed)
        });
        if let Err(error) = cleaned.await {
            tracing::warn!(id, %error, "network not freed");
        }
    }

    async fn stop_sandbox(self, id: String) -> Result<()> {
        let Ok(mut sandbox) = self.sandbox(&id) else { return Ok(()) };
        if sandbox.note.stopped {
            return Ok(());
        }
        self.end_sandbox(&id, &sandbox.directory, &sandbox.config).await;
        sandbox.note.stopped = true;
        state::write_json(&sandbox.directory.join(state::SANDBOX), &sandbox.note).map_err(failed)?;
        if let Some(known) = self.inner.books.lock().sandboxes.get_mut(&id) {
            known.note.stopped = true;
        }
        Ok(())
    }

    async fn remove_sandbox(self, id: String) -> Result<()> {
        self.clone().stop_sandbox(id.clone()).await?;
        let Ok(sandbox) = self.sandbox(&id) else { return Ok(()) };
        let of = |books: &Books| -> Vec<String> {
            books.containers.iter().filter(|(_, one)| one.sandbox == id).map(|(id, _)| id.clone()).collect()
        };
        let containers = of(&self.inner.books.lock());
        for container in containers {
            self.clone().delete_container(container).await?;
        }
        remove_directory(&sandbox.directory).await?;
        self.inner.books.lock().sandboxes.remove(&id);
        Ok(())
    }

    fn make_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        let image = config.image.clone().unwrap_or_default().image;
        let record = self.inner.store.find(&image)?.ok_or_else(|| StoreError::Missing(image.clone()))?;
        let mut volumes = BTreeMap::new();
        for image in config.mounts.iter().filter_map(|mount| mount.image.as_ref()) {
            let found = self.inner.store.find(&image.image)?;
            volumes
                .insert(image.image.clone(), found.ok_or_else(|| StoreError::Missing(image.image.clone()))?);
        }
        let launch = Launch {
            image_id: record.id.clone(),
            image_name: record.names.iter().next().cloned().unwrap_or_default(),
            image_ref: reference(&record),
            layers_dir: self.inner.store.layers_dir(),
            layers: record.layers.clone(),
            volumes: volumes.iter().map(|(name, record)| (name.clone(), record.layers.clone())).collect(),
            execution: self.inner.store.config(&record)?.config,
        };
        if spec::arguments(&config, &launch.execution).is_empty() {
            return Err(failed("failed to generate container spec: no command specified"));
        }
        if !config.cdi_devices.is_empty() {
            super::cdi::Registry::read(&super::cdi::FOLDERS).check(&config.cdi_devices).map_err(failed)?;
        }
        let id = new_id();
        let directory = sandbox.directory.join(state::CONTAINERS).join(&id);
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let write = || {
            let records: Vec<&Record> = std::iter::once(&record).chain(volumes.values()).collect();
            self.inner.store.hold(&id, &records, &directory)?;
            super::shim::check(&config, &launch, &directory).map_err(failed)?;
            let status = Status { created_at: state::now(), ..Status::default() };
            write_config(&directory, &config).map_err(failed)?;
            state::write_json(&directory.join(state::STATUS), &status).map_err(failed)?;
            state::write_json(&directory.join(state::LAUNCH), &launch).map_err(failed)
        };
        if let Err(error) = write() {
            let _ = std::fs::remove_dir_all(&directory);
            let _ = self.inner.store.release(&id);
            return Err(error);
        }
        let known = KnownContainer { sandbox: sandbox_id.to_owned(), directory, config, launch };
        self.inner.books.lock().containers.insert(id.clone(), known);
        Ok(id)
    }

    /// Returns once the container does not run any more; whether that was within `limit`.
    async fn ended(&self, container: &KnownContainer, limit: Duration) -> bool {
        let mut changed = self.inner.changed.subscribe();
        let ended = async {
            while container.state().phase == Phase::Running {
                // Whoever missed some news looks as well.
                let _ = changed.recv().await;
            }
        };
        tokio::time::timeout(limit, ended).await.is_ok()
    }

    async fn signal(&self, id: &str, container: &KnownContainer, signal: i32) -> Result<()> {
        let request = Request::Signal { container: id.to_owned(), signal, all: false };
        match client::call(&self.directory_of(container)?, &request).await {
            // It ended meanwhile.
            Err(RuntimeError::NotFound(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn kill(&self, id: &str, container: &KnownContainer) -> Result<()> {
        self.signal(id, container, Signal::SIGKILL as i32).await?;
        if self.ended(container, KILL_TIMEOUT).await {
            Ok(())
        } else {
            Err(RuntimeError::DeadlineExceeded(format!("container {id:?} does not end")))
        }
    }

    async fn delete_container(self, id: String) -> Result<()> {
        let Ok(container) = self.container(&id) else { return Ok(()) };
        if container.state().phase == Phase::Running {
            self.kill(&id, &container).await?;
        }
        super::shim::userns::unmount_all(&container.directory);
        remove_directory(&container.directory).await?;
        self.inner.store.release(&id)?;
        self.inner.books.lock().containers.remove(&id);
        Ok(())
    }

    async fn run_command(
        &self,
        connection: &Connection,
        id: &str,
        cmd: Vec<String>,
    ) -> Result<ExecSyncResponse> {
        let ((out, out_theirs), (err, err_theirs)) = (pipe().map_err(failed)?, pipe().map_err(failed)?);
        let streams = Streams { stdin: false, stdout: true, stderr: true };
        let request = Request::Exec { container: id.to_owned(), args: cmd, tty: false, streams };
        connection.send(&request, &[out_theirs.as_fd(), err_theirs.as_fd()]).await?;
        drop((out_theirs, err_theirs));
        connection.receive().await?;
        let (out, err) = (Output::read(out), Output::read(err));
        let code = connection.exit_code().await?;
        Ok(ExecSyncResponse { stdout: out.finish().await, stderr: err.finish().await, exit_code: code })
    }

    async fn offer(
        &self,
        container: String,
        words: Option<Vec<String>>,
        streams: Streams,
        tty: bool,
    ) -> Result<String> {
        let known = self.running(&container)?;
        let connection = Connection::open(&self.directory_of(&known)?)?;
        let wanted = Wanted { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr, tty };
        let session = Session { connection, container, command: words, streams, tty };
        let serve = move |client| command::serve(wanted, client, |opened| session.stream(opened));
        streams::offer(streams::COMMANDS, serve).await.map_err(failed)
    }

    fn running(&self, id: &str) -> Result<KnownContainer> {
        let container = self.container(id)?;
        match container.state().phase {
            Phase::Running => Ok(container),
            Phase::Created => Err(failed("container is in CONTAINER_CREATED state")),
            Phase::Exited => Err(failed("container is in CONTAINER_EXITED state")),
        }
    }
}

fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    super::shim::do_not_block(&ours)?;
    Ok((ours, theirs))
}

/// What is being read of a command.
struct Output {
    task: tokio::task::JoinHandle<()>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Output {
    fn read(descriptor: OwnedFd) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            let Ok(mut source) = tokio::net::unix::pipe::Receiver::from_owned_fd(descriptor) else { return };
            let mut buffer = vec![0; 32 << 10];
            while let Ok(count @ 1..) = source.read(&mut buffer).await {
                let mut into = into.lock();
                let room = MAX_OUTPUT.saturating_sub(into.len());
                into.extend_from_slice(&buffer[..count.min(room)]);
            }
        });
        Self { task, bytes }
    }

    /// All that came; others of the command's processes may hold it open for longer than anyone waits.
    async fn finish(mut self) -> Vec<u8> {
        if tokio::time::timeout(LAST_OUTPUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
        std::mem::take(&mut self.bytes.lock())
    }
}

async fn remove_directory(directory: &Path) -> Result<()> {
    let directory = directory.to_owned();
    blocking(move || match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed(format!("{}: {error}", directory.display())))
        }
        _ => Ok(()),
    })
    .await
}

/// How a container's image is told: by name and digest if it was pulled, else by its id.
fn reference(record: &Record) -> String {
    record.digests.first().unwrap_or(&record.id).clone()
}

/// The signal that an image names, else SIGTERM.
fn stop_signal(name: &str) -> i32 {
    let number = name.parse().ok();
    let known =
        || name.to_uppercase().parse::<Signal>().or_else(|_| format!("SIG{}", name.to_uppercase()).parse());
    number.or_else(|| known().ok().map(|signal| signal as i32)).unwrap_or(Signal::SIGTERM as i32)
}

fn image(store: &Store, record: &Record) -> Result<Image> {
    let user = store.config(record)?.config.user;
    let name = user.split(':').next().unwrap_or_default();
    let uid = name.parse().ok().map(|value| Int64Value { value });
    Ok(Image {
        id: record.id.clone(),
        repo_tags: record.names.iter().cloned().collect(),
        repo_digests: record.digests.iter().cloned().collect(),
        size: record.size,
        username: if uid.is_some() { String::new() } else { name.to_owned() },
        uid,
        pinned: false,
    })
}

#[async_trait]
impl Runtime for Embedded {
    async fn version(&self) -> Result<VersionResponse> {
        Ok(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "knarr".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn status(&self) -> Result<StatusResponse> {
        let network = Arc::clone(&self.inner.network);
        let network = blocking(move || Ok(network.ready())).await?;
        let features = RuntimeHandlerFeatures {
            user_namespaces: self.inner.has_user_namespaces,
            recursive_read_only_mounts: can_change_mounts(),
        };
        Ok(StatusResponse {
            status: Some(RuntimeStatus::of(Ok(()), network)),
            runtime_handlers: vec![RuntimeHandler { name: String::new(), features: Some(features) }],
            features: Some(RuntimeFeatures { supplemental_groups_policy: true }),
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
        Ok(self.sandbox(id)?.status(id))
    }

    async fn list_pod_sandboxes(&self, uid: PodUid<'_>) -> Result<Vec<PodSandbox>> {
        let books = self.inner.books.lock();
        let of = books.sandboxes.iter().filter(|(_, sandbox)| is_of(&sandbox.config.labels, uid));
        Ok(of.map(|(id, sandbox)| sandbox.listed(id)).collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        _: PodSandboxConfig,
    ) -> Result<String> {
        let (runtime, sandbox) = (self.clone(), sandbox.to_owned());
        self.inner.changes.run(blocking(move || runtime.make_container(&sandbox, config))).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let (directory, id) = (self.directory_of(&container)?, id.to_owned());
        self.inner
            .changes
            .run(async move {
                let started = client::call(&directory, &Request::Start { container: id.clone() }).await;
                let named = |error| match error {
                    RuntimeError::Failed(text) => failed(format!("failed to start container {id:?}: {text}")),
                    other => other,
                };
                started.map(drop).map_err(named)
            })
            .await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if container.state().phase != Phase::Running {
            return Ok(());
        }
        if !grace.is_zero() {
            self.signal(id, &container, stop_signal(&container.launch.execution.stop_signal)).await?;
            if self.ended(&container, grace).await {
                return Ok(());
            }
        }
        self.kill(id, &container).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.inner.changes.run(self.clone().delete_container(id.to_owned())).await
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        let container = self.container(id)?;
        let logs = self.sandbox(&container.sandbox)?.config.log_directory;
        Ok(container.status(id, &logs))
    }

    async fn list_containers(&self, uid: PodUid<'_>) -> Result<Vec<Container>> {
        let books = self.inner.books.lock();
        let of = books.containers.iter().filter(|(_, container)| is_of(&container.config.labels, uid));
        Ok(of.map(|(id, container)| container.listed(id)).collect())
    }

    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        let container = self.running(id)?;
        let resources = spec::resources(&resources, super::shim::unified());
        let request = Request::Update { container: id.to_owned(), resources };
        client::call(&self.directory_of(&container)?, &request).await.map(drop)
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let container = self.running(id)?;
        client::call(&self.directory_of(&container)?, &Request::ReopenLog { container: id.to_owned() })
            .await
            .map(drop)
    }

    async fn exec_sync(&self, id: &str, cmd: Vec<String>, timeout: Duration) -> Result<ExecSyncResponse> {
        let connection = Connection::open(&self.directory_of(&self.running(id)?)?)?;
        let command = self.run_command(&connection, id, cmd);
        if timeout.is_zero() {
            return command.await;
        }
        match tokio::time::timeout(timeout, command).await {
            Ok(answer) => answer,
            Err(_) => {
                connection.send(&Request::Kill, &[]).await?;
                let text = format!(
                    "failed to exec in container: timeout {timeout:?} exceeded: context deadline exceeded"
                );
                Err(RuntimeError::DeadlineExceeded(text))
            }
        }
    }

    async fn exec(&self, request: ExecRequest) -> Result<String> {
        let streams = Streams { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        self.offer(request.container_id, Some(request.cmd), streams, request.tty).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<String> {
        let streams = Streams { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        let tty = self.container(&request.container_id)?.config.tty;
        self.offer(request.container_id, None, streams, tty).await
    }

    async fn port_forward(&self, sandbox: &str, _: Vec<i32>) -> Result<String> {
        let directory = self.sandbox(sandbox)?.directory;
        let connect = move |port| {
            let directory = directory.clone();
            async move { connect(&directory, port).await }
        };
        let serve = move |client| ports::serve(client, connect);
        streams::offer(streams::PORTS, serve).await.map_err(failed)
    }

    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>> {
        let runtime = self.clone();
        blocking(move || {
            let books = runtime.inner.books.lock();
            let running =
                books.containers.iter().filter(|(_, container)| container.state().phase == Phase::Running);
            let found: Vec<_> = running
                .filter_map(|(id, container)| {
                    let linux =
                        books.sandboxes.get(&container.sandbox)?.config.linux.clone().unwrap_or_default();
                    Some((id.clone(), container.clone(), linux.cgroup_parent))
                })
                .collect();
            drop(books);
            let stats = |(id, container, parent): &(String, KnownContainer, String)| {
                let attributes = ContainerAttributes {
                    id: id.clone(),
                    metadata: container.config.metadata.clone(),
                    labels: container.config.labels.clone(),
                    annotations: container.config.annotations.clone(),
                };
                let written = Written {
                    file_system: container.directory.clone(),
                    folder: container.directory.join("upper"),
                };
                usage::of(attributes, parent, Some(&written))
            };
            Ok(found.iter().map(stats).collect())
        })
        .await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let store = self.inner.store.clone();
        blocking(move || store.list()?.iter().map(|record| image(&store, record)).collect()).await
    }

    async fn image_status(&self, name: &str) -> Result<Option<Image>> {
        let (store, name) = (self.inner.store.clone(), name.to_owned());
        blocking(move || store.find(&name)?.map(|record| image(&store, &record)).transpose()).await
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
        _: Option<PodSandboxConfig>,
    ) -> Result<String> {
        registry::pull(&self.inner.store, &self.inner.registries, image, auth).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let (store, image) = (self.inner.store.clone(), image.to_owned());
        self.inner.changes.run(blocking(move || Ok(store.remove(&image)?))).await
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>> {
        let store = self.inner.store.clone();
        blocking(move || {
            let value = |value: u64| Some(UInt64Value { value });
            Ok(vec![FilesystemUsage {
                timestamp: state::now(),
                fs_id: Some(FilesystemIdentifier { mountpoint: store.root().display().to_string() }),
                used_bytes: value(store.list()?.iter().map(|record| record.size).sum()),
                inodes_used: value(0),
            }])
        })
        .await
    }

    fn events(&self) -> BoxStream<'static, ()> {
        let changed = self.inner.changed.subscribe();
        futures::stream::unfold(changed, |mut changed| async move {
            match changed.recv().await {
                Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => Some(((), changed)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}

/// Whether the kernel changes what is mounted below a mount: Linux 5.12 and later (`mount_setattr(2)`).
fn can_change_mounts() -> bool {
    let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
    let mut parts =
        release.as_deref().unwrap_or_default().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (5, 12)
}
