//! PodSecurity: a namespace's labels say which of the Pod Security Standards its pods must meet (`enforce`) or are
//! warned about (`warn`), or what is noted for auditors (`audit`); without labels everything passes.
//!
//! Source: the Pod Security Standards page and KEP-2579. Levels are those of the newest version, whatever the
//! version labels say: pinned older versions allow a little more.
mod checks;

use super::{Attributes, Operation, Plugin};
use crate::objects::Objects;
use async_trait::async_trait;
use checks::{Level, violations};
use knarr_api::Value;
use knarr_api::status::Status;
use std::sync::Arc;

const LABEL: &str = "pod-security.kubernetes.io/";

/// The plugin.
pub struct PodSecurity {
    /// Where namespaces are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let pods = attributes.kind.gvk.group.is_empty()
            && &*attributes.kind.plural == "pods"
            && matches!(attributes.subresource, "" | "ephemeralcontainers");
        matches!(operation, Operation::Create | Operation::Update)
            && (pods || attributes.subresource.is_empty() && template_path(attributes).is_some())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let level = self.level(attributes, "warn");
        if let (Some((level, version)), Some(found)) = (level.clone(), self.found(attributes, level)) {
            attributes.notes.warn(format!("would violate PodSecurity \"{level}:{version}\": {found}"));
        }
        let level = self.level(attributes, "audit");
        if let (Some((level, version)), Some(found)) = (level.clone(), self.found(attributes, level)) {
            let text = format!("would violate PodSecurity \"{level}:{version}\": {found}");
            attributes.notes.annotate(format!("{LABEL}audit-violations"), text);
        }
        if &*attributes.kind.plural != "pods" {
            return Ok(());
        }
        let level = self.level(attributes, "enforce");
        let policy = match &level {
            Some((level, version)) => format!("{level}:{version}"),
            None => "privileged:latest".to_owned(),
        };
        attributes.notes.annotate(format!("{LABEL}enforce-policy"), policy);
        if let (Some((level, version)), Some(found)) = (level.clone(), self.found(attributes, level)) {
            return Err(attributes.forbidden(format!("violates PodSecurity \"{level}:{version}\": {found}")));
        }
        Ok(())
    }
}

impl PodSecurity {
    /// The level and version of a mode; none where everything passes.
    fn level(&self, attributes: &Attributes<'_>, mode: &str) -> Option<(Level, String)> {
        let namespace = self.objects.get("", "namespaces", "", attributes.namespace)?;
        let labels = &namespace["metadata"]["labels"];
        let level = match labels[format!("{LABEL}{mode}")].as_str()? {
            "privileged" => return None,
            "baseline" => Level::Baseline,
            // An unknown level is the strictest, as in the original.
            _ => Level::Restricted,
        };
        let version = labels[format!("{LABEL}{mode}-version")].as_str().unwrap_or("latest");
        Some((level, version.to_owned()))
    }

    fn found(&self, attributes: &Attributes<'_>, level: Option<(Level, String)>) -> Option<String> {
        let (level, _) = level?;
        let object = attributes.object.as_ref()?;
        let pod = match template_path(attributes) {
            Some(path) => object.pointer(path)?,
            None => object,
        };
        let old = attributes.old.as_ref().map(|old| match template_path(attributes) {
            Some(path) => old.pointer(path).unwrap_or(&Value::Null),
            None => old,
        });
        // An update that leaves the spec alone is not judged again.
        if old.is_some_and(|old| old["spec"] == pod["spec"]) {
            return None;
        }
        let found = violations(pod, level);
        (!found.is_empty()).then(|| found.join(", "))
    }
}

/// Where a workload keeps its pod template.
fn template_path(attributes: &Attributes<'_>) -> Option<&'static str> {
    match (&*attributes.kind.gvk.group, &*attributes.kind.plural) {
        ("", "podtemplates") => Some("/template"),
        ("", "replicationcontrollers") => Some("/spec/template"),
        ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets") => Some("/spec/template"),
        ("batch", "jobs") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}
