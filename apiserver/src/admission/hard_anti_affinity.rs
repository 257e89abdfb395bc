//! LimitPodHardAntiAffinityTopology: pods may demand to be apart by node only; apart by zone, one pod could keep a whole
//! zone from everybody else.
use super::{Attributes, Operation, Plugin, array};
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// The plugin.
pub struct HardAntiAffinity;

#[async_trait]
impl Plugin for HardAntiAffinity {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && attributes.is("", "pods")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match attributes.object.as_ref().and_then(wider) {
            Some(key) => Err(attributes.forbidden(format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is \
                 allowed"
            ))),
            None => Ok(()),
        }
    }
}

/// The first topology a pod demands to be alone in that is no node.
fn wider(pod: &Value) -> Option<&str> {
    let anti = &pod["spec"]["affinity"]["podAntiAffinity"];
    let terms = array(&anti["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
    terms.filter_map(|term| term["topologyKey"].as_str()).find(|key| *key != HOSTNAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_nodes_may_be_kept_for_oneself() {
        let check = |when: &str, key: &str, expected: Option<&str>| {
            let term = json!({"topologyKey": key});
            let pod = json!({"spec": {"affinity": {"podAntiAffinity": {when: [term]}}}});
            assert_eq!(wider(&pod), expected, "{when} {key}");
        };
        check("requiredDuringSchedulingIgnoredDuringExecution", HOSTNAME, None);
        check("requiredDuringSchedulingIgnoredDuringExecution", "zone", Some("zone"));
        check("preferredDuringSchedulingIgnoredDuringExecution", "zone", None);
    }
}
