//! What the shared informers leave out of the objects they keep.
//!
//! A typed Pod takes several times the space of its JSON, most of it in parts that no controller
//! reads. Whoever reads a new field of these kinds must keep it here. Since cached objects are
//! not whole, they are changed by patches only, never by sending them back.

use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerStatus, Node, NodeSpec, NodeStatus, Pod, PodSpec, PodStatus, Volume,
};
use knarr_component::informer::Informers;

/// Informers with the trims of all kinds.
pub(crate) fn trimmed(informers: Informers) -> Informers {
    informers.with_trim::<Pod>(pod).with_trim::<Node>(node)
}

/// Annotations can be large; those with a meaning for controllers all end in `kubernetes.io/…`.
fn keep_known_annotations(meta: &mut kube::api::ObjectMeta) {
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|key, _| {
            key.split_once('/').is_some_and(|(domain, name)| {
                domain.ends_with("kubernetes.io") && name != "last-applied-configuration"
            })
        });
        if annotations.is_empty() {
            meta.annotations = None;
        }
    }
}

fn pod(pod: &mut Pod) {
    keep_known_annotations(&mut pod.metadata);
    if let Some(spec) = pod.spec.take() {
        pod.spec = Some(pod_spec(spec));
    }
    if let Some(status) = pod.status.take() {
        pod.status = Some(pod_status(status));
    }
}

fn pod_spec(spec: PodSpec) -> PodSpec {
    PodSpec {
        active_deadline_seconds: spec.active_deadline_seconds,
        affinity: spec
            .affinity
            .map(|affinity| Affinity { node_affinity: affinity.node_affinity, ..Default::default() }),
        containers: spec.containers.into_iter().map(container).collect(),
        init_containers: spec.init_containers.map(|all| all.into_iter().map(container).collect()),
        hostname: spec.hostname,
        host_network: spec.host_network,
        node_name: spec.node_name,
        overhead: spec.overhead,
        priority_class_name: spec.priority_class_name,
        resource_claims: spec.resource_claims,
        resources: spec.resources,
        restart_policy: spec.restart_policy,
        scheduling_gates: spec.scheduling_gates,
        service_account_name: spec.service_account_name,
        subdomain: spec.subdomain,
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        tolerations: spec.tolerations,
        volumes: spec.volumes.map(|volumes| {
            let claims =
                volumes.into_iter().filter(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some());
            claims.map(volume).collect()
        }),
        ..Default::default()
    }
}

fn volume(volume: Volume) -> Volume {
    Volume {
        name: volume.name,
        persistent_volume_claim: volume.persistent_volume_claim,
        ephemeral: volume.ephemeral,
        ..Default::default()
    }
}

fn container(container: Container) -> Container {
    Container {
        name: container.name,
        ports: container.ports,
        resources: container.resources,
        restart_policy: container.restart_policy,
        ..Default::default()
    }
}

fn pod_status(status: PodStatus) -> PodStatus {
    let statuses =
        |all: Option<Vec<ContainerStatus>>| all.map(|all| all.into_iter().map(container_status).collect());
    PodStatus {
        conditions: status.conditions,
        container_statuses: statuses(status.container_statuses),
        host_ip: status.host_ip,
        init_container_statuses: statuses(status.init_container_statuses),
        observed_generation: status.observed_generation,
        phase: status.phase,
        pod_ip: status.pod_ip,
        pod_ips: status.pod_ips,
        reason: status.reason,
        extended_resource_claim_status: status.extended_resource_claim_status,
        resource_claim_statuses: status.resource_claim_statuses,
        start_time: status.start_time,
        ..Default::default()
    }
}

fn container_status(status: ContainerStatus) -> ContainerStatus {
    ContainerStatus {
        name: status.name,
        ready: status.ready,
        restart_count: status.restart_count,
        state: status.state,
        ..Default::default()
    }
}

fn node(node: &mut Node) {
    keep_known_annotations(&mut node.metadata);
    if let Some(spec) = node.spec.take() {
        node.spec = Some(NodeSpec {
            pod_cidr: spec.pod_cidr,
            pod_cidrs: spec.pod_cidrs,
            provider_id: spec.provider_id,
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            ..Default::default()
        });
    }
    if let Some(status) = node.status.take() {
        node.status = Some(NodeStatus {
            addresses: status.addresses,
            allocatable: status.allocatable,
            daemon_endpoints: status.daemon_endpoints,
            volumes_attached: status.volumes_attached,
            volumes_in_use: status.volumes_in_use,
            conditions: status.conditions,
            ..Default::default()
        });
    }
}
