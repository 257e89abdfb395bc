//! A pod as the runtime shows it: its sandboxes and containers, newest first.

use jiff::Timestamp;

use crate::labels;
use crate::last_words;
use crate::runtime::types::{self, ContainerState, PodSandboxState};
use crate::runtime::{Result, Runtime, RuntimeError};

/// All that the runtime knows of one pod.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Sandboxes, the newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Containers of all sandboxes, the newest first.
    pub containers: Vec<Container>,
}

/// A sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Which one of the pod it is, from zero.
    pub attempt: u32,
    /// Whether it works.
    pub ready: bool,
    /// Its addresses; none with host network.
    pub ips: Vec<String>,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// A container.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it lives in.
    pub sandbox: String,
    /// Name within the pod.
    pub name: String,
    /// How often it was started before.
    pub restarts: u32,
    /// Its state.
    pub state: ContainerState,
    /// When it was made.
    pub created: Timestamp,
    /// When it was started; the epoch if it was not.
    pub started: Timestamp,
    /// When it ended; the epoch if it did not.
    pub finished: Timestamp,
    /// Exit code, when ended.
    pub exit_code: i32,
    /// The runtime's short reason.
    pub reason: String,
    /// The runtime's message.
    pub message: String,
    /// The image as the runtime names it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// Who its first process began as, where the runtime tells.
    pub user: Option<types::LinuxContainerUser>,
    /// Hash of the spec it was made from.
    pub hash: String,
    /// Log file.
    pub log_path: String,
    /// Where its termination message is on the host.
    pub message_path: Option<String>,
    /// Whether logs stand in for a missing termination message.
    pub message_from_logs: bool,
}

impl Container {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }

    /// Whether it ran and ended.
    pub fn is_exited(&self) -> bool {
        self.state == ContainerState::Exited
    }
}

impl Observed {
    /// Asks the runtime for everything of one pod.
    pub async fn of(runtime: &dyn Runtime, uid: &str) -> Result<Self> {
        let (sandboxes, containers) =
            futures::try_join!(runtime.list_pod_sandboxes(Some(uid)), runtime.list_containers(Some(uid)))?;
        let mut observed = Self::default();
        for sandbox in &sandboxes {
            observed.sandboxes.push(sandbox_view(runtime, sandbox).await?);
        }
        for container in &containers {
            match runtime.container_status(&container.id).await {
                Ok(status) => {
                    let mut view = container_view(&container.pod_sandbox_id, status);
                    last_words::fill(&mut view).await;
                    observed.containers.push(view);
                }
                Err(RuntimeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        observed.sort();
        Ok(observed)
    }

    /// Puts the newest first.
    fn sort(&mut self) {
        self.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created)));
        self.containers.sort_by_key(|container| std::cmp::Reverse((container.created, container.restarts)));
    }

    /// The newest container of that name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of that name, if it is in this sandbox.
    pub fn latest_in(&self, sandbox: &str, name: &str) -> Option<&Container> {
        self.latest(name).filter(|container| container.sandbox == sandbox)
    }

    /// The container of that name before the newest.
    pub fn previous(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|container| container.name == name).nth(1)
    }

    /// The newest sandbox, if it works.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The containers that run now.
    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.is_running())
    }
}

async fn sandbox_view(runtime: &dyn Runtime, sandbox: &types::PodSandbox) -> Result<Sandbox> {
    let mut view = Sandbox {
        id: sandbox.id.clone(),
        attempt: sandbox.metadata.as_ref().map(|metadata| metadata.attempt).unwrap_or_default(),
        ready: sandbox.state() == PodSandboxState::Ready,
        created: time(sandbox.created_at),
        host_network: sandbox.annotations.contains_key(labels::HOST_NETWORK),
        ..Default::default()
    };
    if view.ready {
        match runtime.pod_sandbox_status(&sandbox.id).await {
            Ok(status) => {
                view.ready = status.state() == PodSandboxState::Ready;
                let network = status.network.unwrap_or_default();
                let all =
                    std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
                view.ips = all.filter(|ip| !ip.is_empty()).collect();
            }
            Err(RuntimeError::NotFound(_)) => view.ready = false,
            Err(error) => return Err(error),
        }
    }
    Ok(view)
}

fn container_view(sandbox: &str, status: types::ContainerStatus) -> Container {
    let state = status.state();
    let metadata = status.metadata.unwrap_or_default();
    let annotation = |key: &str| status.annotations.get(key).cloned();
    let message_target = annotation(labels::TERMINATION_MESSAGE_PATH).unwrap_or_default();
    let message_path = status
        .mounts
        .iter()
        .find(|mount| !message_target.is_empty() && mount.container_path == message_target)
        .map(|mount| mount.host_path.clone());
    Container {
        sandbox: sandbox.to_owned(),
        restarts: annotation(labels::RESTART_COUNT)
            .and_then(|count| count.parse().ok())
            .unwrap_or(metadata.attempt),
        hash: annotation(labels::CONTAINER_HASH).unwrap_or_default(),
        message_from_logs: annotation(labels::TERMINATION_MESSAGE_POLICY).as_deref()
            == Some("FallbackToLogsOnError"),
        name: metadata.name,
        state,
        created: time(status.created_at),
        started: time(status.started_at),
        finished: time(status.finished_at),
        exit_code: status.exit_code,
        reason: status.reason,
        message: status.message,
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_id: status.image_ref,
        user: status.user.and_then(|user| user.linux),
        log_path: status.log_path,
        message_path,
        id: status.id,
    }
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}
