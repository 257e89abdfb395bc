//! The node's status: what the machine has, how it is reached, whether it is well.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::machine::Machine;
use crate::admission::is_extended;
use crate::context::Facts;
use crate::devices::Amounts;
use crate::eviction::pressure::Pressure;
use crate::pleg::{HEALTHY_WITHIN, Pulse};
use crate::runtime::Runtime;
use crate::runtime::types::{Image, RuntimeFeatures, RuntimeHandler, StatusResponse, VersionResponse};

/// The version of Kubernetes that this kubelet speaks.
pub const KUBELET_VERSION: &str = concat!("v1.36.0-knarr", env!("CARGO_PKG_VERSION"));
/// So many images are listed, the largest ones.
const MAX_IMAGES: usize = 50;

/// What a status is computed from.
pub struct Known<'a> {
    /// The status before, for the times of changes.
    pub old: Option<&'a NodeStatus>,
    /// The machine.
    pub machine: &'a Machine,
    /// The node's settings.
    pub facts: &'a Facts,
    /// The runtime.
    pub version: &'a VersionResponse,
    /// Port of the kubelet's server.
    pub port: u16,
    /// How many pods fit.
    pub max_pods: usize,
    /// Whether all is well.
    pub health: &'a Health,
    /// What it runs short of.
    pub pressures: BTreeSet<Pressure>,
    /// What plugins offer.
    pub devices: Amounts,
    /// Images on the node.
    pub images: Vec<Image>,
    /// The present.
    pub now: Timestamp,
}

/// Whether the node can run pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Why not, if it cannot.
    pub problem: Option<String>,
    /// What the runtime can do, if it answers.
    pub runtime: Option<StatusResponse>,
}

/// Asks the runtime how it is.
pub async fn health(runtime: &dyn Runtime, pulse: &Pulse) -> Health {
    let status = runtime.status().await;
    let problem = match &status {
        Err(error) => Some(format!("container runtime status check may not have completed yet: {error}")),
        Ok(status) => {
            let wrong = status.conditions().iter().find(|condition| !condition.status);
            match wrong {
                Some(condition) => {
                    let what = if condition.r#type == "NetworkReady" { " network" } else { "" };
                    Some(format!(
                        "container runtime{what} not ready: {}=false reason:{} message:{}",
                        condition.r#type, condition.reason, condition.message
                    ))
                }
                None if pulse.age() > HEALTHY_WITHIN => {
                    Some("PLEG is not healthy: pods have not been listed for three minutes".to_owned())
                }
                None => None,
            }
        }
    };
    Health { problem, runtime: status.ok() }
}

/// The machine's architecture in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The labels that every node has.
pub fn labels(name: &str) -> BTreeMap<String, String> {
    let arch = architecture();
    [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// What this kubelet can do to pods that run, of the original's list; admission asks for it.
const DECLARED: [&str; 3] = [
    "GuaranteedQoSPodCPUResize",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];

/// Computes the status.
pub fn compute(known: &Known<'_>) -> NodeStatus {
    let mut capacity = resources(known.machine, known.max_pods);
    let mut allocatable = capacity.clone();
    for (name, milli) in &known.facts.allocatable {
        let quantity = match name.as_str() {
            "cpu" if milli % 1000 == 0 => (milli / 1000).to_string(),
            "cpu" => format!("{milli}m"),
            "memory" => format!("{}Ki", milli / 1000 / 1024),
            "ephemeral-storage" => (milli / 1000).to_string(),
            name if name.starts_with("hugepages-") => huge(milli / 1000),
            _ => continue,
        };
        allocatable.insert(name.clone(), Quantity(quantity));
    }
    // Resources that an administrator wrote into the object are all for pods.
    let advertised = known.old.and_then(|old| old.capacity.as_ref()).into_iter().flatten();
    for (name, amount) in advertised.filter(|(name, _)| is_extended(name)) {
        capacity.insert(name.clone(), amount.clone());
        allocatable.insert(name.clone(), amount.clone());
    }
    for (name, (there, usable)) in &known.devices {
        capacity.insert(name.clone(), Quantity(there.to_string()));
        allocatable.insert(name.clone(), Quantity(usable.to_string()));
    }
    let mut addresses: Vec<NodeAddress> = known
        .facts
        .ips
        .iter()
        .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.clone() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: known.facts.name.clone() });
    let machine = known.machine;
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        conditions: Some(conditions(known)),
        declared_features: Some(DECLARED.map(str::to_owned).to_vec()),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(known.port) }),
        }),
        images: Some(images(&known.images)),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!(
                "{}://{}",
                known.version.runtime_name, known.version.runtime_version
            ),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            swap: None,
        }),
        features: runtime_features(known),
        runtime_handlers: runtime_handlers(known),
        ..Default::default()
    }
}

/// What the runtime's handlers can do; as before while it does not answer.
fn runtime_handlers(known: &Known<'_>) -> Option<Vec<NodeRuntimeHandler>> {
    let Some(runtime) = &known.health.runtime else { return known.old?.runtime_handlers.clone() };
    let told = |handler: &RuntimeHandler| NodeRuntimeHandler {
        name: Some(handler.name.clone()),
        features: handler.features.map(|features| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
            user_namespaces: Some(features.user_namespaces),
        }),
    };
    let list: Vec<NodeRuntimeHandler> = runtime.runtime_handlers.iter().map(told).collect();
    Some(list).filter(|list| !list.is_empty())
}

fn runtime_features(known: &Known<'_>) -> Option<NodeFeatures> {
    let Some(runtime) = &known.health.runtime else { return known.old?.features.clone() };
    let told = |features: RuntimeFeatures| NodeFeatures {
        supplemental_groups_policy: Some(features.supplemental_groups_policy),
    };
    runtime.features.map(told)
}

/// Bytes in huge pages as the original writes them.
fn huge(bytes: i64) -> String {
    match bytes {
        0 => "0".to_owned(),
        bytes if bytes % (1 << 30) == 0 => format!("{}Gi", bytes >> 30),
        bytes => format!("{}Mi", bytes >> 20),
    }
}

fn resources(machine: &Machine, max_pods: usize) -> BTreeMap<String, Quantity> {
    let pages = |size: &str| huge(machine.huge_pages.get(size).copied().unwrap_or_default());
    [
        ("cpu", machine.cpus.to_string()),
        ("memory", format!("{}Ki", machine.memory / 1024)),
        ("ephemeral-storage", format!("{}Ki", machine.disk / 1024)),
        ("hugepages-1Gi", pages("1Gi")),
        ("hugepages-2Mi", pages("2Mi")),
        ("pods", max_pods.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), Quantity(value)))
    .into()
}

fn images(images: &[Image]) -> Vec<ContainerImage> {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    images
        .into_iter()
        .take(MAX_IMAGES)
        .map(|image| ContainerImage {
            names: Some(image.repo_digests.iter().chain(&image.repo_tags).cloned().collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect()
}

fn conditions(known: &Known<'_>) -> Vec<NodeCondition> {
    let ready = match &known.health.problem {
        None => ("True", "KubeletReady", "kubelet is posting ready status".to_owned()),
        Some(problem) => ("False", "KubeletNotReady", problem.clone()),
    };
    let list = [Pressure::Memory, Pressure::Disk, Pressure::Pid].map(|pressure| {
        let (reason, message) = pressure.words(known.pressures.contains(&pressure));
        let status = if known.pressures.contains(&pressure) { "True" } else { "False" };
        (pressure.condition(), (status, reason, message.to_owned()))
    });
    let list = list.into_iter().chain([("Ready", ready)]);
    let old = known.old.and_then(|old| old.conditions.as_ref());
    list.map(|(kind, (status, reason, message))| {
        let same = old.into_iter().flatten().find(|old| old.type_ == kind && old.status == status);
        let since = same.and_then(|old| old.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(Time(known.now)),
            last_transition_time: since.or(Some(Time(known.now))),
        }
    })
    .collect()
}

/// The status without the times that change by themselves.
pub fn without_times(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
        condition.last_transition_time = None;
    }
    status
}

/// Whether what is stored has every condition as it is now: who gives a node up writes `Unknown` over them.
pub fn has_conditions(stored: Option<&NodeStatus>, now: &NodeStatus) -> bool {
    let stored = || stored.into_iter().flat_map(|status| status.conditions.iter().flatten());
    now.conditions
        .iter()
        .flatten()
        .all(|own| stored().any(|condition| condition.type_ == own.type_ && condition.status == own.status))
}

/// Whether the status says that the node is ready.
pub fn is_ready(status: &NodeStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_others_overwrote_are_seen() {
        let status = |conditions: &[(&str, &str)]| NodeStatus {
            conditions: Some(
                conditions
                    .iter()
                    .map(|(kind, status)| NodeCondition {
                        type_: (*kind).to_owned(),
                        status: (*status).to_owned(),
                        ..NodeCondition::default()
                    })
                    .collect(),
            ),
            ..NodeStatus::default()
        };
        let own = status(&[("Ready", "True"), ("DiskPressure", "False")]);
        let check = |stored: &[(&str, &str)], expected| {
            assert_eq!(has_conditions(Some(&status(stored)), &own), expected, "{stored:?}");
        };
        check(&[("Ready", "True"), ("DiskPressure", "False"), ("Other", "True")], true);
        check(&[("Ready", "Unknown"), ("DiskPressure", "Unknown")], false);
        check(&[("Ready", "True")], false);
        assert!(!has_conditions(None, &own));
    }
}
