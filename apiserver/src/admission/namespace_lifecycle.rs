//! NamespaceLifecycle: nothing is created in a namespace that does not exist or is going away, and the system's own
//! namespaces stay.
use super::{Attributes, Operation, Plugin};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::status::{Resource, Status};
use std::sync::Arc;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
const NAMESPACES: Resource<'static> = Resource { group: "", plural: "namespaces" };

/// The plugin.
pub struct NamespaceLifecycle {
    /// Where namespaces are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        match operation {
            Operation::Delete => attributes.is("", "namespaces"),
            Operation::Create => attributes.kind.namespaced,
            _ => false,
        }
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if attributes.operation == Operation::Delete {
            if IMMORTAL.contains(&attributes.name) {
                return Err(attributes.forbidden("this namespace may not be deleted"));
            }
            return Ok(());
        }
        // Access reviews of a namespace that is not there are answered, not refused.
        if &*attributes.kind.plural == "localsubjectaccessreviews" {
            return Ok(());
        }
        let name = attributes.namespace;
        let namespace = self.objects.get("", "namespaces", "", name);
        let namespace = namespace.ok_or_else(|| Status::not_found(NAMESPACES, name))?;
        if namespace["status"]["phase"] == "Terminating" {
            let cause =
                format!("unable to create new content in namespace {name} because it is being terminated");
            let text = format!("namespace {name} is being terminated");
            return Err(attributes.forbidden(cause).with_cause(
                "NamespaceTerminating",
                text,
                "metadata.namespace",
            ));
        }
        Ok(())
    }
}
