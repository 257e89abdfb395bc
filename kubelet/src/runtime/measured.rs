//! A runtime whose calls are counted and timed.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::types::{
    AttachRequest, AuthConfig, Container, ContainerConfig, ContainerStats, ContainerStatus, ExecRequest,
    ExecSyncResponse, FilesystemUsage, Image, LinuxContainerResources, PodSandbox, PodSandboxConfig,
    PodSandboxStatus, StatusResponse, VersionResponse,
};
use super::{PodUid, Result, Runtime, SharedRuntime};
use crate::metrics::{self, Name};

/// Passes every call on.
pub struct Measured(pub SharedRuntime);

async fn measured<T>(operation: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = Instant::now();
    let outcome = call.await;
    let labels = [("operation_type", operation)];
    metrics::count(Name::RuntimeOperations, &labels);
    metrics::observe(Name::RuntimeSeconds, &labels, begun.elapsed());
    if outcome.is_err() {
        metrics::count(Name::RuntimeErrors, &labels);
    }
    outcome
}

#[async_trait]
impl Runtime for Measured {
    async fn version(&self) -> Result<VersionResponse> {
        measured("version", self.0.version()).await
    }

    async fn status(&self) -> Result<StatusResponse> {
        measured("status", self.0.status()).await
    }

    async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String> {
        measured("run_podsandbox", self.0.run_pod_sandbox(config, handler)).await
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        measured("stop_podsandbox", self.0.stop_pod_sandbox(id)).await
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        measured("remove_podsandbox", self.0.remove_pod_sandbox(id)).await
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus> {
        measured("podsandbox_status", self.0.pod_sandbox_status(id)).await
    }

    async fn list_pod_sandboxes(&self, uid: PodUid<'_>) -> Result<Vec<PodSandbox>> {
        measured("list_podsandbox", self.0.list_pod_sandboxes(uid)).await
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String> {
        measured("create_container", self.0.create_container(sandbox, config, sandbox_config)).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        measured("start_container", self.0.start_container(id)).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        measured("stop_container", self.0.stop_container(id, grace)).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        measured("remove_container", self.0.remove_container(id)).await
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        measured("container_status", self.0.container_status(id)).await
    }

    async fn list_containers(&self, uid: PodUid<'_>) -> Result<Vec<Container>> {
        measured("list_containers", self.0.list_containers(uid)).await
    }

    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        measured("update_container", self.0.update_container_resources(id, resources)).await
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        measured("reopen_container_log", self.0.reopen_container_log(id)).await
    }

    async fn exec_sync(&self, id: &str, cmd: Vec<String>, timeout: Duration) -> Result<ExecSyncResponse> {
        measured("exec_sync", self.0.exec_sync(id, cmd, timeout)).await
    }

    async fn exec(&self, request: ExecRequest) -> Result<String> {
        measured("exec", self.0.exec(request)).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<String> {
        measured("attach", self.0.attach(request)).await
    }

    async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String> {
        measured("port_forward", self.0.port_forward(sandbox, ports)).await
    }

    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>> {
        measured("list_container_stats", self.0.list_container_stats()).await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        measured("list_images", self.0.list_images()).await
    }

    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        measured("image_status", self.0.image_status(image)).await
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
        sandbox: Option<PodSandboxConfig>,
    ) -> Result<String> {
        measured("pull_image", self.0.pull_image(image, auth, sandbox)).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        measured("remove_image", self.0.remove_image(image)).await
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>> {
        measured("image_fs_info", self.0.image_fs_info()).await
    }

    async fn checkpoint_container(&self, id: &str, location: &str, timeout: Duration) -> Result<()> {
        measured("checkpoint_container", self.0.checkpoint_container(id, location, timeout)).await
    }

    async fn leave(&self) -> Result<()> {
        self.0.leave().await
    }

    async fn settled(&self) {
        self.0.settled().await;
    }

    fn events(&self) -> BoxStream<'static, ()> {
        self.0.events()
    }
}
