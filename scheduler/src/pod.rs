//! A pod as the scheduler sees it: computed once, a fraction of the size of the whole object.
use crate::resources::{Resources, pod_requests, pod_requests_for_score};
use crate::terms::{PodTerms, Spread};
use k8s_openapi::api::core::v1::{
    NodeAffinity, PodCondition, PodExtendedResourceClaimStatus, PodResourceClaim, PodResourceClaimStatus,
    PodSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use knarr_component::store::{Key, Object};
use knarr_component::view_of;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A pod as it comes from the server, without what bears on no place: a pod is decoded for each of its changes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    #[serde(deserialize_with = "knarr_component::meta::without_managers")]
    metadata: ObjectMeta,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

view_of!(Pod => k8s_openapi::api::core::v1::Pod);

/// What its status says to a scheduler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    conditions: Option<Vec<PodCondition>>,
    extended_resource_claim_status: Option<PodExtendedResourceClaimStatus>,
    nominated_node_name: Option<String>,
    phase: Option<String>,
    resource_claim_statuses: Option<Vec<PodResourceClaimStatus>>,
    start_time: Option<Time>,
}

/// A port of the node that a pod occupies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Address; `0.0.0.0` is all of them.
    pub ip: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// Number.
    pub port: i32,
}

impl HostPort {
    /// Both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        let same_ip = self.ip == other.ip || self.ip == ANY || other.ip == ANY;
        self.port == other.port && self.protocol == other.protocol && same_ip
    }
}

/// What scheduling needs to know of a pod.
#[derive(Clone, Debug, Default)]
pub struct PodView {
    /// Namespace and name.
    pub key: Key,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The node it is bound to; empty while it is not.
    pub node: String,
    /// The scheduler it asks for.
    pub scheduler: String,
    /// Larger goes first.
    pub priority: i32,
    /// Being deleted.
    pub deleting: bool,
    /// Succeeded or failed: it uses nothing any more.
    pub finished: bool,
    /// Names of scheduling gates that still hold it.
    pub gates: Vec<String>,
    /// What it requests.
    pub requests: Resources,
    /// CPU (thousandths) and memory (bytes) for scoring.
    pub score_requests: (i64, i64),
    /// Node ports it occupies.
    pub host_ports: Vec<HostPort>,
    /// Labels its node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Affinity to nodes.
    pub node_affinity: Option<Box<NodeAffinity>>,
    /// Affinity to pods.
    pub terms: Option<Box<PodTerms>>,
    /// Taints it tolerates.
    pub tolerations: Vec<Toleration>,
    /// How it is spread with others like it.
    pub spread: Vec<Spread>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// Persistent volume claims, by name; true for those of generic ephemeral volumes.
    pub claims: Vec<(String, bool)>,
    /// Its entries of resource claims, with the name of the claim; none while it is not made yet.
    pub resource_claims: Vec<(String, Option<String>)>,
    /// Extended resources that its containers ask for.
    pub extended: Vec<Extended>,
    /// The claim on devices that was made for these.
    pub extended_claim: Option<String>,
    /// The message of its `PodScheduled` condition, when that is False.
    pub unscheduled_message: Option<String>,
    /// It never makes others leave (`preemptionPolicy: Never`).
    pub never_preempts: bool,
    /// The node on which it was promised room; empty for none.
    pub nominated: String,
    /// When its kubelet saw it first.
    pub started: Option<jiff::Timestamp>,
    /// How often its specification changed; 0 when unknown.
    pub generation: i64,
    /// It is being deleted to make room for another pod.
    pub preempted: bool,
    /// Features that its kubelet must declare.
    pub features: Vec<&'static str>,
    /// Kind and name of its controller.
    pub controller: Option<(String, String)>,
}

/// An extended resource that a container asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// The container.
    pub container: String,
    /// The resource.
    pub resource: String,
    /// Name of the request for it, should it become part of a claim.
    pub request: String,
    /// How much of it.
    pub amount: i64,
}

/// What the containers of a pod ask for of resources that are not the system's own.
fn extended(spec: &PodSpec) -> Vec<Extended> {
    let of_system = |name: &str| {
        name.split_once('/')
            .is_none_or(|(domain, _)| domain == "kubernetes.io" || domain.starts_with("requests."))
    };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut all = Vec::new();
    for (position, container) in containers.enumerate() {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let amounts = requests.map(Resources::from_list).unwrap_or_default().others;
        let own = amounts.into_iter().filter(|(name, amount)| !of_system(name) && *amount > 0);
        all.extend(own.enumerate().map(|(index, (resource, amount))| Extended {
            container: container.name.clone(),
            resource,
            request: format!("container-{position}-request-{index}"),
            amount,
        }));
    }
    all
}

/// The entries of a pod with the names of their claims, without those that turned out to need none.
fn resource_claims(
    entries: Option<Vec<PodResourceClaim>>,
    statuses: &[PodResourceClaimStatus],
) -> Vec<(String, Option<String>)> {
    let named = |entry: PodResourceClaim| {
        let made = statuses.iter().find(|status| status.name == entry.name);
        match (entry.resource_claim_name, made) {
            (None, Some(made)) => Some((entry.name, Some(made.resource_claim_name.clone()?))),
            (given, _) => Some((entry.name, given)),
        }
    };
    entries.into_iter().flatten().filter_map(named).collect()
}

impl PodView {
    /// The view of a pod.
    pub fn new(pod: Pod) -> Self {
        let spec = pod.spec.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let phase = status.phase.as_deref().unwrap_or_default();
        let claims =
            spec.volumes.iter().flatten().filter_map(|volume| match &volume.persistent_volume_claim {
                Some(claim) => Some((claim.claim_name.clone(), false)),
                None => {
                    let pod = pod.metadata.name.as_deref().unwrap_or_default();
                    volume.ephemeral.as_ref().map(|_| (format!("{pod}-{}", volume.name), true))
                }
            });
        let scheduled =
            status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
        let resource_claim_statuses = status.resource_claim_statuses.clone().unwrap_or_default();
        let key = Key::of(&pod.metadata);
        let labels = pod.metadata.labels.unwrap_or_default();
        let affinity = spec.affinity.as_ref();
        let controller =
            pod.metadata.owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true));
        Self {
            terms: affinity.and_then(|affinity| PodTerms::new(affinity, &key.namespace, &labels)),
            spread: spec
                .topology_spread_constraints
                .iter()
                .flatten()
                .map(|constraint| Spread::new(constraint, &labels))
                .collect(),
            key,
            labels,
            controller: controller.map(|owner| (owner.kind, owner.name)),
            generation: pod.metadata.generation.unwrap_or_default(),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            preempted: preempted(&status),
            started: status.start_time.map(|time| time.0),
            unscheduled_message: scheduled
                .filter(|condition| condition.status == "False")
                .map(|condition| condition.message.clone().unwrap_or_default()),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            finished: matches!(phase, "Succeeded" | "Failed"),
            requests: pod_requests(&spec),
            score_requests: pod_requests_for_score(&spec),
            features: crate::plugins::required_features(&spec),
            host_ports: host_ports(&spec),
            images: spec.containers.iter().filter_map(|container| container.image.clone()).collect(),
            claims: claims.collect(),
            extended: extended(&spec),
            extended_claim: status.extended_resource_claim_status.map(|claim| claim.resource_claim_name),
            resource_claims: resource_claims(spec.resource_claims, &resource_claim_statuses),
            gates: spec.scheduling_gates.into_iter().flatten().map(|gate| gate.name).collect(),
            uid: pod.metadata.uid.unwrap_or_default(),
            resource_version: pod.metadata.resource_version.unwrap_or_default(),
            node: spec.node_name.unwrap_or_default(),
            scheduler: spec.scheduler_name.unwrap_or_default(),
            priority: spec.priority.unwrap_or_default(),
            node_selector: spec.node_selector.unwrap_or_default(),
            node_affinity: spec.affinity.and_then(|affinity| affinity.node_affinity).map(Box::new),
            nominated: status.nominated_node_name.unwrap_or_default(),
            tolerations: spec.tolerations.unwrap_or_default(),
        }
    }

    /// It occupies its node.
    pub fn occupies(&self) -> bool {
        !self.node.is_empty() && !self.finished
    }

    /// Nothing keeps it from being tried: no gate, and no claim on devices that is still to be made for it.
    pub fn may_be_tried(&self) -> bool {
        self.gates.is_empty() && self.resource_claims.iter().all(|(_, claim)| claim.is_some())
    }

    /// It waits for a scheduler.
    pub fn waits(&self) -> bool {
        self.node.is_empty() && !self.finished && !self.deleting
    }
}

impl Object for PodView {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

/// Whether the scheduler said that it deletes the pod for another.
fn preempted(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "DisruptionTarget"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("PreemptionByScheduler")
    })
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let used = ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
        Some(HostPort {
            ip,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: number,
        })
    });
    used.collect()
}
