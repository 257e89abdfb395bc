//! NamespaceAutoProvision: a namespace that something is created in comes to be.
use super::{Attributes, Operation, Plugin};
use crate::loopback::Late;
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::status::Status;
use serde_json::json;
use std::sync::Arc;

/// The plugin.
pub struct NamespaceAutoProvision {
    /// Where namespaces are looked up.
    pub objects: Arc<dyn Objects>,
    /// Creates them; set when the server is put together.
    pub own: Arc<Late>,
}

#[async_trait]
impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        // Nothing is made for a request that stores nothing.
        operation == Operation::Create
            && attributes.kind.namespaced
            && !attributes.dry_run
            && &*attributes.kind.plural != "localsubjectaccessreviews"
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let name = attributes.namespace;
        if name.is_empty() || self.objects.get("", "namespaces", "", name).is_some() {
            return Ok(());
        }
        let own = self.own.get().ok_or_else(|| Status::unavailable("the server is starting"))?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match own.create("/api/v1/namespaces", &namespace).await {
            Err(status) if status.reason != "AlreadyExists" => Err(status),
            _ => Ok(()),
        }
    }
}
