//! The [`Runtime`] behind a CRI v1 socket: containerd, CRI-O, cri-dockerd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tonic::{Code, Status};

use super::types::*;
use super::unbroken::Unbroken;
use super::{PodUid, Result, Runtime, RuntimeError};
use crate::grpc::{self, Socket};
use crate::labels;

/// Calls that only look or only tell must answer within this time; the original uses two minutes too.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// What the kubelet announces as its API version in `Version`.
const KUBELET_API_VERSION: &str = "0.1.0";

/// A connection to a CRI socket. It is made lazily and again after every loss.
#[derive(Clone)]
pub struct CriRuntime {
    socket: Socket,
    /// Calls that make or remove something.
    changes: Unbroken,
}

impl CriRuntime {
    /// A runtime at `endpoint`: a path, or a `unix://` URL.
    pub fn new(endpoint: &str) -> Result<Self> {
        let socket = Socket::new(socket_path(endpoint)?);
        Ok(Self { socket, changes: Unbroken::default() })
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q, timeout: Duration) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.socket.call(path, request, timeout).await.map_err(from_status)
    }

    /// A call that makes or removes something. It goes on when its caller is dropped: a runtime that is told to stop
    /// half-way forgets what it has made by then (a shim, a network namespace).
    async fn change<Q, A>(&self, path: &'static str, request: Q, timeout: Duration) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let runtime = self.clone();
        self.changes.run(async move { runtime.call(path, request, timeout).await }).await
    }
}

/// Path of a socket given as a path or a `unix://` URL.
pub fn socket_path(endpoint: &str) -> Result<PathBuf> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') {
        Ok(Path::new(path).to_owned())
    } else {
        Err(RuntimeError::Failed(format!("{endpoint:?}: only unix sockets are supported, as unix:///path")))
    }
}

fn from_status(status: Status) -> RuntimeError {
    let text = grpc::describe(&status);
    match status.code() {
        Code::NotFound => RuntimeError::NotFound(text),
        Code::DeadlineExceeded => RuntimeError::DeadlineExceeded(text),
        Code::Unimplemented => RuntimeError::Unimplemented(text),
        Code::Unavailable => RuntimeError::Unavailable(text),
        _ => RuntimeError::Failed(text),
    }
}

/// What is gone needs no stopping or removing.
fn gone_is_fine<T>(result: Result<T>) -> Result<()> {
    match result {
        Ok(_) | Err(RuntimeError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn uid_labels(uid: PodUid<'_>) -> std::collections::BTreeMap<String, String> {
    uid.map(|uid| (labels::POD_UID.to_owned(), uid.to_owned())).into_iter().collect()
}

fn image_spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned() })
}

macro_rules! runtime_path {
    ($name:literal) => {
        concat!("/runtime.v1.RuntimeService/", $name)
    };
}
macro_rules! image_path {
    ($name:literal) => {
        concat!("/runtime.v1.ImageService/", $name)
    };
}

#[async_trait]
impl Runtime for CriRuntime {
    async fn version(&self) -> Result<VersionResponse> {
        let request = VersionRequest { version: KUBELET_API_VERSION.to_owned() };
        self.call(runtime_path!("Version"), request, CALL_TIMEOUT).await
    }

    async fn status(&self) -> Result<StatusResponse> {
        self.call(runtime_path!("Status"), StatusRequest { verbose: false }, CALL_TIMEOUT).await
    }

    async fn settled(&self) {
        self.changes.settled().await;
    }

    async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String> {
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        // Twice the time of other calls: the network plugin works within it.
        let answer: RunPodSandboxResponse =
            self.change(runtime_path!("RunPodSandbox"), request, CALL_TIMEOUT * 2).await?;
        Ok(answer.pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine::<StopPodSandboxResponse>(
            self.change(runtime_path!("StopPodSandbox"), request, CALL_TIMEOUT).await,
        )
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine::<RemovePodSandboxResponse>(
            self.change(runtime_path!("RemovePodSandbox"), request, CALL_TIMEOUT).await,
        )
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer: PodSandboxStatusResponse =
            self.call(runtime_path!("PodSandboxStatus"), request, CALL_TIMEOUT).await?;
        answer.status.ok_or_else(|| RuntimeError::Failed(format!("sandbox {id}: empty status")))
    }

    async fn list_pod_sandboxes(&self, uid: PodUid<'_>) -> Result<Vec<PodSandbox>> {
        let filter = PodSandboxFilter { label_selector: uid_labels(uid), ..Default::default() };
        let request = ListPodSandboxRequest { filter: Some(filter) };
        let answer: ListPodSandboxResponse =
            self.call(runtime_path!("ListPodSandbox"), request, CALL_TIMEOUT).await?;
        Ok(answer.items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer: CreateContainerResponse =
            self.change(runtime_path!("CreateContainer"), request, CALL_TIMEOUT).await?;
        Ok(answer.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        let _: StartContainerResponse =
            self.change(runtime_path!("StartContainer"), request, CALL_TIMEOUT).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = StopContainerRequest { container_id: id.to_owned(), timeout };
        // The runtime needs the whole grace period and some time to kill after it.
        let limit = grace.saturating_add(CALL_TIMEOUT);
        gone_is_fine::<StopContainerResponse>(self.call(runtime_path!("StopContainer"), request, limit).await)
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let request = RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_fine::<RemoveContainerResponse>(
            self.change(runtime_path!("RemoveContainer"), request, CALL_TIMEOUT).await,
        )
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer: ContainerStatusResponse =
            self.call(runtime_path!("ContainerStatus"), request, CALL_TIMEOUT).await?;
        answer.status.ok_or_else(|| RuntimeError::Failed(format!("container {id}: empty status")))
    }

    async fn list_containers(&self, uid: PodUid<'_>) -> Result<Vec<Container>> {
        let filter = ContainerFilter { label_selector: uid_labels(uid), ..Default::default() };
        let request = ListContainersRequest { filter: Some(filter) };
        let answer: ListContainersResponse =
            self.call(runtime_path!("ListContainers"), request, CALL_TIMEOUT).await?;
        Ok(answer.containers)
    }

    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        let request = UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources),
            annotations: Default::default(),
        };
        let _: UpdateContainerResourcesResponse =
            self.call(runtime_path!("UpdateContainerResources"), request, CALL_TIMEOUT).await?;
        Ok(())
    }

    async fn checkpoint_container(&self, id: &str, location: &str, timeout: Duration) -> Result<()> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let request = CheckpointContainerRequest {
            container_id: id.to_owned(),
            location: location.to_owned(),
            timeout: seconds,
        };
        let limit = CALL_TIMEOUT.max(timeout + CALL_TIMEOUT);
        let _: CheckpointContainerResponse =
            self.call(runtime_path!("CheckpointContainer"), request, limit).await?;
        Ok(())
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let request = ReopenContainerLogRequest { container_id: id.to_owned() };
        let _: ReopenContainerLogResponse =
            self.call(runtime_path!("ReopenContainerLog"), request, CALL_TIMEOUT).await?;
        Ok(())
    }

    async fn exec_sync(&self, id: &str, cmd: Vec<String>, timeout: Duration) -> Result<ExecSyncResponse> {
        // The runtime counts whole seconds and kills the process itself; our own limit comes later.
        let seconds = i64::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: seconds };
        let limit = if timeout.is_zero() {
            Duration::from_secs(86_400)
        } else {
            timeout.saturating_add(CALL_TIMEOUT)
        };
        self.call(runtime_path!("ExecSync"), request, limit).await
    }

    async fn exec(&self, request: ExecRequest) -> Result<String> {
        let answer: ExecResponse = self.call(runtime_path!("Exec"), request, CALL_TIMEOUT).await?;
        Ok(answer.url)
    }

    async fn attach(&self, request: AttachRequest) -> Result<String> {
        let answer: AttachResponse = self.call(runtime_path!("Attach"), request, CALL_TIMEOUT).await?;
        Ok(answer.url)
    }

    async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String> {
        let request = PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: ports };
        let answer: PortForwardResponse =
            self.call(runtime_path!("PortForward"), request, CALL_TIMEOUT).await?;
        Ok(answer.url)
    }

    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>> {
        let request = ListContainerStatsRequest { filter: None };
        let answer: ListContainerStatsResponse =
            self.call(runtime_path!("ListContainerStats"), request, CALL_TIMEOUT).await?;
        Ok(answer.stats)
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let answer: ListImagesResponse =
            self.call(image_path!("ListImages"), ListImagesRequest { filter: None }, CALL_TIMEOUT).await?;
        Ok(answer.images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        let request = ImageStatusRequest { image: image_spec(image), verbose: false };
        let answer: ImageStatusResponse =
            self.call(image_path!("ImageStatus"), request, CALL_TIMEOUT).await?;
        Ok(answer.image)
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
        sandbox: Option<PodSandboxConfig>,
    ) -> Result<String> {
        let request = PullImageRequest { image: image_spec(image), auth, sandbox_config: sandbox };
        let answer: PullImageResponse =
            self.call(image_path!("PullImage"), request, Duration::from_secs(86_400)).await?;
        Ok(answer.image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let request = RemoveImageRequest { image: image_spec(image) };
        gone_is_fine::<RemoveImageResponse>(
            self.call(image_path!("RemoveImage"), request, CALL_TIMEOUT).await,
        )
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>> {
        let answer: ImageFsInfoResponse =
            self.call(image_path!("ImageFsInfo"), ImageFsInfoRequest {}, CALL_TIMEOUT).await?;
        Ok(answer.image_filesystems)
    }

    /// Follows containerd's own event service on the same socket, since its CRI has no
    /// `GetContainerEvents` before 1.7.
    fn events(&self) -> BoxStream<'static, ()> {
        let socket = self.socket.clone();
        // The answer's headers come with the first event, so even the call is part of the stream.
        let subscribe = async move {
            let filters = vec![r#"namespace=="k8s.io",topic~="^/tasks/(exit|delete|oom|start)""#.to_owned()];
            let path = "/containerd.services.events.v1.Events/Subscribe";
            socket.stream::<_, Envelope>(path, SubscribeRequest { filters }).await
        };
        futures::stream::once(subscribe)
            .try_flatten()
            .take_while(|item| std::future::ready(item.is_ok()))
            .filter(|item| std::future::ready(item.as_ref().is_ok_and(Envelope::is_about_a_container)))
            .map(|_| ())
            .boxed()
    }
}

/// Subscribes to containerd's events by filter.
#[derive(Clone, PartialEq, ::prost::Message)]
struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// One event of containerd.
#[derive(Clone, PartialEq, ::prost::Message)]
struct Envelope {
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(message, optional, tag = "4")]
    event: Option<Any>,
}

/// A message with its type.
#[derive(Clone, PartialEq, ::prost::Message)]
struct Any {
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `containerd.events.TaskExit`.
#[derive(Clone, PartialEq, ::prost::Message)]
struct TaskExit {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    id: String,
}

impl Envelope {
    /// Commands run in a container, such as probes, end with an event too; those change nothing.
    fn is_about_a_container(&self) -> bool {
        let Some(event) = self.event.as_ref().filter(|_| self.topic == "/tasks/exit") else { return true };
        prost::Message::decode(event.value.as_slice())
            .is_ok_and(|exit: TaskExit| exit.id.is_empty() || exit.id == exit.container_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_paths_or_unix_urls() {
        let check = |endpoint: &str, expected: Option<&str>| {
            assert_eq!(socket_path(endpoint).ok(), expected.map(PathBuf::from), "{endpoint}");
        };
        check("/run/c.sock", Some("/run/c.sock"));
        check("unix:///run/c.sock", Some("/run/c.sock"));
        check("tcp://1.2.3.4:5", None);
        check("c.sock", None);
    }
}
