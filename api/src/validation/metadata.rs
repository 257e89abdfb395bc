//! Rules of `metadata`, the same for all kinds.
use super::cursor::At;
use super::labels;
use crate::{Value, names};

/// All keys and values of annotations together.
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Finalizers that need no domain.
pub(super) const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Members that an update may not change.
const IMMUTABLE: [&str; 6] =
    ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

/// Rules of a create.
pub(super) fn create(metadata: &At<'_>, namespaced: bool, name: fn(&str) -> Vec<String>) {
    metadata.get("generateName").format_if_set(|prefix| name(&names::mask_trailing_dash(prefix)));
    if metadata.get("name").is_empty() {
        metadata.get("name").required("name or generateName is required");
    } else {
        metadata.get("name").format(name);
    }
    let namespace = metadata.get("namespace");
    if namespaced {
        namespace.required_format(names::dns_label);
    } else if !namespace.is_empty() {
        namespace.forbidden("not allowed on this type");
    }
    metadata.get("generation").not_negative();
    common(metadata);
    finalizers(&metadata.get("finalizers"));
}

/// Rules of a change.
pub(super) fn update(metadata: &At<'_>, old: &Value, unconditional: bool) {
    if !old["deletionTimestamp"].is_null() {
        no_new_finalizers(&metadata.get("finalizers"), &old["finalizers"]);
    }
    let version = metadata.get("resourceVersion");
    if version.is_empty() && !unconditional {
        version.invalid_text("", "must be specified for an update");
    }
    let generation = metadata.get("generation");
    if generation.int().unwrap_or(0) < old["generation"].as_i64().unwrap_or(0) {
        generation.invalid("must not be decremented");
    }
    for name in IMMUTABLE {
        metadata.get(name).immutable(&old[name]);
    }
    common(metadata);
    finalizers(&metadata.get("finalizers"));
}

/// Rules of the metadata of a template: it has no name of its own.
pub(super) fn template(metadata: &At<'_>) {
    labels::labels(&metadata.get("labels"));
    annotations(&metadata.get("annotations"));
    for finalizer in metadata.get("finalizers").items() {
        finalizer.format(names::qualified_name);
    }
}

fn common(metadata: &At<'_>) {
    labels::labels(&metadata.get("labels"));
    annotations(&metadata.get("annotations"));
    owner_references(&metadata.get("ownerReferences"));
}

pub(super) fn annotations(annotations: &At<'_>) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        for fault in names::qualified_name(&key.to_lowercase()) {
            annotations.invalid_text(key, fault);
        }
        size += key.len() + value.text().len();
    }
    if size > ANNOTATIONS_MAX {
        annotations.too_long(ANNOTATIONS_MAX);
    }
}

fn owner_references(references: &At<'_>) {
    let mut controller: Option<String> = None;
    for reference in references.items() {
        let at = |name: &str| references.get(name).with(reference.get(name).value());
        let (group, version) = crate::kind::split_api_version(reference.get("apiVersion").text());
        if version.is_empty() {
            at("apiVersion").invalid_text(reference.get("apiVersion").text(), "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if reference.get(name).is_empty() {
                at(name).invalid_text("", "must not be empty");
            }
        }
        let kind = reference.get("kind").text();
        if (group, version, kind) == ("", "v1", "Event") {
            let owner = references.with(reference.value());
            owner.invalid(format!("{group}/{version}, Kind={kind} is disallowed from being an owner"));
        }
        if reference.get("controller").is_true() {
            let name = format!("{kind}/{}", reference.get("name").text());
            match &controller {
                Some(first) => references.invalid(format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                     and {name}"
                )),
                None => controller = Some(name),
            }
        }
    }
}

fn finalizers(finalizers: &At<'_>) {
    let names: Vec<&str> = finalizers.items().map(|f| f.text()).collect();
    for name in &names {
        for fault in names::qualified_name(name) {
            finalizers.invalid_text(name, fault);
        }
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        finalizers.invalid("finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// Finalizers of kinds whose finalizers name their owner.
pub(super) fn owned_finalizers(finalizers: &At<'_>) {
    for finalizer in finalizers.items() {
        if !finalizer.text().contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.text()) {
            finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

fn no_new_finalizers(finalizers: &At<'_>, old: &Value) {
    let known = |name: &Value| old.as_array().is_some_and(|old| old.contains(name));
    let mut extra: Vec<&str> = finalizers.items().filter(|f| !known(f.value())).map(|f| f.text()).collect();
    extra.sort_unstable();
    if !extra.is_empty() {
        let extra: Vec<String> = extra.into_iter().map(|name| format!("{name:?}")).collect();
        finalizers.forbidden(format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            extra.join(", ")
        ));
    }
}

/// A list of `meta/v1` conditions.
pub(super) fn conditions(list: &At<'_>) {
    list.unique("type");
    for condition in list.items() {
        condition.get("type").required_format(names::qualified_name);
        condition.get("status").one_of(&["False", "True", "Unknown"]);
        if condition.get("observedGeneration").int().is_some_and(|generation| generation < 0) {
            condition.get("observedGeneration").invalid("must be greater than or equal to zero");
        }
        for name in ["lastTransitionTime", "reason"] {
            if condition.get(name).is_empty() {
                condition.get(name).required("must be set");
            }
        }
        condition.get("reason").format_if_set(condition_reason);
        for (name, limit) in [("reason", 1024), ("message", 32 * 1024)] {
            if condition.get(name).text().len() > limit {
                condition.get(name).too_long(limit);
            }
        }
    }
}

fn condition_reason(text: &str) -> Vec<String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_,:".contains(c);
    let end = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && text.ends_with(end) && text.chars().all(inner) {
        return Vec::new();
    }
    vec![names::rule(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
         characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}
