//! What a pod has been given of the node, and whether it may have what it asks for now.
//!
//! A resize of a running pod changes what its object asks for; the pod goes on with what it was given until the node
//! can give the new amounts. What was given is found in the status of its containers, also by a new kubelet.
//!
//! Source: KEP-1287, In-place update of pod resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::Serialize;

use crate::admission::{self, Node};
use crate::pod;

/// Why a pod does not have yet what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Infeasible`: never on this node; `Deferred`: when others leave room.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// How far a pod is from what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resize {
    /// The node cannot give it now.
    pub pending: Option<Pending>,
    /// Limits are being changed; with the error that keeps them from it.
    pub progress: Option<Option<String>>,
}

/// Whether the node can give a running pod what it asks for now.
pub fn decide(wanted: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<(), Pending> {
    for resource in ["cpu", "memory"] {
        let (requested, capacity) = (
            admission::requested(wanted, resource),
            node.allocatable.get(resource).copied().unwrap_or_default(),
        );
        if requested > capacity {
            let unit = admission::unit(resource);
            let message = format!(
                "Node didn't have enough capacity: {resource}, requested: {}, capacity: {}",
                requested / unit,
                capacity / unit
            );
            return Err(Pending { reason: "Infeasible", message });
        }
    }
    admission::check_resources(wanted, others, node)
        .map_err(|refusal| Pending { reason: "Deferred", message: refusal.message })
}

/// Resources of a pod: of its containers by name, and of the whole.
type Resources = (BTreeMap<String, ResourceRequirements>, Option<ResourceRequirements>);

fn all_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod::init_containers(pod).iter().chain(pod::containers(pod))
}

fn resources(pod: &Pod) -> Resources {
    let of = |container: &Container| {
        let own = container.resources.clone().unwrap_or_default();
        (container.name.clone(), ResourceRequirements { claims: None, ..own })
    };
    (all_containers(pod).map(of).collect(), pod::spec(pod).resources.clone())
}

/// Whether two versions of a pod ask for the same.
pub fn same_resources(one: &Pod, other: &Pod) -> bool {
    resources(one) == resources(other)
}

fn with_resources(pod: &Pod, (mut of_containers, of_pod): Resources) -> Pod {
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        spec.resources = of_pod;
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            if let Some(given) = of_containers.remove(&container.name) {
                let claims = container.resources.take().and_then(|own| own.claims);
                container.resources = Some(ResourceRequirements { claims, ..given });
            }
        }
    }
    pod
}

/// The pod with what an earlier version of it was given.
pub fn with_resources_of(pod: &Pod, given: &Pod) -> Pod {
    with_resources(pod, resources(given))
}

/// The pod with what it has been given as far as its own status tells.
pub fn as_reported(pod: &Pod) -> Pod {
    let (mut of_containers, mut of_pod) = resources(pod);
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let app = status.and_then(|status| status.container_statuses.as_ref());
    for status in init.into_iter().chain(app).flatten() {
        if let (Some(given), Some(own)) = (&status.resources, of_containers.get_mut(&status.name)) {
            *own = ResourceRequirements { claims: None, ..given.clone() };
        }
    }
    if let Some(given) = status.and_then(|status| status.resources.clone()).filter(|_| of_pod.is_some()) {
        of_pod = Some(given);
    }
    with_resources(pod, (of_containers, of_pod))
}

/// A step of a resize, as events tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The pod waits.
    Pending(&'a Pending),
    /// Limits are being changed.
    Started,
    /// All limits are as asked for.
    Completed,
    /// Limits could not be changed.
    Error(&'a str),
}

/// What a pod asks for, in the form and order of events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Asked<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Asked<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Asked<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

impl<'a> Asked<'a> {
    fn by(container: &'a Container) -> Self {
        Self { name: &container.name, resources: container.resources.clone().unwrap_or_default() }
    }
}

/// What an event says about a step of a resize; `pod` asks for the new amounts.
pub fn event_message(pod: &Pod, step: Step<'_>) -> String {
    let (what, error) = match step {
        Step::Pending(pending) => (pending.reason, pending.message.as_str()),
        Step::Started => ("started", ""),
        Step::Completed => ("completed", ""),
        Step::Error(error) => ("error", error),
    };
    let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
    let summary = Summary {
        init_containers: sidecars.map(Asked::by).collect(),
        containers: pod::containers(pod).iter().map(Asked::by).collect(),
        generation: pod.metadata.generation.unwrap_or_default(),
        error,
    };
    let summary = serde_json::to_string(&summary).unwrap_or_else(|error| unreachable!("{error}"));
    format!("Pod resize {what}: {summary}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::tests::pod;

    fn asking(name: &str, cpu: &str) -> Pod {
        pod(&format!(
            "{{metadata: {{name: {name}, generation: 2}}, spec: {{containers: [{{name: a, resources: {{requests: {{cpu: {cpu}}}}}}}]}}}}"
        ))
    }

    fn node() -> Node {
        let allocatable = [("cpu", 2000), ("memory", 1 << 40)].map(|(name, value)| (name.to_owned(), value));
        Node { allocatable: allocatable.into(), max_pods: 10, ..Node::default() }
    }

    #[test]
    fn what_does_not_fit_waits() {
        let others = [Arc::new(asking("other", "1500m"))];
        let decision =
            |cpu: &str| decide(&asking("p", cpu), &others, &node()).map_err(|p| (p.reason, p.message));
        assert_eq!(decision("500m"), Ok(()));
        let deferred = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(decision("501m"), Err(("Deferred", deferred.to_owned())));
        let infeasible = "Node didn't have enough capacity: cpu, requested: 50000, capacity: 2000";
        assert_eq!(decision("50"), Err(("Infeasible", infeasible.to_owned())));
    }

    #[test]
    fn what_was_given_is_in_the_status() {
        let mut changed = asking("p", "2");
        let given = asking("p", "1");
        assert!(same_resources(&as_reported(&changed), &changed), "nothing is known");
        let status = "{containerStatuses: [{name: a, image: x, imageID: '', ready: true, restartCount: 0, resources: {requests: {cpu: '1'}}}]}";
        changed.status = Some(serde_yaml_ng::from_str(status).expect("status"));
        assert!(same_resources(&as_reported(&changed), &given));
        assert!(same_resources(&with_resources_of(&changed, &given), &given));
        assert!(!same_resources(&changed, &given));
    }

    #[test]
    fn messages() {
        let pod = asking("p", "1");
        let summary = r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}],"generation":2"#;
        assert_eq!(event_message(&pod, Step::Started), format!("Pod resize started: {summary}}}"));
        assert_eq!(
            event_message(
                &pod,
                Step::Pending(&Pending { reason: "Infeasible", message: "too much".to_owned() })
            ),
            format!(r#"Pod resize Infeasible: {summary},"error":"too much"}}"#)
        );
    }
}
