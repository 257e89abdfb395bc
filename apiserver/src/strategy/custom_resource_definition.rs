//! CustomResourceDefinitions remember every version that objects were ever stored in.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;
use serde_json::json;

/// Rules of `customresourcedefinitions`.
pub struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        value["status"] =
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
        remember(value);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, _old: &Value) {
        remember(value);
    }
}

/// Adds the version that is stored now.
fn remember(value: &mut Value) {
    let stored = |version: &&Value| version["storage"] == true;
    let versions = object::list(value, &["spec", "versions"]);
    let Some(name) = versions.iter().find(stored).map(|version| version["name"].clone()) else { return };
    let status = object::child_mut(value, "status");
    let list = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut().filter(|list| !list.contains(&name)) {
        list.push(name);
    }
}
