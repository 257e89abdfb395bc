//! NodeDeclaredFeatureValidator: a pod that runs is changed only in ways that its node says it can carry out
//! (`status.declaredFeatures`). Source: KEP-5328.
use super::{Attributes, Operation, Plugin, array};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::quantity::Quantity;
use knarr_api::status::Status;
use std::sync::Arc;

/// The plugin.
pub struct NodeDeclaredFeatures {
    /// Where nodes are looked up.
    pub objects: Arc<dyn Objects>,
}

/// A feature's name, and whether a change from the one pod to the other needs it.
type Feature = (&'static str, fn(&Value, &Value) -> bool);

/// The features that changes of pods can need, by name.
const FEATURES: [Feature; 3] = [
    ("GuaranteedQoSPodCPUResize", resizes_guaranteed_cpu),
    ("InPlacePodLevelResourcesVerticalScaling", resizes_pod_level),
    ("InPlacePodVerticalScalingInitContainers", resizes_init_containers),
];

#[async_trait]
impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let kind = attributes.kind;
        operation == Operation::Update
            && kind.gvk.group.is_empty()
            && &*kind.plural == "pods"
            && matches!(attributes.subresource, "" | "resize")
            && knarr_api::gates::enabled("NodeDeclaredFeatures")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (&attributes.object, &attributes.old) else { return Ok(()) };
        let name = new["spec"]["nodeName"].as_str().unwrap_or_default();
        if name.is_empty() || new["spec"] == old["spec"] {
            return Ok(());
        }
        let needed: Vec<&str> =
            FEATURES.iter().filter(|(_, needs)| needs(old, new)).map(|(feature, _)| *feature).collect();
        if needed.is_empty() {
            return Ok(());
        }
        let Some(node) = self.objects.get("", "nodes", "", name) else {
            return Err(attributes.forbidden(format!("node {name:?} not found")));
        };
        let declared = array(&node["status"]["declaredFeatures"]);
        let missing: Vec<&str> =
            needed.into_iter().filter(|feature| !declared.iter().any(|known| known == feature)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        Err(attributes.forbidden(format!(
            "pod update requires features {missing} which are not available on node {name:?}"
        )))
    }
}

fn resizes_guaranteed_cpu(old: &Value, new: &Value) -> bool {
    let request = |container: &Value| {
        let text = container["resources"]["requests"]["cpu"].as_str().unwrap_or("0");
        text.parse::<Quantity>().ok()
    };
    let containers = |pod: &Value| array(&pod["spec"]["containers"]).iter().map(request).collect::<Vec<_>>();
    old["status"]["qosClass"] == "Guaranteed" && containers(old) != containers(new)
}

fn resizes_pod_level(old: &Value, new: &Value) -> bool {
    old["spec"]["resources"] != new["spec"]["resources"]
}

fn resizes_init_containers(old: &Value, new: &Value) -> bool {
    let (old, new) = (array(&old["spec"]["initContainers"]), array(&new["spec"]["initContainers"]));
    let pairs = old.iter().zip(new);
    pairs
        .into_iter()
        .any(|(old, new)| old["restartPolicy"] != "Always" && old["resources"] != new["resources"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changes_need() {
        let pod = |class: &str, cpu: &str, init: &str, level: Value| {
            json!({"status": {"qosClass": class}, "spec": {"resources": level,
                "containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}],
                "initContainers": [{"name": "i", "resources": {"limits": {"cpu": init}}},
                    {"name": "s", "restartPolicy": "Always", "resources": {"limits": {"cpu": cpu}}}]}})
        };
        let old = pod("Guaranteed", "1", "1", Value::Null);
        let check = |new: Value, expected: &[&str]| {
            let needs = FEATURES.iter().filter(|(_, needs)| needs(&old, &new)).map(|(name, _)| *name);
            assert_eq!(needs.collect::<Vec<_>>(), expected, "{new}");
        };
        check(pod("Guaranteed", "1000m", "1", Value::Null), &[]);
        check(pod("Guaranteed", "2", "1", Value::Null), &["GuaranteedQoSPodCPUResize"]);
        check(pod("Guaranteed", "1", "2", Value::Null), &["InPlacePodVerticalScalingInitContainers"]);
        let level = json!({"limits": {"cpu": "3"}});
        check(pod("Guaranteed", "1", "1", level), &["InPlacePodLevelResourcesVerticalScaling"]);
        let (burstable, changed) =
            (pod("Burstable", "1", "1", Value::Null), pod("Burstable", "2", "1", Value::Null));
        assert!(!resizes_guaranteed_cpu(&burstable, &changed));
    }
}
