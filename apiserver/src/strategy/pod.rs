//! Pods: first status, graceful deletion, what `status`, `resize` and `ephemeralcontainers` may change.
use super::{Scene, Strategy, qos};
use crate::registry::object;
use knarr_api::Value;
use serde_json::json;

/// Rules of `pods`.
pub struct Pod;

impl Strategy for Pod {
    fn prepare_create(&self, scene: &Scene<'_>, value: &mut Value) {
        let mut status = json!({"phase": "Pending", "qosClass": qos::class(value)});
        if !object::list(value, &["spec", "schedulingGates"]).is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": object::time(scene.now),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        value["status"] = status;
        merge_label_keys(value);
    }

    fn prepare_status(&self, _scene: &Scene<'_>, value: &mut Value, old: &Value) {
        object::copy_meta(value, old, "ownerReferences");
        if object::text(value, &["status", "qosClass"]).is_empty() {
            let class = match object::text(old, &["status", "qosClass"]) {
                "" => qos::class(old),
                class => class,
            };
            let class: Value = class.into();
            object::child_mut(value, "status").insert("qosClass".into(), class);
        }
    }

    fn grace(&self, value: &Value, asked: Option<i64>) -> Option<i64> {
        let own = object::at(value, &["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64);
        let unscheduled = object::text(value, &["spec", "nodeName"]).is_empty();
        let ended = matches!(object::text(value, &["status", "phase"]), "Failed" | "Succeeded");
        let seconds = if unscheduled || ended { 0 } else { asked.or(own).unwrap_or(30) };
        Some(if seconds < 0 { 1 } else { seconds })
    }
}

/// `matchLabelKeys` of affinity terms and spread constraints become requirements of their selectors.
fn merge_label_keys(value: &mut Value) {
    let labels = object::meta(value).get("labels").cloned().unwrap_or_default();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = value.pointer_mut(&format!("/spec/affinity/{kind}")) else { continue };
        if let Some(Value::Array(terms)) = affinity.get_mut("requiredDuringSchedulingIgnoredDuringExecution")
        {
            terms.iter_mut().for_each(|t| merge_term(t, &labels));
        }
        if let Some(Value::Array(terms)) = affinity.get_mut("preferredDuringSchedulingIgnoredDuringExecution")
        {
            terms
                .iter_mut()
                .filter_map(|t| t.get_mut("podAffinityTerm"))
                .for_each(|t| merge_term(t, &labels));
        }
    }
    if let Some(Value::Array(constraints)) = value.pointer_mut("/spec/topologySpreadConstraints") {
        constraints.iter_mut().for_each(|t| merge_term(t, &labels));
    }
}

fn merge_term(term: &mut Value, labels: &Value) {
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<String> =
            object::list(term, &[field]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        for key in keys {
            let Some(wanted) = labels.get(&key) else { continue };
            if term.get("labelSelector").is_none_or(Value::is_null) {
                continue;
            }
            let selector = object::child_mut(term, "labelSelector");
            let list = selector.entry("matchExpressions").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!({"key": key, "operator": operator, "values": [wanted]}));
            }
        }
    }
}

/// The `ephemeralcontainers` subresource: only that list comes from the request.
pub fn prepare_ephemeral(value: &mut Value, old: &Value) {
    let containers = object::at(value, &["spec", "ephemeralContainers"]).cloned();
    object::copy(value, old, "spec");
    object::copy(value, old, "status");
    keep_metadata(value, old);
    let spec = object::child_mut(value, "spec");
    match containers {
        Some(containers) => drop(spec.insert("ephemeralContainers".into(), containers)),
        None => drop(spec.remove("ephemeralContainers")),
    }
}

/// The `resize` subresource: only container resources and resize policies come from the request.
pub fn prepare_resize(value: &mut Value, old: &Value) {
    let mut spec = old.get("spec").cloned().unwrap_or_default();
    for list in ["containers", "initContainers"] {
        let wanted = object::list(value, &["spec", list]).to_vec();
        let Some(Value::Array(containers)) = spec.get_mut(list) else { continue };
        for container in containers {
            let Some(new) = wanted.iter().find(|w| w["name"] == container["name"]) else { continue };
            object::copy(container, new, "resources");
            object::copy(container, new, "resizePolicy");
        }
    }
    if let (Some(resources), Some(members)) =
        (object::at(value, &["spec", "resources"]), spec.as_object_mut())
    {
        members.insert("resources".into(), resources.clone());
    }
    value["spec"] = spec;
    object::copy(value, old, "status");
    keep_metadata(value, old);
}

/// The pod's class of quality of service.
pub fn class(value: &Value) -> &'static str {
    qos::class(value)
}

/// Metadata as stored; managed fields are the request's.
fn keep_metadata(value: &mut Value, old: &Value) {
    let managed = object::meta(value).get("managedFields").cloned();
    let version = object::meta(value).get("resourceVersion").cloned();
    object::copy(value, old, "metadata");
    object::set_meta(value, "managedFields", managed);
    object::set_meta(value, "resourceVersion", version);
}
