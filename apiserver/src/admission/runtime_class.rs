//! RuntimeClass: pods of a class get its overhead and its scheduling constraints.
use super::{Attributes, Operation, Plugin, array};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;
use std::sync::Arc;

/// The plugin.
pub struct RuntimeClass {
    /// Where classes are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && attributes.is("", "pods")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(mut pod) = attributes.object.take() else { return Ok(()) };
        let outcome = self.apply(attributes, &mut pod);
        attributes.object = Some(pod);
        outcome
    }
}

impl RuntimeClass {
    fn apply(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let Some(name) = pod["spec"]["runtimeClassName"].as_str().map(str::to_owned) else {
            if !pod["spec"]["overhead"].is_null() {
                return Err(attributes.forbidden(
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
                ));
            }
            return Ok(());
        };
        let class = self.objects.get("node.k8s.io", "runtimeclasses", "", &name);
        let class = class
            .ok_or_else(|| attributes.forbidden(format!("pod rejected: RuntimeClass {name:?} not found")))?;
        let overhead = &class["overhead"]["podFixed"];
        if !overhead.is_null() {
            let given = &pod["spec"]["overhead"];
            if !given.is_null() && given != overhead {
                return Err(attributes.forbidden(
                    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
                ));
            }
            pod["spec"]["overhead"] = overhead.clone();
        }
        let scheduling = &class["scheduling"];
        for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
            let given = &pod["spec"]["nodeSelector"][key];
            if !given.is_null() && given != value {
                return Err(attributes.forbidden(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {given}"
                )));
            }
            pod["spec"]["nodeSelector"][key] = value.clone();
        }
        for toleration in array(&scheduling["tolerations"]) {
            if !array(&pod["spec"]["tolerations"]).contains(toleration) {
                match pod["spec"]["tolerations"].as_array_mut() {
                    Some(list) => list.push(toleration.clone()),
                    None => pod["spec"]["tolerations"] = json!([toleration]),
                }
            }
        }
        Ok(())
    }
}
