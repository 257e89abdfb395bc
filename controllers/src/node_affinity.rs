//! Whether a pod may run on a node as far as its node selector and required affinity say.

use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
};

use crate::meta::{contains_all, name};

/// Whether the node selector and the required affinity of a pod match a node.
pub(crate) fn allows(spec: &PodSpec, node: &Node) -> bool {
    let selected = spec
        .node_selector
        .as_ref()
        .is_none_or(|selector| contains_all(selector, node.metadata.labels.as_ref()));
    let required = required(spec.affinity.as_ref());
    selected
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

fn required(affinity: Option<&Affinity>) -> Option<&NodeSelector> {
    affinity?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// An empty term matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |rule: &NodeSelectorRequirement| {
        node.metadata.labels.as_ref().and_then(|labels| labels.get(&rule.key))
    };
    expressions.iter().all(|rule| matches(rule, label(rule).map(String::as_str)))
        && fields.iter().all(|rule| rule.key == "metadata.name" && matches(rule, Some(name(&node.metadata))))
}

fn matches(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|known| known == value);
    let compare = |holds: fn(i64, i64) -> bool| {
        let limit = values.first().and_then(|limit| limit.parse().ok());
        matches!((value.and_then(|value| value.parse().ok()), limit), (Some(value), Some(limit)) if holds(value, limit))
    };
    match rule.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|value, limit| value > limit),
        "Lt" => compare(|value, limit| value < limit),
        _ => false,
    }
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
pub(crate) fn bound_node(spec: &PodSpec) -> Option<&str> {
    let affinity: &NodeAffinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
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
        assert_eq!(bound_node(&spec), Some("a"));
        assert!(allows(&spec, &node("a")));
        assert!(!allows(&spec, &node("b")));
    }

    #[test]
    fn operators() {
        let check = |operator: &str, values: &[&str], value: Option<&str>, expected: bool| {
            let rule = NodeSelectorRequirement {
                key: "k".into(),
                operator: operator.into(),
                values: Some(values.iter().map(ToString::to_string).collect()),
            };
            assert_eq!(matches(&rule, value), expected, "{value:?} {operator} {values:?}");
        };
        check("In", &["a"], Some("a"), true);
        check("NotIn", &["a"], None, true);
        check("Gt", &["5"], Some("6"), true);
        check("Gt", &["5"], Some("x"), false);
        check("Lt", &["5"], Some("6"), false);
        check("DoesNotExist", &[], None, true);
    }
}
