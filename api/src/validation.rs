//! Validation: every rule of every kind over JSON documents, all faults of an object at once, with the original's
//! paths and words.
//!
//! Objects must be decoded and defaulted before. The table of [`RULES`] names what a kind has beyond its metadata;
//! a kind without a row gets the rules of metadata, and a test finds such kinds.
//! What a field alone must be is a row of [`constraints`]; what it must be among others is code. Sources: API conventions, the reference documentation of
//! each kind, and the original's behaviour.
mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod constraints;
mod core;
mod cursor;
mod discovery;
mod flowcontrol;
mod labels;
mod metadata;
mod net;
mod networking;
mod pod;
mod policy;
mod preview;
mod rbac;
mod resource;
mod resources;
mod service;
mod sources;
mod storage;
mod warnings;
mod webhook_client;

pub use policy::SYSTEM_CLASSES;
pub use warnings::warnings;

use crate::Value;
use crate::field::ErrorList;
use crate::kind::Kind;
use crate::names;
use cursor::{At, Report};

/// What one kind has beyond its metadata.
#[derive(Clone, Copy)]
struct Rules {
    /// What its names must look like.
    name: fn(&str) -> Vec<String>,
    /// Rules of the object on its own; for creates and updates.
    object: fn(&At<'_>),
    /// Rules of a change; the second is the old object.
    update: fn(&At<'_>, &Value),
    /// Rules of a change of the status.
    status: fn(&At<'_>, &Value),
}

impl Rules {
    /// Nothing but metadata, with DNS subdomains as names.
    const PLAIN: Self =
        Self { name: names::dns_subdomain, object: |_| {}, update: |_, _| {}, status: |_, _| {} };
}

/// The rows of all kinds by group.
const RULES: &[(&str, &[(&str, Rules)])] = &[
    ("", core::RULES),
    ("", pod::RULES),
    ("", service::RULES),
    ("", discovery::CORE_RULES),
    ("", policy::CORE_RULES),
    ("", storage::CORE_RULES),
    ("admissionregistration.k8s.io", admissionregistration::RULES),
    ("apiextensions.k8s.io", apiextensions::RULES),
    ("apiregistration.k8s.io", apiregistration::RULES),
    ("apps", apps::RULES),
    ("autoscaling", autoscaling::RULES),
    ("batch", batch::RULES),
    ("certificates.k8s.io", certificates::RULES),
    ("certificates.k8s.io", preview::CERTIFICATE_RULES),
    ("coordination.k8s.io", policy::COORDINATION_RULES),
    ("coordination.k8s.io", preview::COORDINATION_RULES),
    ("discovery.k8s.io", discovery::RULES),
    ("events.k8s.io", core::EVENTS_RULES),
    ("flowcontrol.apiserver.k8s.io", flowcontrol::RULES),
    ("internal.apiserver.k8s.io", preview::INTERNAL_RULES),
    ("networking.k8s.io", networking::RULES),
    ("node.k8s.io", policy::NODE_RULES),
    ("policy", policy::RULES),
    ("rbac.authorization.k8s.io", rbac::RULES),
    ("resource.k8s.io", preview::RESOURCE_RULES),
    ("resource.k8s.io", resource::RULES),
    ("scheduling.k8s.io", policy::SCHEDULING_RULES),
    ("scheduling.k8s.io", preview::SCHEDULING_RULES),
    ("storage.k8s.io", storage::RULES),
    ("storagemigration.k8s.io", preview::MIGRATION_RULES),
];

/// The row of a kind.
fn row(kind: &Kind) -> Option<Rules> {
    let rows = RULES.iter().filter(|(group, _)| **group == *kind.gvk.group).flat_map(|(_, rows)| *rows);
    rows.copied().find(|(name, _)| **name == *kind.gvk.kind).map(|(_, rules)| rules)
}

fn rules(kind: &Kind) -> Rules {
    row(kind).unwrap_or(Rules::PLAIN)
}

/// Groups of kinds whose finalizers may have any name, as those of custom resources: the original's API server validates
/// them by the rules that hold for all objects alone.
const FREE_FINALIZERS: [&str; 4] =
    ["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "coordination.k8s.io"];

fn check_finalizers(kind: &Kind, at: &At<'_>) {
    if row(kind).is_some() && !FREE_FINALIZERS.contains(&&*kind.gvk.group) {
        metadata::owned_finalizers(&at.get("metadata.finalizers"));
    }
}

/// The faults of an object to be created.
pub fn create(kind: &Kind, object: &Value) -> ErrorList {
    let rules = rules(kind);
    collect(object, None, |at| {
        metadata::create(&at.get("metadata"), kind.namespaced, rules.name);
        check_finalizers(kind, at);
        (rules.object)(at);
    })
}

/// The faults of the metadata of an object within another one; it is cluster-scoped where it names no namespace.
pub fn metadata_of(metadata: &Value, path: &str) -> ErrorList {
    let report = Report::default();
    let namespaced = metadata["namespace"].as_str().is_some_and(|namespace| !namespace.is_empty());
    metadata::create(&At::part(metadata, path, &report), namespaced, names::path_segment);
    report.into_errors()
}

/// The faults of the labels and annotations of an object, whatever else it is.
pub fn labels_and_annotations(object: &Value) -> ErrorList {
    collect(object, None, |at| {
        let metadata = at.get("metadata");
        labels::labels(&metadata.get("labels"));
        metadata::annotations(&metadata.get("annotations"));
    })
}

/// The faults of a change through the main resource; `old` is the live object.
pub fn update(kind: &Kind, new: &Value, old: &Value) -> ErrorList {
    let rules = rules(kind);
    collect(new, Some(old), |at| {
        metadata::update(&at.get("metadata"), &old["metadata"], kind.unconditional_update);
        check_finalizers(kind, at);
        (rules.object)(at);
        (rules.update)(at, old);
    })
}

/// The faults of a change through the `status` subresource.
pub fn status_update(kind: &Kind, new: &Value, old: &Value) -> ErrorList {
    let rules = rules(kind);
    collect(new, Some(old), |at| {
        metadata::update(&at.get("metadata"), &old["metadata"], kind.unconditional_update);
        check_finalizers(kind, at);
        (rules.status)(at, old);
    })
}

/// The faults of a change of a pod through `ephemeralcontainers`.
pub fn ephemeral_containers(new: &Value, old: &Value) -> ErrorList {
    collect(new, Some(old), |at| pod::ephemeral_containers(at, old))
}

/// The faults of a change of a pod through `resize`; `classes` are its classes of quality of service after and before.
pub fn resize(new: &Value, old: &Value, classes: [&str; 2]) -> ErrorList {
    collect(new, Some(old), |at| pod::resize(at, old, classes[0], classes[1]))
}

fn collect(object: &Value, before: Option<&Value>, check: impl FnOnce(&At<'_>)) -> ErrorList {
    let report = Report::new(before);
    check(&At::root(object, &report));
    report.into_errors()
}

#[cfg(test)]
mod tests;
