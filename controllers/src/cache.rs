//! What the shared informers leave out of the objects they keep.
//!
//! Whoever reads a new field of these kinds must keep it here; of pods no other fields are ever
//! decoded than [`Pod`] has. Since cached objects are not whole, they are changed by patches
//! only, never by sending them back.

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use knarr_component::{informer::Informers, meta::exact};

use crate::pods::Pod;

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
}

fn node(node: &mut Node) {
    keep_known_annotations(&mut node.metadata);
    if let Some(spec) = node.spec.take() {
        node.spec = Some(NodeSpec {
            pod_cidr: spec.pod_cidr,
            pod_cidrs: spec.pod_cidrs.map(exact),
            provider_id: spec.provider_id,
            taints: spec.taints.map(exact),
            unschedulable: spec.unschedulable,
            ..Default::default()
        });
    }
    if let Some(status) = node.status.take() {
        node.status = Some(NodeStatus {
            addresses: status.addresses.map(exact),
            allocatable: status.allocatable,
            daemon_endpoints: status.daemon_endpoints,
            volumes_attached: status.volumes_attached,
            volumes_in_use: status.volumes_in_use,
            conditions: status.conditions.map(exact),
            ..Default::default()
        });
    }
}
