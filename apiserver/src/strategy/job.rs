//! Jobs select their pods by a label that the server makes from the Job's UID.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::{Object, Value};
use serde_json::json;

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Rules of `jobs`.
pub struct Job;

impl Strategy for Job {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        if object::at(value, &["spec", "manualSelector"]).and_then(Value::as_bool) == Some(true) {
            return;
        }
        let (uid, name) = (object::uid(value).to_owned(), object::name(value).to_owned());
        let spec = object::child_mut(value, "spec");
        let template = spec.entry("template").or_insert_with(|| Value::Object(Object::new()));
        let labels =
            object::meta_mut(template).entry("labels").or_insert_with(|| Value::Object(Object::new()));
        let Some(labels) = labels.as_object_mut() else { return };
        // A label of another value is the client's mistake: the selector must not then pretend to match, and
        // validation refuses the template.
        for (key, wanted) in
            [(CONTROLLER_UID, &uid), (JOB_NAME, &name), ("controller-uid", &uid), ("job-name", &name)]
        {
            if !labels.contains_key(key) {
                labels.insert(key.to_owned(), wanted.clone().into());
            }
        }
        let labels = Value::Object(labels.clone());
        let selector = spec.entry("selector").or_insert_with(|| json!({}));
        let match_labels = object::child_mut(selector, "matchLabels");
        match_labels.entry(CONTROLLER_UID).or_insert_with(|| uid.into());
        // A Job without labels has those of its pods.
        if object::meta(value).get("labels").and_then(Value::as_object).is_none_or(Object::is_empty) {
            object::set_meta(value, "labels", Some(labels));
        }
    }
}
