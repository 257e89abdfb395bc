//! Label selectors of typed objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether a label selector matches; an empty one matches everything.
pub fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let get = |key: &String| labels.and_then(|labels| labels.get(key));
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| get(key) == Some(value));
    equal && selector.match_expressions.iter().flatten().all(|rule| requirement_matches(rule, get(&rule.key)))
}

fn requirement_matches(rule: &LabelSelectorRequirement, value: Option<&String>) -> bool {
    let listed = |value: &String| rule.values.iter().flatten().any(|known| known == value);
    match rule.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_labels() {
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        let check = |selector: serde_json::Value, with: bool, without: bool| {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).expect("selector");
            assert_eq!(
                (matches(&parsed, Some(&labels)), matches(&parsed, None)),
                (with, without),
                "{selector}"
            );
        };
        let rule = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        check(json!({}), true, true);
        check(json!({"matchLabels": {"app": "web"}}), true, false);
        check(json!({"matchLabels": {"app": "db"}}), false, false);
        check(rule("In", &["db", "web"]), true, false);
        check(rule("NotIn", &["web"]), false, true);
        check(rule("Exists", &[]), true, false);
        check(rule("DoesNotExist", &[]), false, true);
        check(rule("Near", &["web"]), false, false);
    }
}
