//! PersistentVolumeClaimResize: a claim grows only while it has a volume, and only if its class lets volumes grow.
use super::{Attributes, Operation, Plugin};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::quantity::Quantity;
use knarr_api::status::Status;
use std::sync::Arc;

/// The plugin.
pub struct ClaimResize {
    /// Where classes are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Update && attributes.is("", "persistentvolumeclaims")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (&attributes.object, &attributes.old) else { return Ok(()) };
        match refusal(new, old, |class| self.objects.get("storage.k8s.io", "storageclasses", "", class)) {
            Some(text) => Err(attributes.forbidden(text)),
            None => Ok(()),
        }
    }
}

/// Why a claim may not change its size so; `class` finds a StorageClass.
fn refusal(new: &Value, old: &Value, class: impl Fn(&str) -> Option<Arc<Value>>) -> Option<&'static str> {
    let size = |claim: &Value| Quantity::from_value(&claim["spec"]["resources"]["requests"]["storage"])?.ok();
    if size(new)? <= size(old)? {
        return None;
    }
    if old["status"]["phase"] != "Bound" {
        return Some("Only bound persistent volume claims can be expanded");
    }
    let legacy = &new["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let name = legacy.as_str().or(new["spec"]["storageClassName"].as_str()).unwrap_or_default();
    let grows = class(name).is_some_and(|class| class["allowVolumeExpansion"] == true);
    (!grows).then_some(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
         resize",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_may_grow() {
        let claim = |size: &str, phase: &str, class: &str| {
            json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
                "status": {"phase": phase}})
        };
        let class = |name: &str| (name == "grows").then(|| Arc::new(json!({"allowVolumeExpansion": true})));
        for (phase, of_class, size, refused) in [
            ("Bound", "grows", "2Gi", false),
            ("Bound", "fixed", "2Gi", true),
            ("Bound", "fixed", "1Gi", false),
            ("Bound", "fixed", "500Mi", false),
            ("Pending", "grows", "2Gi", true),
        ] {
            let (old, new) = (claim("1Gi", phase, of_class), claim(size, phase, of_class));
            assert_eq!(refusal(&new, &old, class).is_some(), refused, "{phase} {of_class} {size}");
        }
    }
}
