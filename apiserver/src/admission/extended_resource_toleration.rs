//! ExtendedResourceToleration: pods that ask for extended resources tolerate the taints of nodes kept for those.
use super::{Attributes, Operation, Plugin, array};
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;
use std::collections::BTreeSet;

/// The plugin.
pub struct ExtendedResourceToleration;

#[async_trait]
impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && attributes.is("", "pods")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if let Some(pod) = &mut attributes.object {
            tolerate(&mut pod["spec"]);
        }
        Ok(())
    }
}

/// Is the name of a domain other than Kubernetes' own?
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

fn tolerate(spec: &mut Value) {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for field in ["initContainers", "containers"] {
        for container in array(&spec[field]) {
            let requests = container["resources"]["requests"].as_object().into_iter().flatten();
            wanted.extend(requests.map(|(name, _)| name.clone()).filter(|name| is_extended(name)));
        }
    }
    for key in wanted {
        let toleration = json!({"key": key, "operator": "Exists"});
        let covers = |t: &Value| {
            t["key"] == key
                && t["operator"] == "Exists"
                && t["effect"].as_str().unwrap_or_default().is_empty()
        };
        if array(&spec["tolerations"]).iter().any(covers) {
            continue;
        }
        match spec["tolerations"].as_array_mut() {
            Some(list) => list.push(toleration),
            None => spec["tolerations"] = json!([toleration]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_resources_are_tolerated_once() {
        let mut spec = json!({"containers": [
            {"resources": {"requests": {"cpu": "1", "example.com/a": "1", "kubernetes.io/x": "1"}}},
            {"resources": {"requests": {"example.com/a": "1", "example.com/b": "1"}}},
        ]});
        let expected = json!([
            {"key": "example.com/a", "operator": "Exists"},
            {"key": "example.com/b", "operator": "Exists"},
        ]);
        for _ in 0..2 {
            tolerate(&mut spec);
            assert_eq!(spec["tolerations"], expected);
        }
        let mut plain = json!({"containers": [{}]});
        tolerate(&mut plain);
        assert_eq!(plain, json!({"containers": [{}]}));
    }
}
