//! TaintNodesByCondition: a new node takes no pods before its controller has seen it ready.
use super::{Attributes, Operation, Plugin, array};
use async_trait::async_trait;
use knarr_api::status::Status;
use serde_json::json;

/// The plugin.
pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && attributes.is("", "nodes")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(node) = &mut attributes.object else { return Ok(()) };
        let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        let known = |t: &&knarr_api::Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
        if array(&node["spec"]["taints"]).iter().any(|t| known(&t)) {
            return Ok(());
        }
        match node["spec"]["taints"].as_array_mut() {
            Some(list) => list.push(taint),
            None => node["spec"]["taints"] = json!([taint]),
        }
        Ok(())
    }
}
