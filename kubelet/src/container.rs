//! From a container of a pod to what the runtime is asked to make.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::devices::Extras;
use crate::labels;
use crate::pod;
use crate::runtime::types::{ContainerConfig, ContainerMetadata, Device, ImageSpec, KeyValue};
use crate::runtime::types::{LinuxContainerConfig, LinuxContainerResources, Mount};

pub mod env;
pub mod expand;
pub mod field;
pub mod hosts;
pub mod resolv;
pub mod resources;
pub mod sandbox;
pub mod security;

/// Why a container cannot be made from its spec: the reason `CreateContainerConfigError` and its text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// An object that the container needs is missing or lacks a key.
    #[error("{0}")]
    Missing(String),
    /// The API server could not be asked; worth another try.
    #[error("{0}")]
    Unavailable(String),
    /// The spec contradicts itself, the image or the node.
    #[error("{0}")]
    Invalid(String),
}

/// All parts of a container's configuration that were computed before.
pub struct Parts {
    /// Name of the image as the runtime knows it.
    pub image: String,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Mounts, volumes and files of the kubelet alike.
    pub mounts: Vec<Mount>,
    /// Raw block volumes.
    pub devices: Vec<Device>,
    /// What its devices of plugins need.
    pub extras: Extras,
    /// Limits.
    pub resources: LinuxContainerResources,
    /// How often it was started before.
    pub restarts: u32,
    /// Id of the container whose process namespace an ephemeral container joins.
    pub target: Option<String>,
}

/// Puts the configuration of a container together.
pub fn config(pod: &Pod, container: &Container, parts: Parts) -> ContainerConfig {
    let Parts { image, env, mut mounts, mut devices, extras, resources, restarts, target } = parts;
    mounts.extend(extras.mounts);
    devices.extend(extras.devices);
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        let variables: BTreeMap<&str, &str> =
            env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        words.iter().flatten().map(|word| expand::expand(word, |name| variables.get(name).copied())).collect()
    };
    let (command, args) = (expand(&container.command), expand(&container.args));
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: restarts }),
        image: Some(ImageSpec { image }),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts,
        devices,
        labels: container_labels(pod, &container.name),
        annotations: extras.annotations.into_iter().chain(annotations(pod, container, restarts)).collect(),
        log_path: format!("{}/{restarts}.log", container.name),
        stdin: container.stdin.unwrap_or_default(),
        stdin_once: container.stdin_once.unwrap_or_default(),
        tty: container.tty.unwrap_or_default(),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources),
            security_context: Some(security::container(pod, container, target)),
        }),
        // The last one of a name counts.
        envs: extras.env.into_iter().chain(env).map(|(key, value)| KeyValue { key, value }).collect(),
        cdi_devices: extras.cdi_devices,
    }
}

/// Labels by which a pod's sandboxes are found.
pub fn pod_labels(pod: &Pod) -> BTreeMap<String, String> {
    let mut all = pod.metadata.labels.clone().unwrap_or_default();
    all.insert(labels::POD_NAME.to_owned(), pod::name(pod).to_owned());
    all.insert(labels::POD_NAMESPACE.to_owned(), pod::namespace(pod).to_owned());
    all.insert(labels::POD_UID.to_owned(), pod::uid(pod).to_owned());
    all
}

fn container_labels(pod: &Pod, name: &str) -> BTreeMap<String, String> {
    [
        (labels::CONTAINER_NAME, name),
        (labels::POD_NAME, pod::name(pod)),
        (labels::POD_NAMESPACE, pod::namespace(pod)),
        (labels::POD_UID, pod::uid(pod)),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn annotations(pod: &Pod, container: &Container, restarts: u32) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: &str, value: String| all.insert(key.to_owned(), value);
    put(labels::CONTAINER_HASH, pod::container_hash(container));
    put(labels::RESTART_COUNT, restarts.to_string());
    put(labels::TERMINATION_MESSAGE_PATH, termination_message_path(container).to_owned());
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    put(labels::TERMINATION_MESSAGE_POLICY, policy.to_owned());
    if let Some(grace) = pod::spec(pod).termination_grace_period_seconds {
        put(labels::POD_GRACE_PERIOD, grace.to_string());
    }
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let Some(hook) = hook
        && let Ok(json) = serde_json::to_string(hook)
    {
        put(labels::PRE_STOP, json);
    }
    all
}

/// Where the container writes its last words.
pub fn termination_message_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().unwrap_or("/dev/termination-log")
}
