//! Whether a pod may run on a node as far as its node selector and required affinity say.

use k8s_openapi::api::core::v1::{Node, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use knarr_component::placement;

use crate::meta::name;

/// Whether the node selector and the required affinity of a pod match a node.
pub(crate) fn allows(spec: &PodSpec, node: &Node) -> bool {
    let none = Default::default();
    placement::allows(spec, name(&node.metadata), node.metadata.labels.as_ref().unwrap_or(&none))
}

/// Binds a pod to one node by affinity, keeping its other requirements: they were checked
/// already, but a scheduler of its own may look at them.
pub(crate) fn bind(spec: &mut PodSpec, node: &str) {
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_string(),
        operator: "In".to_string(),
        values: Some(vec![node.to_string()]),
    };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let required = affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![field.clone()]);
    }
}

/// The node that [`bind`] bound a pod to.
pub(crate) fn bound_node(affinity: Option<&NodeAffinity>) -> Option<&str> {
    let affinity = affinity?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let field = fields.find(|rule| rule.key == "metadata.name" && rule.operator == "In")?;
    field.values.as_ref()?.first().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;

    #[test]
    fn binding_is_found_again_and_matches_one_node() {
        let node = |name: &str| Node {
            metadata: ObjectMeta { name: Some(name.into()), ..Default::default() },
            ..Default::default()
        };
        let mut spec = PodSpec::default();
        assert!(allows(&spec, &node("a")));
        bind(&mut spec, "a");
        assert_eq!(
            bound_node(spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref())),
            Some("a")
        );
        assert!(allows(&spec, &node("a")));
        assert!(!allows(&spec, &node("b")));
    }
}
