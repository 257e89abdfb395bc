//! Aggregated discovery: `APIGroupDiscoveryList` of `apidiscovery.k8s.io`.
use super::documents::{Group, Version, foreign, texts};
use knarr_api::Value;
use knarr_api::kind::{GroupVersionKind, Kind};
use serde_json::json;

/// The list of the core group or of all others.
pub(super) fn list(groups: &[Group<'_>], core: bool, version: &str) -> Value {
    let items: Vec<Value> = groups.iter().filter(|g| g.name.is_empty() == core).map(group).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn group(group: &Group<'_>) -> Value {
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    let versions: Vec<Value> = group.versions.iter().map(of_version).collect();
    json!({"metadata": metadata, "versions": versions})
}

fn of_version(version: &Version<'_>) -> Value {
    let resources: Vec<Value> = version.kinds.iter().map(|k| resource(k)).collect();
    json!({"version": version.name, "resources": resources, "freshness": "Current"})
}

fn response_kind(gvk: &GroupVersionKind, main: &GroupVersionKind) -> Value {
    match foreign(gvk, main) {
        Some(f) => json!({"group": &*f.group, "version": &*f.version, "kind": &*f.kind}),
        None => json!({"group": "", "version": "", "kind": &*gvk.kind}),
    }
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "resource": &*kind.plural,
        "responseKind": response_kind(&kind.gvk, &kind.gvk),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": &*kind.singular,
        "verbs": texts(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = texts(&kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = texts(&kind.categories);
    }
    let mut subs: Vec<_> = kind.subresources.iter().collect();
    subs.sort_by(|a, b| a.name.cmp(&b.name));
    let subs: Vec<Value> = subs
        .iter()
        .map(|s| {
            json!({
                "subresource": &*s.name,
                "responseKind": response_kind(&s.gvk, &kind.gvk),
                "verbs": texts(&s.verbs),
            })
        })
        .collect();
    if !subs.is_empty() {
        entry["subresources"] = Value::Array(subs);
    }
    entry
}
