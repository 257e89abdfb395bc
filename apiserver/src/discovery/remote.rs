//! Group versions that others answer, in the documents of those of this server.
use super::{Discovery, Document, documents};
use knarr_api::Value;
use knarr_api::table::builtin;
use serde_json::json;
use std::cmp::Reverse;

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

impl Discovery {
    /// Adds others' group versions. One that this server has as well is the other's.
    pub fn add(&mut self, remotes: &[RemoteVersion]) {
        let mut groups: Vec<&str> = remotes.iter().map(|remote| remote.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let of_group: Vec<&RemoteVersion> = remotes.iter().filter(|r| r.group == group).collect();
            self.add_group(group, &of_group);
            for version in ["v2", "v2beta1"] {
                self.add_aggregated(group, version, &of_group);
            }
        }
        let theirs = remotes.iter().map(|remote| format!("/apis/{}/{}", remote.group, remote.version));
        let mut paths: Vec<String> =
            self.plain.keys().filter(|path| !path.is_empty()).cloned().chain(theirs).collect();
        paths.sort_unstable();
        paths.dedup();
        self.plain.insert(String::new(), Document::new(documents::paths(paths.iter())));
    }

    /// The group's own document and its entry in the list of groups.
    fn add_group(&mut self, name: &str, remotes: &[&RemoteVersion]) {
        let path = format!("/apis/{name}");
        let known = self.plain.get(&path).map(|document| document.value["versions"].clone());
        let mut versions: Vec<Value> = known.and_then(|v| v.as_array().cloned()).unwrap_or_default();
        versions.retain(|v| !remotes.iter().any(|remote| v["version"] == remote.version.as_str()));
        let of_remote = |remote: &&RemoteVersion| json!({"groupVersion": format!("{name}/{}", remote.version), "version": remote.version});
        versions.extend(remotes.iter().map(of_remote));
        sort_versions(name, &mut versions, remotes);
        let body = json!({"name": name, "preferredVersion": versions.first(), "versions": versions});
        let mut group = body.clone();
        group["kind"] = "APIGroup".into();
        group["apiVersion"] = "v1".into();
        self.plain.insert(path, Document::new(group));
        let Some(list) = self.plain.get("/apis") else { return };
        let mut list = list.value.clone();
        if let Some(groups) = list["groups"].as_array_mut() {
            place(groups, body, |group| group["name"].as_str().unwrap_or_default().to_owned(), remotes);
        }
        self.plain.insert("/apis".to_owned(), Document::new(list));
    }

    fn add_aggregated(&mut self, name: &str, form: &'static str, remotes: &[&RemoteVersion]) {
        let key = ("/apis".to_owned(), form);
        let Some(document) = self.aggregated.get(&key) else { return };
        let mut list = document.value.clone();
        let Some(items) = list["items"].as_array_mut() else { return };
        let known = items.iter().find(|item| item["metadata"]["name"] == name);
        let mut group = known.cloned().unwrap_or_else(|| json!({"metadata": {"name": name}, "versions": []}));
        if let Some(versions) = group["versions"].as_array_mut() {
            versions.retain(|v| !remotes.iter().any(|remote| v["version"] == remote.version.as_str()));
            versions.extend(remotes.iter().map(|remote| {
                let freshness = if remote.is_current { "Current" } else { "Stale" };
                json!({"version": remote.version, "resources": remote.resources, "freshness": freshness})
            }));
            sort_versions(name, versions, remotes);
        }
        place(items, group, |item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned(), remotes);
        self.aggregated.insert(key, Document::new(list));
    }
}

/// The higher priority first; of equals the more stable and newer.
fn sort_versions(group: &str, versions: &mut [Value], remotes: &[&RemoteVersion]) {
    versions.sort_by_key(|entry| {
        let version = entry["version"].as_str().unwrap_or_default();
        let remote = remotes.iter().find(|remote| remote.version == version);
        let priority = remote.map_or_else(|| priority_of_version(group, version), |r| r.priority.1);
        Reverse((priority, documents::version_rank(version)))
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
