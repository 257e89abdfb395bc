//! Starting: sandboxes and containers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

use super::Worker;
use crate::container::env::{self, Objects};
use crate::container::{self, ConfigError, Parts, hosts, resolv, sandbox, security};
use crate::images::{Puller, Wanted};
use crate::labels;
use crate::logs;
use crate::metrics::{self, Name};
use crate::observed::{Observed, Sandbox};
use crate::plan::Waiting;
use crate::pod;
use crate::runtime::embedded::Bandwidth;
use crate::runtime::types::{ContainerConfig, Image, ImageSpec, PodSandboxConfig, UserNamespace};
use crate::userns;

/// Pause after a sandbox could not be made, doubled at each further failure up to the maximum: at first
/// the network may just not be set up yet.
const SANDBOX_RETRY: Duration = Duration::from_millis(500);
const MAX_SANDBOX_RETRY: Duration = Duration::from_secs(10);
/// Pause before something is asked again of an API server that did not answer.
const API_RETRY: Duration = Duration::from_secs(1);
/// Pause before a container is made again whose configuration was wrong.
const CONFIG_RETRY: Duration = Duration::from_secs(10);

/// A file of variables is read up to this length, in bytes.
const MAX_ENV_FILE: u64 = 64 << 10;

/// Why a container did not start: what its status says, and when to try again.
struct StartError {
    reason: &'static str,
    message: String,
    retry_after: Duration,
    /// Whether an event has been sent already.
    told: bool,
    /// Whether the event says the reason, not the message.
    by_reason: bool,
}

impl StartError {
    fn new(reason: &'static str, message: impl ToString) -> Self {
        Self {
            reason,
            message: message.to_string(),
            retry_after: CONFIG_RETRY,
            told: false,
            by_reason: false,
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        let retry_after = match error {
            ConfigError::Unavailable(_) => API_RETRY,
            ConfigError::Missing(_) | ConfigError::Invalid(_) => CONFIG_RETRY,
        };
        Self { retry_after, ..Self::new("CreateContainerConfigError", error) }
    }
}

impl Worker {
    /// Configuration of the pod's sandbox number `attempt`.
    pub(super) fn sandbox_config(&self, attempt: u32) -> PodSandboxConfig {
        let context = &self.context;
        let node = sandbox::Node {
            cluster_domain: &context.facts.cluster_dns.domain,
            log_directory: context.log_dir(&self.pod).to_string_lossy().into_owned(),
            cgroup_parent: context.cgroups.of_pod(&self.pod),
            dns: resolv::config(&self.pod, &context.facts.cluster_dns, &context.facts.node_dns).0,
        };
        let mut config = sandbox::config(&self.pod, attempt, node);
        config.labels.insert(labels::OWNER.to_owned(), context.facts.root_dir.display().to_string());
        if let (Some(linux), Ok(users)) = (&mut config.linux, self.users()) {
            let context = linux.security_context.get_or_insert_default();
            context.namespace_options.get_or_insert_default().userns_options = Some(users);
        }
        config
    }

    /// The runtime's handler for the pod's class; empty: the usual one.
    pub(super) async fn runtime_handler(&self) -> Result<String, ConfigError> {
        match pod::spec(&self.pod).runtime_class_name.as_deref().filter(|name| !name.is_empty()) {
            None => Ok(String::new()),
            Some(class) => self.context.lookup.runtime_handler(class).await,
        }
    }

    /// Whose users the pod has; an error if it has not got those of its own.
    fn users(&self) -> Result<UserNamespace, ConfigError> {
        if pod::spec(&self.pod).host_users != Some(false) {
            return Ok(userns::of_host());
        }
        let missing = || ConfigError::Invalid("the pod has no ids for its user namespace".to_owned());
        self.context.users.of(pod::uid(&self.pod)).ok_or_else(missing)
    }

    /// Gets ids for users of the pod's own, if it wants them. Never is run as the host's root what should be confined.
    async fn ask_for_users(&self, handler: &str) -> Result<(), String> {
        if pod::spec(&self.pod).host_users != Some(false) {
            return Ok(());
        }
        let runtime = self.context.runtime.status().await.map_err(|error| error.to_string())?;
        userns::check_handler(&runtime.runtime_handlers, handler)?;
        self.context.users.give(pod::uid(&self.pod))
    }

    /// Whether there can be a sandbox at all: nothing of the node's would change an error.
    fn possible_sandbox(&self) -> Result<(), String> {
        hosts::check_name(&self.pod, &self.context.facts.cluster_dns.domain)?;
        match &self.pod.metadata.annotations {
            // containerd refuses a sandbox with wrong limits half made, and refuses to remove it, too.
            Some(annotations) if !pod::host_network(&self.pod) => Bandwidth::of(annotations).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Makes the sandbox; the error is a pause before the next attempt.
    pub(super) async fn create_sandbox(&mut self, attempt: u32) -> Result<(), Duration> {
        if let Err(error) = self.possible_sandbox() {
            self.events.warning("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"));
            return Err(MAX_SANDBOX_RETRY);
        }
        if attempt > 0 {
            self.events.normal("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
        }
        let facts = &self.context.facts;
        for warning in resolv::config(&self.pod, &facts.cluster_dns, &facts.node_dns).1 {
            self.events.warning("DNSConfigForming", warning);
        }
        let logs = self.context.log_dir(&self.pod);
        if let Err(error) = tokio::fs::create_dir_all(&logs).await {
            tracing::error!(path = %logs.display(), %error, "log directory not made");
            return Err(SANDBOX_RETRY);
        }
        let handler = match self.runtime_handler().await {
            Ok(handler) => self.ask_for_users(&handler).await.map(|()| handler),
            Err(error) => Err(error.to_string()),
        };
        let result = match handler {
            Ok(handler) => {
                let config = self.sandbox_config(attempt);
                let runtime = Arc::clone(&self.context.runtime);
                let call = async move { runtime.run_pod_sandbox(config, &handler).await };
                self.under_way.run(call).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(id) => {
                tracing::debug!(pod = pod::full_name(&self.pod), id, "sandbox made");
                self.sandbox_failures = 0;
                self.is_beginning = true;
                self.count_start(true);
                Ok(())
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                self.count_start(false);
                tracing::warn!(pod = pod::full_name(&self.pod), message);
                self.events.warning("FailedCreatePodSandBox", message);
                let pause = SANDBOX_RETRY * (1 << self.sandbox_failures.min(5));
                self.sandbox_failures += 1;
                Err(pause.min(MAX_SANDBOX_RETRY))
            }
        }
    }

    fn count_start(&self, succeeded: bool) {
        metrics::count(Name::StartedPods, &[]);
        if pod::spec(&self.pod).host_users == Some(false) {
            metrics::count(Name::StartedUserNamespacedPods, &[]);
        }
        if !succeeded {
            metrics::count(Name::StartedPodErrors, &[]);
        }
        if !succeeded {
            self.count_user_namespace_error();
        }
    }

    /// Counts an error in the round that began a pod with users of its own: what is wrong with these may show only when
    /// its first containers start.
    fn count_user_namespace_error(&self) {
        if pod::spec(&self.pod).host_users == Some(false) {
            metrics::count(Name::StartedUserNamespacedPodErrors, &[]);
        }
    }

    /// Removes old sandboxes that no container lives in.
    pub(super) async fn clean_sandboxes(&self, before: &Observed) {
        for sandbox in before.sandboxes.iter().filter(|sandbox| !sandbox.ready) {
            if before.containers.iter().any(|container| container.sandbox == sandbox.id) {
                continue;
            }
            if let Err(error) = self.context.runtime.remove_pod_sandbox(&sandbox.id).await {
                tracing::debug!(id = sandbox.id, %error, "old sandbox not removed");
            }
        }
    }

    /// What metrics call a container's kind.
    fn kind_of(&self, name: &str) -> &'static str {
        if pod::init_containers(&self.pod).iter().any(|init| init.name == name) {
            "init_container"
        } else if pod::containers(&self.pod).iter().any(|container| container.name == name) {
            "container"
        } else {
            "ephemeral_container"
        }
    }

    /// Starts a container of any kind; the error is a pause before the next attempt.
    pub(super) async fn start_container(
        &mut self,
        name: &str,
        sandbox: &Sandbox,
        observed: &Observed,
    ) -> Result<(), Duration> {
        let Some(container) = pod::find_container(&self.pod, name) else { return Ok(()) };
        let last = observed.latest(name);
        if let Some(last) = last.filter(|last| last.is_exited()) {
            self.crashes.advance(&pod::crash_key(&container), last.finished, Timestamp::now());
        }
        let kind = self.kind_of(name);
        metrics::count(Name::StartedContainers, &[("container_type", kind)]);
        match self.try_start(&container, sandbox, observed).await {
            Ok(()) => {
                self.waiting.remove(name);
                self.clean_containers(name, observed).await;
                Ok(())
            }
            Err(error) => {
                let labels = [("container_type", kind), ("code", error.reason)];
                metrics::count(Name::StartedContainerErrors, &labels);
                if std::mem::take(&mut self.is_beginning) {
                    self.count_user_namespace_error();
                }
                tracing::debug!(
                    pod = pod::full_name(&self.pod),
                    name,
                    error.reason,
                    error.message,
                    "not started"
                );
                if !error.told {
                    let what = if error.by_reason { error.reason } else { &error.message };
                    self.events.container_warning(name, "Failed", format!("Error: {what}"));
                }
                let waiting = Waiting { reason: error.reason.to_owned(), message: error.message };
                self.waiting.insert(name.to_owned(), waiting);
                Err(error.retry_after)
            }
        }
    }

    async fn try_start(
        &mut self,
        container: &Container,
        sandbox: &Sandbox,
        observed: &Observed,
    ) -> Result<(), StartError> {
        let sandbox_config = self.sandbox_config(sandbox.attempt);
        // The volumes' come first, as in the original.
        let volumes = self.volume_images(container, &sandbox_config).await?;
        let image = self.image(container.into(), &sandbox_config).await?;
        security::verify_non_root(&self.pod, container, &image)?;
        let config = self.container_config(container, &image, &volumes, sandbox, observed).await?;
        let started = self.make_and_start(container, config, sandbox, sandbox_config).await;
        for _ in &volumes {
            match &started {
                Ok(()) => metrics::count(Name::ImageVolumesMounted, &[]),
                Err(error) if error.message.contains("failed to mount image") => {
                    metrics::count(Name::ImageVolumeErrors, &[]);
                }
                Err(_) => {}
            }
        }
        started
    }

    async fn make_and_start(
        &mut self,
        container: &Container,
        config: ContainerConfig,
        sandbox: &Sandbox,
        sandbox_config: PodSandboxConfig,
    ) -> Result<(), StartError> {
        let restarts = config.metadata.as_ref().map(|metadata| metadata.attempt).unwrap_or_default();
        let limits = config.linux.as_ref().and_then(|linux| linux.resources.clone());
        let (runtime, home) = (Arc::clone(&self.context.runtime), sandbox.id.clone());
        let id = self
            .under_way
            .run(async move { runtime.create_container(&home, config, sandbox_config).await })
            .await
            .map_err(|error| StartError::new("CreateContainerError", error.plain()))?;
        self.applied.insert(id.clone(), limits.unwrap_or_default());
        self.events.container_normal(&container.name, "Created", "Container created");
        let (runtime, created) = (Arc::clone(&self.context.runtime), id.clone());
        self.under_way
            .run(async move { runtime.start_container(&created).await })
            .await
            .map_err(|error| StartError::new("RunContainerError", error.plain()))?;
        let logs = &self.context.facts.pod_logs_dir;
        if let Err(error) = logs::links::create(logs, &self.pod, &container.name, &id, restarts) {
            tracing::warn!(pod = pod::full_name(&self.pod), %error, "no link to the log");
        }
        self.events.container_normal(&container.name, "Started", "Container started");
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        if let Some(hook) = hook
            && let Err(error) = self.run_hook(&id, container, hook, &self.ip_of(sandbox)).await
        {
            self.events.container_warning(&container.name, "FailedPostStartHook", "PostStartHook failed");
            self.stop_container(&id, &container.name, "FailedPostStartHook", None).await;
            // What the hook printed is for those who may see the pod, not its events.
            return Err(StartError { told: true, ..StartError::new("PostStartHookError", error) });
        }
        Ok(())
    }

    fn ip_of(&self, sandbox: &Sandbox) -> String {
        let ips = if pod::host_network(&self.pod) { &self.context.facts.ips } else { &sandbox.ips };
        ips.first().cloned().unwrap_or_default()
    }

    async fn image(&mut self, wanted: Wanted<'_>, sandbox: &PodSandboxConfig) -> Result<Image, StartError> {
        let puller = Puller {
            runtime: self.context.runtime.as_ref(),
            lookup: self.context.lookup.as_ref(),
            events: &self.events,
            preloaded: &self.context.preloaded,
            pulled: &self.context.pulled,
        };
        puller.ensure(&self.pod, wanted, sandbox, &mut self.pulls).await.map_err(|error| StartError {
            reason: error.reason,
            message: error.message,
            retry_after: error.retry_after.unwrap_or(CONFIG_RETRY),
            told: false,
            by_reason: true,
        })
    }

    /// The images of the volumes that a container mounts, by the volumes' names.
    async fn volume_images(
        &mut self,
        container: &Container,
        sandbox: &PodSandboxConfig,
    ) -> Result<BTreeMap<String, ImageSpec>, StartError> {
        let pod = Arc::clone(&self.pod);
        let mounted =
            |name: &String| container.volume_mounts.iter().flatten().any(|mount| mount.name == *name);
        let mut images = BTreeMap::new();
        for volume in pod::spec(&pod).volumes.iter().flatten().filter(|volume| mounted(&volume.name)) {
            if let Some(source) = &volume.image {
                metrics::count(Name::ImageVolumesRequested, &[]);
                let image = self.image(source.into(), sandbox).await?;
                images.insert(volume.name.clone(), ImageSpec { image: image.id });
            }
        }
        Ok(images)
    }

    async fn container_config(
        &self,
        container: &Container,
        image: &Image,
        volumes: &BTreeMap<String, ImageSpec>,
        sandbox: &Sandbox,
        observed: &Observed,
    ) -> Result<ContainerConfig, StartError> {
        let context = &self.context;
        let around = context.surroundings(&self.pod, &sandbox.ips);
        let objects = self.objects_for(container).await?;
        let services = context.services.variables(&self.pod).await.ok_or_else(|| {
            ConfigError::Unavailable(
                "services have not yet been read at least once, cannot construct envvars".to_owned(),
            )
        })?;
        let env = env::environment(&self.pod, container, &objects, &services, &around)?;
        let restarts = match observed.latest(&container.name) {
            Some(last) => last.restarts + 1,
            None => logs::restarts_by_logs(&context.log_dir(&self.pod).join(&container.name)),
        };
        let mounts = self
            .mounts(container, &env, volumes, &sandbox.ips)
            .await
            .map_err(|error| StartError::new("CreateContainerConfigError", error))?;
        let target = self.target(container, observed)?;
        let parts = Parts {
            image: image.id.clone(),
            env,
            mounts,
            devices: self
                .devices(container)
                .map_err(|error| StartError::new("CreateContainerConfigError", error))?,
            extras: context
                .grants
                .prepare(&self.pod, container)
                .await
                .map_err(|error| StartError::new("CreateContainerConfigError", error))?,
            resources: self.limits(container),
            restarts,
            target,
        };
        let mut config = container::config(&self.pod, container, parts);
        let users = self.users()?;
        for mount in &mut config.mounts {
            (mount.uid_mappings, mount.gid_mappings) = (users.uids.clone(), users.gids.clone());
        }
        if let Some(context) = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()) {
            security::locate_profile(context, &self.context.facts.root_dir.join("seccomp"));
            context.namespace_options.get_or_insert_default().userns_options = Some(users);
        }
        Ok(config)
    }

    /// The container whose processes one for debugging is to see.
    fn target(&self, container: &Container, observed: &Observed) -> Result<Option<String>, ConfigError> {
        let mut all = pod::ephemeral_containers(&self.pod).iter();
        let target =
            all.find(|one| one.name == container.name).and_then(|one| one.target_container_name.as_deref());
        let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(None) };
        let missing = || ConfigError::Invalid(format!("unable to find target container {target}"));
        observed.latest(target).map(|target| Some(target.id.clone())).ok_or_else(missing)
    }

    /// Fetches the config maps and secrets that the environment refers to.
    async fn objects_for(&self, container: &Container) -> Result<Objects, ConfigError> {
        let (config_maps, secrets) = env::references(container);
        let namespace = pod::namespace(&self.pod);
        let mut objects = Objects::default();
        for name in config_maps.into_iter().collect::<BTreeSet<_>>() {
            let found = self.context.lookup.config_map(namespace, name).await?;
            objects.config_maps.insert(name.to_owned(), found.map(Arc::unwrap_or_clone));
        }
        for name in secrets.into_iter().collect::<BTreeSet<_>>() {
            let found = self.context.lookup.secret(namespace, name).await?;
            objects.secrets.insert(name.to_owned(), found.map(Arc::unwrap_or_clone));
        }
        for (volume, path) in env::files(container) {
            let text = match self.volumes.as_ref().and_then(|volumes| volumes.get(volume)) {
                Some(volume) => file_within(&volume.path, path),
                None => {
                    return Err(ConfigError::Invalid(format!(
                        "cannot find the volume {volume:?} referenced by FileKeyRef"
                    )));
                }
            };
            objects.files.insert((volume.to_owned(), path.to_owned()), text);
        }
        Ok(objects)
    }

    /// Removes all but the newest of a container's predecessors, whose log `--previous` shows.
    async fn clean_containers(&self, name: &str, before: &Observed) {
        let old =
            before.containers.iter().filter(|container| container.name == name && !container.is_running());
        for container in old.skip(1) {
            if let Err(error) = self.context.runtime.remove_container(&container.id).await {
                tracing::debug!(id = container.id, %error, "old container not removed");
                continue;
            }
            let _ = tokio::fs::remove_file(&container.log_path).await;
        }
        logs::links::tidy(&self.context.facts.pod_logs_dir);
    }
}

/// The text of a file of a volume. What lies there is the pod's, so no link leads out of it, and it is not too long.
fn file_within(volume: &Path, path: &str) -> Option<String> {
    use std::io::Read;
    let root = pathrs::Root::open(volume).ok()?;
    let flags = pathrs::flags::OpenFlags::O_RDONLY | pathrs::flags::OpenFlags::O_NONBLOCK;
    let file = root
        .open_subpath(path, flags)
        .ok()
        .filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let mut text = String::new();
    file.take(MAX_ENV_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}
