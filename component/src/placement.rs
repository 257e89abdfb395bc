//! Where pods may be: required node affinity, taints and tolerations.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// Whether the node selector and the required affinity of a pod match a node.
pub fn allows(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = required(spec.affinity.as_ref());
    selected
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| term_matches(term, name, labels))
        })
}

fn required(affinity: Option<&Affinity>) -> Option<&NodeSelector> {
    affinity?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// An empty term matches nothing.
fn term_matches(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|rule| matches(rule, labels.get(&rule.key).map(String::as_str)))
        && fields.iter().all(|rule| rule.key == "metadata.name" && matches(rule, Some(name)))
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

/// Whether a toleration tolerates a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    let (ours, theirs) =
        (toleration.value.as_deref().unwrap_or_default(), taint.value.as_deref().unwrap_or_default());
    let compare = |holds: fn(i64, i64) -> bool| matches!((theirs.parse(), ours.parse()), (Ok(taint), Ok(limit)) if holds(taint, limit));
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => ours == theirs && !key.is_empty(),
        "Lt" => compare(|taint, limit| taint < limit),
        "Gt" => compare(|taint, limit| taint > limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
