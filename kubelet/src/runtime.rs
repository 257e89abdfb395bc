//! What the kubelet asks of whatever runs the containers.
//!
//! One trait, spoken in the words of the CRI, so that pod logic knows neither sockets nor runtimes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub mod choose;
pub mod cri;
pub mod docker;
pub mod embedded;
#[cfg(test)]
pub mod fake;
pub mod measured;
mod streams;
#[allow(missing_docs, reason = "fields are named as in the CRI, which describes them")]
pub mod types;
pub mod unbroken;
mod usage;

use crate::labels;
use types::{
    AttachRequest, AuthConfig, Container, ContainerConfig, ContainerStats, ContainerStatus, ExecRequest,
    ExecSyncResponse, FilesystemUsage, Image, LinuxContainerResources, PodSandbox, PodSandboxConfig,
    PodSandboxStatus, StatusResponse, VersionResponse,
};

/// Image of sandboxes for runtimes that need one; it is carried in this binary and never pulled.
pub const PAUSE_IMAGE: &str = "knarr.invalid/pause:1";

/// Why a call to the runtime failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// The runtime cannot be reached at all; the call may be repeated.
    #[error("container runtime is down: {0}")]
    Unavailable(String),
    /// The sandbox, container or image is not there.
    #[error("{0}")]
    NotFound(String),
    /// The call took longer than it was allowed to.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The runtime does not know this call.
    #[error("{0}")]
    Unimplemented(String),
    /// Anything else, in the runtime's words.
    #[error("{0}")]
    Failed(String),
}

impl RuntimeError {
    /// The runtime's own words, without how they came: events and statuses of containers show those.
    pub fn plain(&self) -> String {
        let text = self.to_string();
        let own = text.strip_prefix("rpc error: code = ").and_then(|rest| rest.split_once(" desc = "));
        own.map(|(_, own)| own.to_owned()).unwrap_or(text)
    }
}

/// Result of a call to the runtime.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// A runtime shared by all pods.
pub type SharedRuntime = Arc<dyn Runtime>;

/// Returns once a runtime serves: one that was started just now refuses every call for a while, also when its socket
/// answers already.
pub async fn answering(runtime: &dyn Runtime) -> VersionResponse {
    let mut pause = Duration::from_millis(20);
    loop {
        match runtime.version().await {
            Ok(version) => return version,
            Err(error) => tracing::info!(%error, "waiting for the container runtime"),
        }
        // Nothing tells of it.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Selects sandboxes or containers of one pod by its uid, or all when `None`.
pub type PodUid<'a> = Option<&'a str>;

/// Whether something with these labels is selected.
fn is_of(labels: &BTreeMap<String, String>, uid: PodUid<'_>) -> bool {
    uid.is_none_or(|uid| labels.get(labels::POD_UID).is_some_and(|label| label == uid))
}

/// Sandboxes, containers and images. Every call is safe to repeat: stopping or removing what is gone
/// succeeds.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<VersionResponse>;
    /// The conditions `RuntimeReady` and `NetworkReady`, and what the runtime can do.
    async fn status(&self) -> Result<StatusResponse>;

    /// Returns when no call that makes or removes something is under way, also of callers that are gone.
    async fn settled(&self) {}

    /// Makes and starts a sandbox; answers its id.
    async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String>;
    /// Stops everything in the sandbox and frees its network.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Removes a sandbox and all its containers.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    /// One sandbox in detail.
    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus>;
    /// Sandboxes of one pod, or of all.
    async fn list_pod_sandboxes(&self, uid: PodUid<'_>) -> Result<Vec<PodSandbox>>;

    /// Makes a container in a sandbox; answers its id.
    async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends the stop signal, waits for `grace`, then kills.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    /// Removes a container, killing it if need be.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// One container in detail.
    async fn container_status(&self, id: &str) -> Result<ContainerStatus>;
    /// Containers of one pod, or of all.
    async fn list_containers(&self, uid: PodUid<'_>) -> Result<Vec<Container>>;
    /// Changes limits of a running container.
    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()>;
    /// Writes the state of a running container to an archive; `timeout` zero: the runtime's own limit.
    async fn checkpoint_container(&self, id: &str, location: &str, timeout: Duration) -> Result<()> {
        let _ = (id, location, timeout);
        Err(RuntimeError::Unimplemented("the container runtime does not support checkpoints".to_owned()))
    }
    /// Tells the runtime that the log file was moved away.
    async fn reopen_container_log(&self, id: &str) -> Result<()>;

    /// Runs a command in a container and waits for it, at most `timeout` (zero: no limit).
    async fn exec_sync(&self, id: &str, cmd: Vec<String>, timeout: Duration) -> Result<ExecSyncResponse>;
    /// Prepares a streamed command; answers the single-use URL.
    async fn exec(&self, request: ExecRequest) -> Result<String>;
    /// Prepares streaming of the main process; answers the single-use URL.
    async fn attach(&self, request: AttachRequest) -> Result<String>;
    /// Prepares port forwarding into a sandbox; answers the single-use URL.
    async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String>;

    /// Statistics of all containers.
    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>>;

    /// All images.
    async fn list_images(&self) -> Result<Vec<Image>>;
    /// The image of that name or id, if it is there.
    async fn image_status(&self, image: &str) -> Result<Option<Image>>;
    /// Fetches an image; answers its reference.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
        sandbox: Option<PodSandboxConfig>,
    ) -> Result<String>;
    /// Removes an image.
    async fn remove_image(&self, image: &str) -> Result<()>;
    /// Space taken by images.
    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>>;

    /// Removes what the runtime has for this node beside pods and images; none of its pods are there any more.
    async fn leave(&self) -> Result<()> {
        Ok(())
    }

    /// A stream with one item whenever some container changed its state. Items are hints only; the stream
    /// ends when the runtime goes away, and at once if it has no events.
    fn events(&self) -> BoxStream<'static, ()>;
}
