//! Namespaces live until `spec.finalizers` is empty, which only the `finalize` subresource changes.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;
use serde_json::json;

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Rules of `namespaces`.
pub struct Namespace;

impl Strategy for Namespace {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        value["status"] = json!({"phase": "Active"});
        let spec = object::child_mut(value, "spec");
        let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|f| f == "kubernetes")
        {
            list.push("kubernetes".into());
        }
        label(value);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, old: &Value) {
        let kept = object::at(old, &["spec", "finalizers"]).cloned();
        let spec = object::child_mut(value, "spec");
        match kept {
            Some(kept) => drop(spec.insert("finalizers".into(), kept)),
            None => drop(spec.remove("finalizers")),
        }
        label(value);
    }

    fn may_vanish(&self, value: &Value) -> bool {
        object::list(value, &["spec", "finalizers"]).is_empty()
    }
}

/// The label every Namespace carries, so that selectors can name one.
fn label(value: &mut Value) {
    let name: Value = object::name(value).into();
    let labels = object::meta_mut(value).entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(NAME_LABEL.to_owned(), name);
    }
}

/// The `finalize` subresource: `spec.finalizers` from the request, all else as stored.
pub fn prepare_finalize(value: &mut Value, old: &Value) {
    object::copy(value, old, "status");
}
