//! Features that a kubelet must have for a pod (KEP-5328): what the pod's specification asks for is compared with what
//! the node declares. In v1.36 two features are asked for at scheduling.
use crate::plugin::{Event, Filter, Prepared, Refusal};
use crate::pod::PodView;
use crate::world::World;
use k8s_openapi::api::core::v1::PodSpec;

/// `status.declaredFeatures`, with its gate.
pub struct NodeDeclaredFeatures;

impl Filter for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World) -> Prepared<'a> {
        if pod.features.is_empty() || !knarr_api::gates::enabled("NodeDeclaredFeatures") {
            return Prepared::Skip;
        }
        Prepared::check(|info| {
            let declares = |feature: &&str| info.node.features.iter().any(|one| one == feature);
            let all = pod.features.iter().all(declares);
            (!all).then(|| Refusal::lasting("node(s) didn't match Pod's required features"))
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}

/// The features that a pod needs of its kubelet.
pub fn required(spec: &PodSpec) -> Vec<&'static str> {
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let restarts_all = containers.any(|container| {
        container.restart_policy_rules.iter().flatten().any(|rule| rule.action == "RestartAllContainers")
    });
    let own_users = spec.host_network == Some(true) && spec.host_users == Some(false);
    [(restarts_all, "RestartAllContainersOnContainerExits"), (own_users, "UserNamespacesHostNetworkSupport")]
        .into_iter()
        .filter_map(|(needed, feature)| needed.then_some(feature))
        .collect()
}
