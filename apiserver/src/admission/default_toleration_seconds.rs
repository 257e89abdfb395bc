//! DefaultTolerationSeconds: pods tolerate a node that is not ready or unreachable for some minutes, unless they say
//! themselves what they do.
use super::{Attributes, Operation, Plugin, array};
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The plugin.
pub struct DefaultTolerationSeconds {
    /// `--default-not-ready-toleration-seconds`.
    pub not_ready: i64,
    /// `--default-unreachable-toleration-seconds`.
    pub unreachable: i64,
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && attributes.is("", "pods")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(pod) = &mut attributes.object else { return Ok(()) };
        for (taint, seconds) in [(NOT_READY, self.not_ready), (UNREACHABLE, self.unreachable)] {
            if array(&pod["spec"]["tolerations"]).iter().any(|t| tolerates(t, taint)) {
                continue;
            }
            let toleration = json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
            match pod["spec"]["tolerations"].as_array_mut() {
                Some(list) => list.push(toleration),
                None => pod["spec"]["tolerations"] = json!([toleration]),
            }
        }
        Ok(())
    }
}

/// Does the toleration say anything about this taint with effect NoExecute?
fn tolerates(toleration: &Value, taint: &str) -> bool {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    (text("key") == taint || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
}
