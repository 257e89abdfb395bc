//! Group versions that others answer, in the documents of those of this server.
use super::documents;
use knarr_api::Value;
use knarr_api::table::builtin;
use serde_json::json;
use std::collections::BTreeMap;

/// A group version that is not of the kind table.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteVersion {
    /// Group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Priority of the group, and of the version within it; the higher is the earlier.
    pub priority: (i64, i64),
    /// The resources are what the server offers now, not what it was told to offer before it could not be reached.
    pub is_current: bool,
    /// In the form of aggregated discovery.
    pub resources: Value,
}

/// The priority of a group of this server: of the table, or that of custom resources. The group of aggregation itself
/// always comes first.
fn priority_of_group(name: &str) -> i64 {
    match builtin().group(name) {
        Some(group) => {
            let found = group.versions.iter().find_map(|version| version.priority);
            found.map_or(i64::MAX, |(group, _)| i64::from(group))
        }
        None => 1000,
    }
}

fn priority_of_version(group: &str, version: &str) -> i64 {
    let known = builtin().group(group).and_then(|g| g.versions.iter().find(|v| &*v.version == version));
    known.and_then(|version| version.priority).map_or(100, |(_, version)| i64::from(version))
}

impl RemoteVersion {
    /// Path of the group version.
    pub fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
}

/// The remote versions by group. One that this server has as well is the other's.
fn by_group(remotes: &[RemoteVersion]) -> BTreeMap<&str, Vec<&RemoteVersion>> {
    let mut groups: BTreeMap<&str, Vec<&RemoteVersion>> = BTreeMap::new();
    remotes.iter().for_each(|remote| groups.entry(&remote.group).or_default().push(remote));
    groups
}

/// `name`, `preferredVersion` and `versions` of a group with others' versions.
fn group_body(name: &str, known: &Value, remotes: &[&RemoteVersion]) -> Value {
    let mut versions: Vec<Value> = known["versions"].as_array().cloned().unwrap_or_default();
    versions.retain(|v| !remotes.iter().any(|remote| v["version"] == remote.version.as_str()));
    versions.extend(remotes.iter().map(
        |remote| json!({"groupVersion": format!("{name}/{}", remote.version), "version": remote.version}),
    ));
    sort_versions(name, &mut versions, remotes);
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

/// Adds others' group versions to an `APIGroupList`.
pub(super) fn into_list(list: &mut Value, remotes: &[RemoteVersion]) {
    let Some(groups) = list["groups"].as_array_mut() else { return };
    let name = |group: &Value| group["name"].as_str().unwrap_or_default().to_owned();
    for (own, remotes) in by_group(remotes) {
        let known = groups.iter().find(|group| name(group) == own).cloned().unwrap_or_default();
        place(groups, group_body(own, &known, &remotes), name, &remotes);
    }
}

/// The `APIGroup` of a name with others' versions; none where nobody has one.
pub(super) fn with_group(known: Option<Value>, name: &str, remotes: &[RemoteVersion]) -> Option<Value> {
    let Some(remotes) = by_group(remotes).remove(name) else { return known };
    let mut group = group_body(name, &known.unwrap_or_default(), &remotes);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// Adds others' group versions to aggregated discovery.
pub(super) fn into_aggregated(list: &mut Value, remotes: &[RemoteVersion]) {
    let Some(items) = list["items"].as_array_mut() else { return };
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    for (own, remotes) in by_group(remotes) {
        let known = items.iter().find(|item| name(item) == own).cloned();
        let mut group = known.unwrap_or_else(|| json!({"metadata": {"name": own}, "versions": []}));
        if let Some(versions) = group["versions"].as_array_mut() {
            versions.retain(|v| !remotes.iter().any(|remote| v["version"] == remote.version.as_str()));
            versions.extend(remotes.iter().map(|remote| {
                let freshness = if remote.is_current { "Current" } else { "Stale" };
                json!({"version": remote.version, "resources": remote.resources, "freshness": freshness})
            }));
            sort_versions(own, versions, &remotes);
        }
        place(items, group, name, &remotes);
    }
}

/// The higher priority first; of equals the more stable and newer.
fn sort_versions(group: &str, versions: &mut [Value], remotes: &[&RemoteVersion]) {
    versions.sort_by(|one, other| {
        let [one, other] = [one, other].map(|entry| {
            let version = entry["version"].as_str().unwrap_or_default();
            let remote = remotes.iter().find(|remote| remote.version == version);
            let priority = remote.map_or_else(|| priority_of_version(group, version), |r| r.priority.1);
            (priority, documents::version_rank(version))
        });
        other.cmp(&one)
    });
}

/// Puts a group where its priority wants it; one that is there is replaced in its place.
fn place(groups: &mut Vec<Value>, group: Value, name: impl Fn(&Value) -> String, remotes: &[&RemoteVersion]) {
    let own = name(&group);
    if let Some(present) = groups.iter_mut().find(|present| name(present) == own) {
        *present = group;
        return;
    }
    let priority = remotes.iter().map(|remote| remote.priority.0).max().unwrap_or(0);
    let later = |present: &Value| {
        let theirs = priority_of_group(&name(present));
        theirs < priority || (theirs == priority && name(present) > own)
    };
    let at = groups.iter().position(later).unwrap_or(groups.len());
    groups.insert(at, group);
}
