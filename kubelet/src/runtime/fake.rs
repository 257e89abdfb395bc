//! A runtime without containers, for tests: it keeps books and does what it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::types::*;
use super::{PodUid, Result, Runtime, RuntimeError, is_of};

/// The books.
#[derive(Default)]
pub struct FakeRuntime {
    books: Mutex<Books>,
    /// While a test holds it, containers do not get started.
    pub starts: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Books {
    last: i64,
    sandboxes: BTreeMap<String, (PodSandboxConfig, PodSandboxState, i64)>,
    containers: BTreeMap<String, Kept>,
    /// What happened, in few words.
    journal: Vec<String>,
}

struct Kept {
    sandbox: String,
    config: ContainerConfig,
    status: ContainerStatus,
}

impl FakeRuntime {
    /// What happened so far.
    pub fn journal(&self) -> Vec<String> {
        self.books.lock().journal.clone()
    }

    /// Lets the newest container of that name end.
    pub fn exit(&self, name: &str, code: i32) {
        let mut books = self.books.lock();
        let now = books.tick();
        let kept =
            books.containers.values_mut().filter(|kept| kept.status.state() == ContainerState::Running);
        let mut found: Vec<_> =
            kept.filter(|kept| kept.config.metadata.as_ref().is_some_and(|m| m.name == name)).collect();
        let kept = found.pop().expect("a running container of that name");
        kept.status.state = ContainerState::Exited as i32;
        kept.status.exit_code = code;
        kept.status.finished_at = now;
    }

    /// The newest container of that name.
    pub fn newest(&self, name: &str) -> Option<String> {
        let books = self.books.lock();
        let named = books.containers.iter().filter(|(id, _)| books.name(id) == name);
        named.max_by_key(|(_, kept)| kept.status.created_at).map(|(id, _)| id.clone())
    }

    /// How many sandboxes and containers there are.
    pub fn count(&self) -> (usize, usize) {
        let books = self.books.lock();
        (books.sandboxes.len(), books.containers.len())
    }

    /// The configuration that the newest container of that name was made with.
    pub fn config(&self, name: &str) -> Option<ContainerConfig> {
        let id = self.newest(name)?;
        self.books.lock().containers.get(&id).map(|kept| kept.config.clone())
    }
}

impl Books {
    fn note(&mut self, what: impl Into<String>) -> i64 {
        self.journal.push(what.into());
        self.tick()
    }

    /// The present in nanoseconds, later at each call.
    fn tick(&mut self) -> i64 {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        self.last = now.max(self.last + 1);
        self.last
    }

    fn name(&self, id: &str) -> String {
        let config = self.containers.get(id).and_then(|kept| kept.config.metadata.clone());
        config.unwrap_or_default().name
    }
}

fn missing(id: &str) -> RuntimeError {
    RuntimeError::NotFound(format!("{id} not found"))
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<VersionResponse> {
        Ok(VersionResponse { runtime_name: "fake".to_owned(), ..Default::default() })
    }

    async fn status(&self) -> Result<StatusResponse> {
        Ok(StatusResponse::default())
    }

    async fn run_pod_sandbox(&self, config: PodSandboxConfig, _: &str) -> Result<String> {
        let mut books = self.books.lock();
        let now = books.note("sandbox");
        let id = format!("s{now}");
        books.sandboxes.insert(id.clone(), (config, PodSandboxState::Ready, now));
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let mut books = self.books.lock();
        books.note("stop sandbox");
        if let Some(sandbox) = books.sandboxes.get_mut(id) {
            sandbox.1 = PodSandboxState::NotReady;
        }
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let mut books = self.books.lock();
        books.note("remove sandbox");
        books.sandboxes.remove(id);
        books.containers.retain(|_, kept| kept.sandbox != id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus> {
        let books = self.books.lock();
        let (_, state, _) = books.sandboxes.get(id).ok_or_else(|| missing(id))?;
        Ok(PodSandboxStatus {
            id: id.to_owned(),
            state: *state as i32,
            network: Some(PodSandboxNetworkStatus { ip: "10.0.0.7".to_owned(), additional_ips: Vec::new() }),
            ..Default::default()
        })
    }

    async fn list_pod_sandboxes(&self, uid: PodUid<'_>) -> Result<Vec<PodSandbox>> {
        let books = self.books.lock();
        let all = books.sandboxes.iter().filter(|(_, (config, _, _))| is_of(&config.labels, uid));
        Ok(all
            .map(|(id, (config, state, created))| PodSandbox {
                id: id.clone(),
                metadata: config.metadata.clone(),
                state: *state as i32,
                created_at: *created,
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
                runtime_handler: String::new(),
            })
            .collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        _: PodSandboxConfig,
    ) -> Result<String> {
        let mut books = self.books.lock();
        let name = config.metadata.clone().unwrap_or_default().name;
        let now = books.note(format!("create {name}"));
        let id = format!("c{now}");
        let status = ContainerStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: ContainerState::Created as i32,
            created_at: now,
            image: config.image.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            ..Default::default()
        };
        books.containers.insert(id.clone(), Kept { sandbox: sandbox.to_owned(), config, status });
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let _open = self.starts.lock().await;
        let mut books = self.books.lock();
        let what = format!("start {}", books.name(id));
        let now = books.note(what);
        let kept = books.containers.get_mut(id).ok_or_else(|| missing(id))?;
        kept.status.state = ContainerState::Running as i32;
        kept.status.started_at = now;
        Ok(())
    }

    async fn stop_container(&self, id: &str, _: Duration) -> Result<()> {
        let mut books = self.books.lock();
        let what = format!("stop {}", books.name(id));
        let now = books.note(what);
        if let Some(kept) = books.containers.get_mut(id) {
            kept.status.state = ContainerState::Exited as i32;
            kept.status.exit_code = 143;
            kept.status.finished_at = now;
        }
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.books.lock().containers.remove(id);
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        let books = self.books.lock();
        books.containers.get(id).map(|kept| kept.status.clone()).ok_or_else(|| missing(id))
    }

    async fn list_containers(&self, uid: PodUid<'_>) -> Result<Vec<Container>> {
        let books = self.books.lock();
        let all = books.containers.iter().filter(|(_, kept)| is_of(&kept.config.labels, uid));
        Ok(all
            .map(|(id, kept)| Container {
                id: id.clone(),
                pod_sandbox_id: kept.sandbox.clone(),
                metadata: kept.config.metadata.clone(),
                state: kept.status.state,
                created_at: kept.status.created_at,
                labels: kept.config.labels.clone(),
                annotations: kept.config.annotations.clone(),
                ..Default::default()
            })
            .collect())
    }

    async fn update_container_resources(&self, id: &str, _: LinuxContainerResources) -> Result<()> {
        let mut books = self.books.lock();
        let what = format!("resize {}", books.name(id));
        books.note(what);
        Ok(())
    }

    async fn reopen_container_log(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, id: &str, cmd: Vec<String>, _: Duration) -> Result<ExecSyncResponse> {
        let mut books = self.books.lock();
        let what = format!("exec {}: {}", books.name(id), cmd.join(" "));
        books.note(what);
        Ok(ExecSyncResponse::default())
    }

    async fn exec(&self, _: ExecRequest) -> Result<String> {
        Err(RuntimeError::Unimplemented("no streams".to_owned()))
    }

    async fn attach(&self, _: AttachRequest) -> Result<String> {
        Err(RuntimeError::Unimplemented("no streams".to_owned()))
    }

    async fn port_forward(&self, _: &str, _: Vec<i32>) -> Result<String> {
        Err(RuntimeError::Unimplemented("no streams".to_owned()))
    }

    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>> {
        Ok(Vec::new())
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(Vec::new())
    }

    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        Ok((!image.contains("missing")).then(|| Image { id: "sha256:1".to_owned(), ..Default::default() }))
    }

    async fn pull_image(
        &self,
        image: &str,
        _: Option<AuthConfig>,
        _: Option<PodSandboxConfig>,
    ) -> Result<String> {
        self.books.lock().note(format!("pull {image}"));
        Err(RuntimeError::Failed("no registry".to_owned()))
    }

    async fn remove_image(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>> {
        Ok(Vec::new())
    }

    fn events(&self) -> BoxStream<'static, ()> {
        futures::stream::pending().boxed()
    }
}
