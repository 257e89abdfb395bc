//! The quality-of-service class of a pod, from requests and limits of cpu and memory.
//!
//! Source: Kubernetes documentation, "Pod Quality of Service Classes".
use crate::registry::object;
use knarr_api::Value;
use knarr_api::quantity::Quantity;
use std::collections::BTreeMap;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Value) -> &'static str {
    if let Some(resources) = object::at(pod, &["spec", "resources"])
        && (resources.get("requests").is_some() || resources.get("limits").is_some())
    {
        return of([resources].into_iter());
    }
    let containers = object::list(pod, &["spec", "containers"]).iter();
    let all = containers.chain(object::list(pod, &["spec", "initContainers"]));
    of(all.map(|c| c.get("resources").unwrap_or(&Value::Null)))
}

fn of<'a>(all: impl Iterator<Item = &'a Value>) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut guaranteed = true;
    for resources in all {
        add(&mut requests, resources.get("requests"));
        let found = add(&mut limits, resources.get("limits"));
        if found < 2 {
            guaranteed = false;
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed
        && requests.len() == limits.len()
        && requests.iter().all(|(n, q)| limits.get(n) == Some(q))
    {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds the positive amounts of cpu and memory; returns how many of the two were there.
fn add(sum: &mut BTreeMap<&'static str, Quantity>, amounts: Option<&Value>) -> usize {
    let mut found = 0;
    for name in ["cpu", "memory"] {
        let amount = amounts.and_then(|a| a.get(name)).and_then(Quantity::from_value).and_then(Result::ok);
        let Some(amount) = amount.filter(|q| q.sign() > 0) else { continue };
        found += 1;
        let total = match sum.remove(name) {
            Some(before) => before + amount,
            None => amount,
        };
        sum.insert(name, total);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::class;
    use serde_json::json;

    fn check(resources: &[serde_json::Value], expected: &str) {
        let containers: Vec<_> = resources.iter().map(|r| json!({"resources": r})).collect();
        assert_eq!(class(&json!({"spec": {"containers": containers}})), expected, "{resources:?}");
    }

    #[test]
    fn classes() {
        let full =
            json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
        check(&[json!({})], "BestEffort");
        check(std::slice::from_ref(&full), "Guaranteed");
        check(&[full, json!({})], "Burstable");
        check(&[json!({"requests": {"cpu": "1"}})], "Burstable");
        check(&[json!({"requests": {"cpu": "0"}})], "BestEffort");
        check(&[json!({"requests": {"ephemeral-storage": "1Gi"}})], "BestEffort");
    }
}
