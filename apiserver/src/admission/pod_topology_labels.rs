//! PodTopologyLabels: a pod carries the zone and region of its node.
use super::{Attributes, Operation, Plugin};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::status::Status;
use knarr_api::{Value, gates};
use std::sync::Arc;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// The plugin.
pub struct PodTopologyLabels {
    /// Where nodes are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let kind = attributes.kind;
        let binds = attributes.subresource == "binding" && &*kind.plural == "pods";
        operation == Operation::Create
            && kind.gvk.group.is_empty()
            && (binds || attributes.subresource.is_empty() && matches!(&*kind.plural, "pods" | "bindings"))
            && gates::enabled("PodTopologyLabelsAdmission")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let is_pod = attributes.is("", "pods");
        let Some(object) = &mut attributes.object else { return Ok(()) };
        let node = match is_pod {
            true => &object["spec"]["nodeName"],
            false if !matches!(object["target"]["kind"].as_str(), None | Some("" | "Node")) => return Ok(()),
            false => &object["target"]["name"],
        };
        let name = node.as_str().unwrap_or_default();
        // A node that is not known has no labels to give.
        let Some(node) = self.objects.get("", "nodes", "", name) else { return Ok(()) };
        for label in LABELS {
            let given = &node["metadata"]["labels"][label];
            let is_set = object["metadata"]["labels"].get(label).is_some_and(|value| !value.is_null());
            if given.is_string() && !(is_pod && is_set) {
                if object["metadata"]["labels"].is_null() {
                    object["metadata"]["labels"] = Value::Object(Default::default());
                }
                object["metadata"]["labels"][label] = given.clone();
            }
        }
        Ok(())
    }
}
