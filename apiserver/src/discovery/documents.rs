//! The legacy discovery documents: `APIVersions`, `APIGroupList`, `APIGroup`, `APIResourceList`.
use knarr_api::Value;
use knarr_api::kind::{GroupVersionKind, Kind};
use serde_json::json;
use std::cmp::Reverse;
use std::sync::Arc;

/// Built-in groups in the order clients see them (the original's group priorities, highest first).
const ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
];

/// A served group.
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    /// Preferred version first.
    pub(super) versions: Vec<Version<'a>>,
}

/// A served version of a group with its resources by name.
pub(super) struct Version<'a> {
    pub(super) name: &'a str,
    pub(super) kinds: Vec<&'a Kind>,
}

/// Groups in discovery order; versions with the preferred one first; resources by plural.
pub(super) fn groups<'k>(kinds: impl Iterator<Item = &'k Kind>) -> Vec<Group<'k>> {
    let mut groups: Vec<Group<'k>> = Vec::new();
    for kind in kinds {
        let at = groups.iter().position(|g| *g.name == *kind.gvk.group).unwrap_or_else(|| {
            groups.push(Group { name: &kind.gvk.group, versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        let at = versions.iter().position(|v| *v.name == *kind.gvk.version).unwrap_or_else(|| {
            versions.push(Version { name: &kind.gvk.version, kinds: Vec::new() });
            versions.len() - 1
        });
        versions[at].kinds.push(kind);
    }
    for group in &mut groups {
        group.versions.sort_by_key(|v| Reverse(version_rank(v.name)));
        for version in &mut group.versions {
            version.kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
        }
    }
    let rank = |name: &str| ORDER.iter().position(|o| *o == name).unwrap_or(ORDER.len());
    groups.sort_by(|a, b| rank(a.name).cmp(&rank(b.name)).then(a.name.cmp(b.name)));
    groups
}

/// Stability, then major, then minor: `v2` > `v1` > `v1beta2` > `v1alpha1`; other names come after all of these, by the
/// alphabet.
pub(super) fn version_rank(name: &str) -> (u8, u32, u32, Reverse<&str>) {
    let parsed = || {
        let rest = name.strip_prefix('v')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (major, tail) = rest.split_at(digits);
        let (stability, minor) = match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(minor), _) => (2, number(minor)?),
            (_, Some(minor)) => (1, number(minor)?),
            _ if tail.is_empty() => (3, 0),
            _ => return None,
        };
        Some((stability, number(major)?, minor, Reverse("")))
    };
    parsed().unwrap_or((0, 0, 0, Reverse(name)))
}

/// What `/` lists: every path that answers, but resources.
pub(super) fn paths<'a>(documents: impl Iterator<Item = &'a String>) -> Value {
    let others = [
        "/.well-known/openid-configuration",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    let mut paths: Vec<&str> = documents.map(String::as_str).chain(others).collect();
    paths.sort_unstable();
    json!({"paths": paths})
}

pub(super) fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

fn group_body(group: &Group<'_>) -> Value {
    let version =
        |v: &Version<'_>| json!({"groupVersion": format!("{}/{}", group.name, v.name), "version": v.name});
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

pub(super) fn group_list(groups: &[Group<'_>]) -> Value {
    let listed: Vec<Value> = groups.iter().filter(|g| !g.name.is_empty()).map(group_body).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
}

pub(super) fn group(group: &Group<'_>) -> Value {
    let mut body = group_body(group);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    body
}

pub(super) fn resource_list(group: &str, version: &Version<'_>) -> Value {
    let mut resources = Vec::new();
    for kind in &version.kinds {
        resources.push(main_resource(kind));
        let mut subs: Vec<_> = kind.subresources.iter().collect();
        subs.sort_by(|a, b| a.name.cmp(&b.name));
        for sub in subs {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, sub.name),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": &*sub.gvk.kind,
                "verbs": texts(&sub.verbs),
            });
            if let Some(foreign) = foreign(&sub.gvk, &kind.gvk) {
                entry["group"] = (*foreign.group).into();
                entry["version"] = (*foreign.version).into();
            }
            resources.push(entry);
        }
    }
    let group_version =
        if group.is_empty() { version.name.to_owned() } else { format!("{group}/{}", version.name) };
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}

fn main_resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": &*kind.plural,
        "singularName": &*kind.singular,
        "namespaced": kind.namespaced,
        "kind": &*kind.gvk.kind,
        "verbs": texts(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = texts(&kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = texts(&kind.categories);
    }
    if !kind.storage_hash.is_empty() {
        entry["storageVersionHash"] = (*kind.storage_hash).into();
    }
    entry
}

/// A list of texts.
pub(super) fn texts(list: &[Arc<str>]) -> Value {
    list.iter().map(|t| Value::from(&**t)).collect()
}

/// The subresource's kind where it belongs to another group version than its resource.
pub(super) fn foreign<'a>(
    sub: &'a GroupVersionKind,
    main: &GroupVersionKind,
) -> Option<&'a GroupVersionKind> {
    (sub.group != main.group || sub.version != main.version).then_some(sub)
}

#[cfg(test)]
mod tests {
    use super::{Reverse, version_rank};

    #[test]
    fn versions_rank() {
        let mut names = vec!["foo", "v1beta1", "v2", "bar10", "v1alpha3", "v1", "vx", "v1beta2", "v1beta"];
        names.sort_by_key(|n| Reverse(version_rank(n)));
        assert_eq!(names, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha3", "bar10", "foo", "v1beta", "vx"]);
    }
}
