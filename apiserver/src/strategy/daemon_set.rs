//! DaemonSets carry the generation of their template in an annotation.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Rules of `daemonsets`.
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        set(value, 1);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, old: &Value) {
        let before = object::annotation(old, TEMPLATE_GENERATION).and_then(|t| t.parse().ok()).unwrap_or(1);
        let template = |o: &Value| object::at(o, &["spec", "template"]).cloned();
        set(value, if template(value) == template(old) { before } else { before + 1 });
    }
}

fn set(value: &mut Value, generation: i64) {
    let meta = object::meta_mut(value);
    let annotations = meta.entry("annotations").or_insert_with(|| Value::Object(knarr_api::Object::new()));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
    }
}
