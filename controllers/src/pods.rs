//! What pods are: ready, available, finished, and in which order they are given up.

mod view;

use std::{cmp::Ordering, collections::HashMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{self as whole, NodeAffinity, PodCondition, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use kube::{
    Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request},
};
use serde_json::json;

use crate::context::Context;
use crate::meta::{self, annotation, created, ignore_absent, is_deleting, uid};

pub(crate) use view::{Container, ContainerStatus, Pod, Volume};
#[cfg(test)]
pub(crate) use view::{PodSpec, PodStatus};

/// The phase, empty when there is no status yet.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor going away.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_deleting(&pod.metadata)
}

/// Going away but not finished.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    !is_finished(pod) && is_deleting(&pod.metadata)
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// When the pod became ready.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// How long until a ready pod counts as available: zero when it does already, `None` when it is
/// not ready.
pub(crate) fn until_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(Duration::ZERO);
    }
    let since = ready_since(pod)?;
    let ready_for = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(Duration::from_secs(min_ready_seconds as u64).saturating_sub(ready_for))
}

pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    until_available(pod, min_ready_seconds, now).is_some_and(|wait| wait.is_zero())
}

/// Names of the claims that a pod uses, its ephemeral volumes among them.
pub(crate) fn claims(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", meta::name(&pod.metadata), volume.name)),
        (None, None) => None,
    })
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// The affinity to nodes.
pub(crate) fn node_affinity(pod: &Pod) -> Option<&NodeAffinity> {
    pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
}

fn deletion_cost(pod: &Pod) -> i32 {
    annotation(&pod.metadata, "controller.kubernetes.io/pod-deletion-cost")
        .and_then(|cost| cost.parse().ok())
        .unwrap_or_default()
}

fn restarts(pod: &Pod) -> (i32, i32) {
    let status = pod.status.as_ref();
    let most = |sidecars: bool| {
        let statuses = match sidecars {
            true => status.and_then(|status| status.init_container_statuses.as_ref()),
            false => status.and_then(|status| status.container_statuses.as_ref()),
        };
        statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or_default()
    };
    (most(false), most(true))
}

/// Orders pods by which is given up first: those that do least for the user. `related` counts
/// the pods of the same workload on each node, so that crowded nodes are relieved first.
pub(crate) fn deletion_order(a: &Pod, b: &Pod, related: &HashMap<String, usize>, now: Timestamp) -> Ordering {
    let phase_rank = |pod: &Pod| match phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let rank = |pod: &Pod| related.get(node_name(pod)).copied().unwrap_or_default();
    node_name(a)
        .is_empty()
        .cmp(&node_name(b).is_empty())
        .reverse()
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| rank(b).cmp(&rank(a)))
        .then_with(|| age_class(ready_since(a), now).cmp(&age_class(ready_since(b), now)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            age_class(Some(created(&a.metadata)), now).cmp(&age_class(Some(created(&b.metadata)), now))
        })
        .then_with(|| uid(&a.metadata).cmp(uid(&b.metadata)))
}

/// Ages compare by their logarithm: pods of about the same age are given up in random order, so
/// that scaling down does not always hit the node that was filled last.
fn age_class(time: Option<Timestamp>, now: Timestamp) -> u32 {
    let seconds = time.map_or(0, |time| now.duration_since(time).as_secs()).max(0) as u64;
    u64::BITS - seconds.leading_zeros()
}

/// A pod made from a template. Its name is generated from `prefix`, which ends in a dash.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    prefix: &str,
    owner: OwnerReference,
) -> whole::Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    whole::Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_string()),
            generate_name: Some(prefix.to_string()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Creates a pod; of the answer no more is decoded than is ever kept.
pub(crate) async fn create(client: &Client, pod: &whole::Pod) -> kube::Result<Pod> {
    let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
    let request = Request::new(Pod::url_path(&(), pod.metadata.namespace.as_deref()));
    let request = request.create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
    client.request(request).await
}

/// Number of pods on each node.
pub(crate) fn count_by_node<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for pod in pods {
        *counts.entry(node_name(pod).to_string()).or_default() += 1;
    }
    counts
}

/// Says why a pod is ended, which whoever made it may act on, and deletes it. A successor of its name is left alone.
pub(crate) async fn disrupt(context: &Context, pod: &Pod, reason: &str, message: &str) -> anyhow::Result<()> {
    let (api, name) = (context.api::<Pod>(meta::namespace(&pod.metadata)), meta::name(&pod.metadata));
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": meta::now(),
    });
    let patch = Patch::Strategic(json!({
        "metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]},
    }));
    ignore_absent(api.patch_status(name, &PatchParams::default(), &patch).await)?;
    let precondition = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    ignore_absent(api.delete(name, &DeleteParams::default().preconditions(precondition)).await)?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    /// A pod for tests: phase, node and whether it has been ready for a number of seconds.
    pub(crate) fn pod(name: &str, phase: &str, node: &str, ready_for: Option<i64>) -> Pod {
        let since = |seconds: i64| Time(Timestamp::from_second(1_000_000 - seconds).unwrap());
        let ready = ready_for.map(|seconds| PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: Some(since(seconds)),
            ..Default::default()
        });
        Pod {
            metadata: ObjectMeta {
                namespace: Some("ns".into()),
                name: Some(name.into()),
                uid: Some(format!("uid-{name}")),
                ..Default::default()
            },
            spec: Some(PodSpec { node_name: (!node.is_empty()).then(|| node.into()), ..Default::default() }),
            status: Some(PodStatus {
                phase: Some(phase.into()),
                conditions: Some(ready.into_iter().collect()),
                ..Default::default()
            }),
        }
    }

    /// A pod as it is kept once it was made.
    pub(crate) fn kept(made: &whole::Pod) -> Pod {
        serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap()
    }

    pub(crate) fn test_now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let mut costly = pod("costly", "Running", "n1", Some(100));
        costly.metadata.annotations =
            Some([("controller.kubernetes.io/pod-deletion-cost".to_string(), "-5".to_string())].into());
        let mut pods = [
            pod("old", "Running", "n2", Some(9000)),
            pod("crowded", "Running", "n1", Some(9000)),
            costly,
            pod("new", "Running", "n2", Some(10)),
            pod("unready", "Running", "n2", None),
            pod("pending", "Pending", "n2", None),
            pod("unassigned", "Pending", "", None),
        ];
        let related = HashMap::from([("n1".to_string(), 5), ("n2".to_string(), 1)]);
        pods.sort_by(|a, b| deletion_order(a, b, &related, test_now()));
        let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "costly", "crowded", "new", "old"]);
    }

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let check = |ready_for, min, expected: Option<u64>| {
            let pod = pod("p", "Running", "n", ready_for);
            assert_eq!(until_available(&pod, min, test_now()).map(|wait| wait.as_secs()), expected);
        };
        check(None, 0, None);
        check(Some(0), 0, Some(0));
        check(Some(4), 10, Some(6));
        check(Some(10), 10, Some(0));
    }
}
