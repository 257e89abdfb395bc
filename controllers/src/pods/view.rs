//! A pod as the controllers keep it: the fields that any of them reads, and nothing else.
//!
//! There is one for each pod of the cluster, and a whole typed Pod takes 19 KB of which 14 remain when its fields are
//! emptied: its structures have room for all that they could hold. The parts are named as in the API, so that code reads
//! the same for both; whoever reads another field of pods adds it here. What is not here is never decoded. Since this
//! is no whole pod, pods are changed by patches only, never by sending them back; they are made as whole ones
//! (`k8s_openapi`).

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        ContainerPort, ContainerState, EphemeralVolumeSource, NodeAffinity,
        PersistentVolumeClaimVolumeSource, PodCondition, PodExtendedResourceClaimStatus, PodIP,
        PodResourceClaim, PodResourceClaimStatus, PodSchedulingGate, ResourceRequirements, Toleration,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
};
use knarr_component::view_of;
use serde::{Deserialize, Deserializer};

/// What is kept of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Pod {
    #[serde(deserialize_with = "knarr_component::meta::without_managers")]
    pub metadata: ObjectMeta,
    pub spec: Option<PodSpec>,
    pub status: Option<PodStatus>,
}

/// What is kept of its specification.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub active_deadline_seconds: Option<i64>,
    pub affinity: Option<Box<Affinity>>,
    #[serde(deserialize_with = "exact")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "exact_if_any")]
    pub init_containers: Option<Vec<Container>>,
    pub hostname: Option<String>,
    pub host_network: Option<bool>,
    pub node_name: Option<String>,
    pub overhead: Option<BTreeMap<String, Quantity>>,
    pub priority_class_name: Option<String>,
    #[serde(deserialize_with = "exact_if_any")]
    pub resource_claims: Option<Vec<PodResourceClaim>>,
    pub resources: Option<Box<ResourceRequirements>>,
    pub restart_policy: Option<String>,
    #[serde(deserialize_with = "exact_if_any")]
    pub scheduling_gates: Option<Vec<PodSchedulingGate>>,
    pub service_account_name: Option<String>,
    pub subdomain: Option<String>,
    pub termination_grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "exact_if_any")]
    pub tolerations: Option<Vec<Toleration>>,
    /// Those that use a claim.
    #[serde(deserialize_with = "with_claims")]
    pub volumes: Option<Vec<Volume>>,
}

/// What is kept of where it may run.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Affinity {
    pub node_affinity: Option<NodeAffinity>,
}

/// What is kept of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    pub name: String,
    #[serde(deserialize_with = "exact_if_any")]
    pub ports: Option<Vec<ContainerPort>>,
    pub resources: Option<Box<ResourceRequirements>>,
    pub restart_policy: Option<String>,
}

/// What is kept of a volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Volume {
    pub name: String,
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    pub ephemeral: Option<Box<EphemeralVolumeSource>>,
}

/// What is kept of its status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatus {
    #[serde(deserialize_with = "exact_if_any")]
    pub conditions: Option<Vec<PodCondition>>,
    #[serde(deserialize_with = "exact_if_any")]
    pub container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    #[serde(deserialize_with = "exact_if_any")]
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
    pub observed_generation: Option<i64>,
    pub phase: Option<String>,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(rename = "podIPs", deserialize_with = "exact_if_any")]
    pub pod_ips: Option<Vec<PodIP>>,
    pub reason: Option<String>,
    pub extended_resource_claim_status: Option<Box<PodExtendedResourceClaimStatus>>,
    #[serde(deserialize_with = "exact_if_any")]
    pub resource_claim_statuses: Option<Vec<PodResourceClaimStatus>>,
    pub start_time: Option<Time>,
}

/// What is kept of a container's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerStatus {
    pub name: String,
    pub ready: bool,
    pub restart_count: i32,
    pub state: Option<Box<ContainerState>>,
}

view_of!(Pod => k8s_openapi::api::core::v1::Pod);

/// A list without room for more, which vectors otherwise keep for three; empty if it is null.
fn exact<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    exact_if_any(deserializer).map(Option::unwrap_or_default)
}

/// The same for a list that may be absent; an empty one is none.
fn exact_if_any<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = Option::<Vec<T>>::deserialize(deserializer)?;
    Ok(list.filter(|list| !list.is_empty()).map(knarr_component::meta::exact))
}

/// Volumes without those that use no claim, as most do not.
fn with_claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Volume>>, D::Error> {
    let mut volumes: Vec<Volume> = exact(deserializer)?;
    volumes.retain(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    volumes.shrink_to_fit();
    Ok(Some(volumes).filter(|volumes| !volumes.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_kept_without_what_nobody_reads() {
        let tolerations = json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]);
        let pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "managedFields": [{"manager": "m"}]},
            "spec": {
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
                "tolerations": tolerations, "initContainers": null,
                "volumes": [
                    {"name": "token", "projected": {"sources": []}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}},
                ],
            },
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "10.9.0.1", "conditions": []},
        }))
        .unwrap();
        let (spec, status) = (pod.spec.unwrap(), pod.status.unwrap());
        assert_eq!(pod.metadata.managed_fields, None);
        let volumes = spec.volumes.unwrap();
        assert_eq!((volumes.len(), volumes.capacity(), volumes[0].name.as_str()), (1, 1, "data"));
        assert_eq!(spec.tolerations.map(|all| (all.len(), all.capacity())), Some((2, 2)));
        assert_eq!((spec.containers.len(), spec.containers.capacity(), spec.init_containers), (1, 1, None));
        assert_eq!(
            (status.pod_ip.as_deref(), status.host_ip.as_deref()),
            (Some("10.0.0.1"), Some("10.9.0.1"))
        );
        assert_eq!(status.conditions, None);
    }

    #[test]
    fn a_pod_takes_little_room() {
        assert!(size_of::<Pod>() <= 1200, "{}", size_of::<Pod>());
        assert!(size_of::<Container>() <= 88, "{}", size_of::<Container>());
        assert!(size_of::<ContainerStatus>() <= 48, "{}", size_of::<ContainerStatus>());
    }
}
