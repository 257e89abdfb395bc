//! PodSecurity: a namespace's labels say which of the Pod Security Standards its pods must meet (`enforce`) or are
//! warned about (`warn`), or what is noted for auditors (`audit`); without labels everything passes.
//!
//! Defaults for namespaces without labels and exemptions come from the plugin's configuration.
//!
//! Source: the Pod Security Standards page and KEP-2579. A version label pins the controls to what they were in that
//! version; the annotations that told seccomp profiles before v1.19 are not looked at.
mod checks;
mod metrics;
mod policy;

use super::config::Configurations;
use super::{Attributes, Operation, Plugin};
use crate::config_file::ConfigError;
use crate::objects::Objects;
use async_trait::async_trait;
use checks::{title, violations};
use knarr_api::Value;
use knarr_api::status::Status;
pub use metrics::PodSecurityMetrics;
use policy::{Defaults, Policies, Policy};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "PodSecurity";
const LABEL: &str = "pod-security.kubernetes.io/";
/// Pods that are looked at when a namespace asks for more.
const CHECKED: usize = 3000;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Configuration {
    defaults: Defaults,
    exemptions: Exemptions,
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
    metrics: PodSecurityMetrics,
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
        let whole = attributes.subresource.is_empty();
        matches!(operation, Operation::Create | Operation::Update)
            && (pods || whole && (template_path(attributes).is_some() || is_namespace(attributes)))
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if is_namespace(attributes) {
            return self.judge_namespace(attributes);
        }
        let notes = &attributes.notes;
        if let Some(exempt) = self.exempt(attributes) {
            notes.annotate(format!("{LABEL}exempt"), exempt);
            self.metrics.exempted(attributes);
            return Ok(());
        }
        let namespace = self.objects.get("", "namespaces", "", attributes.namespace);
        let labels = namespace.as_ref().map_or(&Value::Null, |namespace| &namespace["metadata"]["labels"]);
        let (Policies { enforce, audit, warn }, errors) = self.configured.defaults.policies(labels);
        if !errors.is_empty() {
            self.metrics.failed(attributes);
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            notes.annotate(format!("{LABEL}error"), format!("Failed to parse policy: {}", errors.join(", ")));
        }
        let judge = |mode, policy| {
            let found = found(attributes, policy);
            self.metrics.evaluated(attributes, mode, policy, found.is_none());
            found
        };
        if let Some(found) = judge("audit", audit) {
            let text = format!("would violate PodSecurity \"{audit}\": {found}");
            notes.annotate(format!("{LABEL}audit-violations"), text);
        }
        if &*attributes.kind.plural == "pods" {
            notes.annotate(format!("{LABEL}enforce-policy"), enforce.to_string());
            if let Some(found) = judge("enforce", enforce) {
                return Err(attributes.forbidden(format!("violates PodSecurity \"{enforce}\": {found}")));
            }
        }
        if let Some(found) = judge("warn", warn) {
            notes.warn(format!("would violate PodSecurity \"{warn}\": {found}"));
        }
        Ok(())
    }
}

impl PodSecurity {
    /// The plugin with its configuration.
    ///
    /// # Errors
    /// A level or version that is none.
    pub fn new(
        objects: Arc<dyn Objects>,
        configurations: &Configurations,
        metrics: PodSecurityMetrics,
    ) -> Result<Self, ConfigError> {
        let versions = ["pod-security.admission.config.k8s.io/v1"];
        let configured = configurations.of(NAME, "PodSecurityConfiguration", &versions)?;
        let configured: Configuration = configured.unwrap_or_default();
        configured.defaults.check().map_err(|text| configurations.invalid(NAME, text))?;
        Ok(Self { objects, configured, metrics })
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
        let pod = attributes.object.as_ref().and_then(|object| judged(attributes, object));
        pod.is_some_and(|pod| self.is_exempt_class(pod)).then_some("runtimeClass")
    }

    /// Refuses labels that ask for nothing known, and warns of pods that would not be let in any more.
    fn judge_namespace(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let Some(object) = &attributes.object else { return Ok(()) };
        let (asked, errors) = self.configured.defaults.policies(&object["metadata"]["labels"]);
        let old = attributes.old.as_ref();
        let before = old.map(|old| self.configured.defaults.policies(&old["metadata"]["labels"]));
        let told =
            |errors: &[knarr_api::field::Error]| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        // What was stored wrong is no reason to refuse other changes.
        if !errors.is_empty() && before.as_ref().is_none_or(|(_, before)| told(before) != told(&errors)) {
            return Err(Status::invalid("", "Namespace", attributes.name, &errors));
        }
        let (now, Some((Policies { enforce: before, .. }, _))) = (asked.enforce, before) else {
            return Ok(());
        };
        let relaxed = now.minor == before.minor && now.level <= before.level;
        let exempt = self.configured.exemptions.namespaces.iter().any(|exempt| exempt == attributes.name);
        if now.level.is_some() && !relaxed && !exempt {
            self.warn_of_pods(attributes, now);
        }
        Ok(())
    }

    fn warn_of_pods(&self, attributes: &Attributes<'_>, policy: Policy) {
        let Some(level) = policy.level else { return };
        let namespace = attributes.name;
        let pods = self.objects.list("", "pods", Some(namespace));
        if pods.len() > CHECKED {
            attributes.notes.warn(format!(
                "new PodSecurity enforce level only checked against the first {CHECKED} of {} existing pods",
                pods.len()
            ));
        }
        let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for pod in pods.iter().take(CHECKED).filter(|pod| !self.is_exempt_class(pod)) {
            let found = violations(pod, level, policy.minor);
            if !found.is_empty() {
                let titles: Vec<&str> = found.iter().map(|found| title(found)).collect();
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                alike.entry(titles.join(", ")).or_default().push(name);
            }
        }
        if !alike.is_empty() {
            attributes.notes.warn(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{policy}\""
            ));
        }
        let mut lines: Vec<String> = alike.iter().map(|(reason, pods)| line(reason, pods)).collect();
        lines.sort_unstable();
        lines.into_iter().for_each(|line| attributes.notes.warn(line));
    }

    fn is_exempt_class(&self, pod: &Value) -> bool {
        let class = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
        !class.is_empty() && self.configured.exemptions.runtime_classes.iter().any(|exempt| exempt == class)
    }
}

/// Pods that violate the same: `a (and 2 other pods): host namespaces`.
fn line(reason: &str, pods: &[&str]) -> String {
    let first = pods.iter().min().copied().unwrap_or_default();
    match pods.len() - 1 {
        0 => format!("{first}: {reason}"),
        1 => format!("{first} (and 1 other pod): {reason}"),
        others => format!("{first} (and {others} other pods): {reason}"),
    }
}

fn is_namespace(attributes: &Attributes<'_>) -> bool {
    attributes.kind.gvk.group.is_empty() && &*attributes.kind.plural == "namespaces"
}

/// The pod of an object, or its template of pods.
fn judged<'a>(attributes: &Attributes<'_>, object: &'a Value) -> Option<&'a Value> {
    match template_path(attributes) {
        Some(path) => object.pointer(path),
        None => Some(object),
    }
}

/// What violates a policy.
fn found(attributes: &Attributes<'_>, policy: Policy) -> Option<String> {
    let level = policy.level?;
    let pod = judged(attributes, attributes.object.as_ref()?)?;
    // An update that leaves the spec alone is not judged again.
    let old = attributes.old.as_ref().map(|old| judged(attributes, old).unwrap_or(&Value::Null));
    if old.is_some_and(|old| old["spec"] == pod["spec"]) {
        return None;
    }
    let found = violations(pod, level, policy.minor);
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
