//! PersistentVolumes and their claims.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;
use serde_json::json;

/// Rules of `persistentvolumes`.
pub struct Volume;

impl Strategy for Volume {
    fn prepare_create(&self, scene: &Scene<'_>, value: &mut Value) {
        value["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": object::time(scene.now)});
    }

    fn prepare_status(&self, scene: &Scene<'_>, value: &mut Value, old: &Value) {
        let phase = |o: &Value| object::text(o, &["status", "phase"]).to_owned();
        let time = |o: &Value| object::at(o, &["status", "lastPhaseTransitionTime"]).cloned();
        if phase(value) != phase(old) && time(value) == time(old) {
            let now = object::time(scene.now);
            object::child_mut(value, "status").insert("lastPhaseTransitionTime".into(), now);
        }
    }
}

/// Rules of `persistentvolumeclaims`.
pub struct Claim;

impl Strategy for Claim {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        value["status"] = json!({"phase": "Pending"});
        drop_unknown_source(value);
        unify_sources(value);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, _old: &Value) {
        unify_sources(value);
    }
}

/// `dataSource` names a claim or a snapshot; what else there is goes, as the original has it, and is for
/// `dataSourceRef`.
fn drop_unknown_source(value: &mut Value) {
    let source = object::child_mut(value, "spec");
    let known = source.get("dataSource").is_some_and(|source| {
        matches!(
            (source["apiGroup"].as_str().unwrap_or_default(), source["kind"].as_str().unwrap_or_default()),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    });
    if !known {
        source.remove("dataSource");
    }
}

/// `dataSource` and `dataSourceRef` say the same where the reference stays in the namespace.
fn unify_sources(value: &mut Value) {
    let spec = object::child_mut(value, "spec");
    let source = spec.get("dataSource").filter(|v| !v.is_null()).cloned();
    let reference = spec.get("dataSourceRef").filter(|v| !v.is_null()).cloned();
    match (source, reference) {
        (Some(source), None) => drop(spec.insert("dataSourceRef".into(), source)),
        (None, Some(reference)) if object::text(&reference, &["namespace"]).is_empty() => {
            drop(spec.insert("dataSource".into(), reference));
        }
        _ => {}
    }
}
