//! NamespaceExists: nothing is done in a namespace that does not exist. (NamespaceLifecycle does the same for creates;
//! this one is for those who turn that one off.)
use super::{Attributes, Operation, Plugin};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::status::{Resource, Status};
use std::sync::Arc;

/// The plugin.
pub struct NamespaceExists {
    /// Where namespaces are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation != Operation::Connect && attributes.kind.namespaced
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let name = attributes.namespace;
        match self.objects.get("", "namespaces", "", name) {
            Some(_) => Ok(()),
            None => Err(Status::not_found(Resource { group: "", plural: "namespaces" }, name)),
        }
    }
}
