//! Matching of label selectors and node selector requirements on typed objects.
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Whether a label selector selects these labels; none selects nothing.
pub fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return false };
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            holds(&requirement.operator, values, labels.get(&requirement.key))
        })
}

/// Whether a node matches a term: all of its expressions and fields. An empty term matches no node.
pub fn term_matches(term: &NodeSelectorTerm, name: &str, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = name.to_owned();
    let requirement = |requirement: &NodeSelectorRequirement, value: Option<&String>| {
        holds(&requirement.operator, requirement.values.as_deref().unwrap_or_default(), value)
    };
    let field = |key: &str| (key == "metadata.name").then_some(&name);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|expression| requirement(expression, labels.get(&expression.key)))
        && fields.iter().all(|expression| requirement(expression, field(&expression.key)))
}

fn holds(operator: &str, values: &[String], found: Option<&String>) -> bool {
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |f: fn(&i64, &i64) -> bool| {
        let wanted = values.first().and_then(number);
        found.and_then(number).zip(wanted).is_some_and(|(found, wanted)| f(&found, &wanted))
    };
    match operator {
        "In" => found.is_some_and(|value| values.contains(value)),
        "NotIn" => found.is_none_or(|value| !values.contains(value)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        let check = |operator: &str, values: &[&str], found: Option<&str>, expected: bool| {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            let found = found.map(str::to_owned);
            assert_eq!(holds(operator, &values, found.as_ref()), expected, "{found:?} {operator} {values:?}");
        };
        check("In", &["a", "b"], Some("a"), true);
        check("In", &["a"], None, false);
        check("NotIn", &["a"], None, true);
        check("NotIn", &["a"], Some("a"), false);
        check("Exists", &[], Some(""), true);
        check("DoesNotExist", &[], None, true);
        check("Gt", &["5"], Some("6"), true);
        check("Gt", &["5"], Some("5"), false);
        check("Lt", &["5"], Some("x"), false);
        check("Near", &["5"], Some("5"), false);
    }
}
