//! ValidatingAdmissionPolicies: as they are written, their expressions are checked against the types of what they
//! concern, and `status.typeChecking` says what cannot be right. The original leaves that to a controller, which comes
//! to the same a moment later.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;
use knarr_api::cel::kinds::{self, Known};
use knarr_api::kind::split_api_version;
use serde_json::json;

/// The most kinds that one policy is checked against.
const KINDS: usize = 10;

/// Rules of `validatingadmissionpolicies`.
pub struct ValidatingAdmissionPolicy;

impl Strategy for ValidatingAdmissionPolicy {
    fn prepare_create(&self, scene: &Scene<'_>, value: &mut Value) {
        check(scene, value, 1);
    }

    fn prepare_update(&self, scene: &Scene<'_>, value: &mut Value, old: &Value) {
        let generation = object::generation(old);
        if value["spec"] != old["spec"] {
            check(scene, value, generation + 1);
        }
    }
}

fn check(scene: &Scene<'_>, value: &mut Value, generation: i64) {
    let spec = &value["spec"];
    let rows = &scene.registry.rows;
    let mut known: Vec<Known> = Vec::new();
    for rule in object::list(spec, &["matchConstraints", "resourceRules"]) {
        let texts =
            |name: &str| object::list(rule, &[name]).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        for group in texts("apiGroups") {
            for version in texts("apiVersions") {
                for resource in texts("resources") {
                    // Wildcards and subresources are not checked.
                    let Some(row) = rows.find(group, version, resource) else { continue };
                    let gvk = &row.kind.gvk;
                    let name = format!("{}, Kind={}", gvk.api_version(), gvk.kind);
                    if known.len() < KINDS && !known.iter().any(|kind| kind.name == name) {
                        known.push(Known { name, decl: kinds::declare(&row.api, &row.kind) });
                    }
                }
            }
        }
    }
    let kind = &spec["paramKind"];
    let text = |name: &str| kind[name].as_str().unwrap_or_default();
    let (group, version) = split_api_version(text("apiVersion"));
    let params = rows.kind(group, version, text("kind")).map(|row| kinds::declare(&row.api, &row.kind));
    let warnings = kinds::type_check(spec, &known, params.as_ref());
    let checked = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    let status = object::child_mut(value, "status");
    status.insert("observedGeneration".to_owned(), generation.into());
    status.insert("typeChecking".to_owned(), checked);
}
