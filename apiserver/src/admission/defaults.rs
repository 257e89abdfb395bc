//! Plugins that fill in the cluster's default class: DefaultStorageClass and DefaultIngressClass; and the one that
//! protects volumes in use (StorageObjectInUseProtection).
use super::{Attributes, Operation, Plugin, array};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;
use std::sync::Arc;

/// DefaultStorageClass.
pub struct DefaultStorageClass {
    /// Where classes are looked up.
    pub objects: Arc<dyn Objects>,
}

/// DefaultIngressClass.
pub struct DefaultIngressClass {
    /// Where classes are looked up.
    pub objects: Arc<dyn Objects>,
}

/// StorageObjectInUseProtection.
pub struct StorageObjectInUseProtection;

/// The newest of the classes with the annotation set; of equally old ones the first by name.
fn default_class(classes: Vec<Arc<Value>>, annotation: &str) -> Option<Arc<Value>> {
    let marked = classes.into_iter().filter(|class| class["metadata"]["annotations"][annotation] == "true");
    marked.min_by(|a, b| {
        let created = |v: &Value| v["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
        let name = |v: &Value| v["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        created(b).cmp(&created(a)).then_with(|| name(a).cmp(&name(b)))
    })
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && attributes.is("", "persistentvolumeclaims")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(claim) = &mut attributes.object else { return Ok(()) };
        let legacy =
            claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class").is_some();
        if legacy || !claim["spec"]["storageClassName"].is_null() {
            return Ok(());
        }
        let classes = self.objects.list("storage.k8s.io", "storageclasses", None);
        if let Some(class) = default_class(classes, "storageclass.kubernetes.io/is-default-class") {
            claim["spec"]["storageClassName"] = class["metadata"]["name"].clone();
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && attributes.is("networking.k8s.io", "ingresses")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(ingress) = &mut attributes.object else { return Ok(()) };
        let legacy = ingress["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some();
        if legacy || !ingress["spec"]["ingressClassName"].is_null() {
            return Ok(());
        }
        let classes = self.objects.list("networking.k8s.io", "ingressclasses", None);
        if let Some(class) = default_class(classes, "ingressclass.kubernetes.io/is-default-class") {
            ingress["spec"]["ingressClassName"] = class["metadata"]["name"].clone();
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create
            && (attributes.is("", "persistentvolumes") || attributes.is("", "persistentvolumeclaims"))
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let finalizer = match &*attributes.kind.plural {
            "persistentvolumes" => "kubernetes.io/pv-protection",
            _ => "kubernetes.io/pvc-protection",
        };
        let Some(object) = &mut attributes.object else { return Ok(()) };
        if array(&object["metadata"]["finalizers"]).iter().any(|f| f == finalizer) {
            return Ok(());
        }
        match object["metadata"]["finalizers"].as_array_mut() {
            Some(list) => list.push(json!(finalizer)),
            None => object["metadata"]["finalizers"] = json!([finalizer]),
        }
        Ok(())
    }
}
