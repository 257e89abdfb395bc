//! PodSecurity: a namespace's labels say which of the Pod Security Standards its pods must meet (`enforce`) or are
//! warned about (`warn`), or what is noted for auditors (`audit`); without labels everything passes.
//!
//! Defaults for namespaces without labels and exemptions come from the plugin's configuration.
//!
//! Source: the Pod Security Standards page and KEP-2579. A version label pins the controls to what they were in that
//! version; the annotations that told seccomp profiles before v1.19 are not looked at.
mod checks;

use super::config::Configurations;
use super::{Attributes, Operation, Plugin};
use crate::config_file::ConfigError;
use crate::objects::Objects;
use async_trait::async_trait;
use checks::{LATEST, Level, violations};
use knarr_api::Value;
use knarr_api::status::Status;
use serde::Deserialize;
use std::sync::Arc;

const NAME: &str = "PodSecurity";
const LABEL: &str = "pod-security.kubernetes.io/";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Configuration {
    defaults: Defaults,
    exemptions: Exemptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

/// The plugin.
pub struct PodSecurity {
    objects: Arc<dyn Objects>,
    configured: Configuration,
}

/// What a mode asks of pods; no level: nothing.
struct Policy {
    level: Option<Level>,
    /// As its label says, `latest` or `v1.25`.
    version: String,
}

impl Policy {
    fn minor(&self) -> u32 {
        self.version.strip_prefix("v1.").and_then(|minor| minor.parse().ok()).unwrap_or(LATEST)
    }

    fn name(&self) -> String {
        match self.level {
            Some(level) => format!("{level}:{}", self.version),
            None => format!("privileged:{}", self.version),
        }
    }
}

impl Defaults {
    /// Level and version of a mode, as configured.
    fn of(&self, mode: &str) -> (&str, &str) {
        match mode {
            "enforce" => (&self.enforce, &self.enforce_version),
            "audit" => (&self.audit, &self.audit_version),
            _ => (&self.warn, &self.warn_version),
        }
    }

    fn check(&self) -> Result<(), String> {
        for mode in ["enforce", "audit", "warn"] {
            let (level, version) = self.of(mode);
            if !matches!(level, "" | "privileged" | "baseline" | "restricted") {
                return Err(format!(
                    "defaults.{mode}: Invalid value: {level:?}: must be one of privileged, baseline, restricted"
                ));
            }
            let minor = version.strip_prefix("v1.").is_some_and(|minor| minor.parse::<u32>().is_ok());
            if !matches!(version, "" | "latest") && !minor {
                return Err(format!(
                    "defaults.{mode}-version: Invalid value: {version:?}: must be \"latest\" or \"v1.x\""
                ));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let pods = attributes.kind.gvk.group.is_empty()
            && &*attributes.kind.plural == "pods"
            && matches!(attributes.subresource, "" | "ephemeralcontainers");
        matches!(operation, Operation::Create | Operation::Update)
            && (pods || attributes.subresource.is_empty() && template_path(attributes).is_some())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let notes = &attributes.notes;
        if let Some(exempt) = self.exempt(attributes) {
            notes.annotate(format!("{LABEL}exempt"), exempt);
            return Ok(());
        }
        let [warn, audit, enforce] = ["warn", "audit", "enforce"].map(|mode| self.policy(attributes, mode));
        if let Some(found) = found(attributes, &warn) {
            notes.warn(format!("would violate PodSecurity {:?}: {found}", warn.name()));
        }
        if let Some(found) = found(attributes, &audit) {
            let text = format!("would violate PodSecurity {:?}: {found}", audit.name());
            notes.annotate(format!("{LABEL}audit-violations"), text);
        }
        if &*attributes.kind.plural != "pods" {
            return Ok(());
        }
        notes.annotate(format!("{LABEL}enforce-policy"), enforce.name());
        match found(attributes, &enforce) {
            Some(found) => {
                Err(attributes.forbidden(format!("violates PodSecurity {:?}: {found}", enforce.name())))
            }
            None => Ok(()),
        }
    }
}

impl PodSecurity {
    /// The plugin with its configuration.
    ///
    /// # Errors
    /// A level or version that is none.
    pub fn new(objects: Arc<dyn Objects>, configurations: &Configurations) -> Result<Self, ConfigError> {
        let versions = ["pod-security.admission.config.k8s.io/v1"];
        let configured = configurations.of(NAME, "PodSecurityConfiguration", &versions)?;
        let configured: Configuration = configured.unwrap_or_default();
        configured.defaults.check().map_err(|text| configurations.invalid(NAME, text))?;
        Ok(Self { objects, configured })
    }

    /// By what a write is exempt, if it is.
    fn exempt(&self, attributes: &Attributes<'_>) -> Option<&'static str> {
        let exemptions = &self.configured.exemptions;
        let is_in = |list: &[String], name: &str| list.iter().any(|item| item == name);
        if is_in(&exemptions.namespaces, attributes.namespace) {
            return Some("namespace");
        }
        if is_in(&exemptions.usernames, &attributes.user.name) {
            return Some("user");
        }
        let class = attributes.object.as_ref().and_then(|object| judged(attributes, object));
        let class = class.and_then(|pod| pod["spec"]["runtimeClassName"].as_str()).unwrap_or_default();
        (!class.is_empty() && is_in(&exemptions.runtime_classes, class)).then_some("runtimeClass")
    }

    /// What a mode asks in the namespace.
    fn policy(&self, attributes: &Attributes<'_>, mode: &str) -> Policy {
        let namespace = self.objects.get("", "namespaces", "", attributes.namespace);
        let label = |name: String| {
            let labels = &namespace.as_ref()?["metadata"]["labels"];
            labels[format!("{LABEL}{name}")].as_str().map(str::to_owned)
        };
        let (level, version) = self.configured.defaults.of(mode);
        let level = label(mode.to_owned()).unwrap_or_else(|| level.to_owned());
        let version = label(format!("{mode}-version")).unwrap_or_else(|| version.to_owned());
        Policy {
            level: match level.as_str() {
                "" | "privileged" => None,
                "baseline" => Some(Level::Baseline),
                // An unknown level is the strictest, as in the original.
                _ => Some(Level::Restricted),
            },
            version: if version.is_empty() { "latest".to_owned() } else { version },
        }
    }
}

/// The pod of an object, or its template of pods.
fn judged<'a>(attributes: &Attributes<'_>, object: &'a Value) -> Option<&'a Value> {
    match template_path(attributes) {
        Some(path) => object.pointer(path),
        None => Some(object),
    }
}

/// What violates a policy.
fn found(attributes: &Attributes<'_>, policy: &Policy) -> Option<String> {
    let level = policy.level?;
    let pod = judged(attributes, attributes.object.as_ref()?)?;
    // An update that leaves the spec alone is not judged again.
    let old = attributes.old.as_ref().map(|old| judged(attributes, old).unwrap_or(&Value::Null));
    if old.is_some_and(|old| old["spec"] == pod["spec"]) {
        return None;
    }
    let found = violations(pod, level, policy.minor());
    (!found.is_empty()).then(|| found.join(", "))
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
