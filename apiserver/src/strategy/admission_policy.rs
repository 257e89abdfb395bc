//! Admission policies and their bindings. Who names parameters must be able to read them, for expressions do.
//!
//! As ValidatingAdmissionPolicies are written, their expressions are checked against the types of what they concern, and
//! `status.typeChecking` says what cannot be right. The original leaves that to a controller, which comes to the same a
//! moment later.
use super::{Scene, Strategy};
use crate::authz::Attributes;
use crate::registry::object;
use crate::storage::Key;
use knarr_api::Value;
use knarr_api::cel::kinds::{self, Known};
use knarr_api::field::{Error, ErrorList};
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

    fn check(&self, scene: &Scene<'_>, object: &Value, old: Option<&Value>) -> ErrorList {
        readable_kind(scene, object, old)
    }
}

/// Rules of `mutatingadmissionpolicies`.
pub struct MutatingAdmissionPolicy;

impl Strategy for MutatingAdmissionPolicy {
    fn check(&self, scene: &Scene<'_>, object: &Value, old: Option<&Value>) -> ErrorList {
        readable_kind(scene, object, old)
    }
}

/// Rules of both kinds of bindings.
pub struct Binding {
    /// The resource of the policies.
    pub policies: &'static str,
}

impl Strategy for Binding {
    fn check(&self, scene: &Scene<'_>, object: &Value, old: Option<&Value>) -> ErrorList {
        let (spec, wanted) = (&object["spec"], &object["spec"]["paramRef"]);
        let same = |old: &Value| {
            old["spec"]["paramRef"] == *wanted && old["spec"]["policyName"] == spec["policyName"]
        };
        if !wanted.is_object() || old.is_some_and(same) {
            return ErrorList::new();
        }
        let key = Key::new(&format!("{GROUP}/{}", self.policies), "", object::text(spec, &["policyName"]));
        let policy =
            scene.registry.store.get(&key).and_then(|stored| stored.value().ok()).unwrap_or_default();
        let parameters = Parameters::of(scene, &policy["spec"]["paramKind"]);
        let text = |name: &str| wanted[name].as_str().unwrap_or_default();
        let verb = if text("name").is_empty() { "list" } else { "get" };
        let attributes =
            Attributes { verb, name: text("name"), namespace: text("namespace"), ..parameters.attributes() };
        if scene.registry.hooks.may(scene.user, &attributes) {
            return ErrorList::new();
        }
        let user = &scene.user.name;
        let detail =
            format!("user {user} does not have {verb:?} permission on the object referenced by paramRef");
        vec![Error::forbidden("spec.paramRef", detail)]
    }
}

const GROUP: &str = "admissionregistration.k8s.io";

/// The resource that a `paramKind` names; everything where it names none.
struct Parameters {
    group: String,
    version: String,
    resource: String,
}

impl Parameters {
    fn of(scene: &Scene<'_>, kind: &Value) -> Self {
        let all = || "*".to_owned();
        let (Some(api_version), Some(name)) = (kind["apiVersion"].as_str(), kind["kind"].as_str()) else {
            return Self { group: all(), version: all(), resource: all() };
        };
        let (group, version) = split_api_version(api_version);
        let row = scene.registry.rows.kind(group, version, name);
        let resource = row.map_or_else(all, |row| row.kind.plural.to_string());
        Self { group: group.to_owned(), version: version.to_owned(), resource }
    }

    fn attributes(&self) -> Attributes<'_> {
        let (group, version, resource) = (&self.group, &self.version, &self.resource);
        Attributes { group, version, resource, is_resource: true, ..Attributes::default() }
    }
}

fn readable_kind(scene: &Scene<'_>, object: &Value, old: Option<&Value>) -> ErrorList {
    let kind = &object["spec"]["paramKind"];
    if !kind.is_object() || old.is_some_and(|old| old["spec"]["paramKind"] == *kind) {
        return ErrorList::new();
    }
    let parameters = Parameters::of(scene, kind);
    let attributes = Attributes { verb: "get", name: "*", namespace: "*", ..parameters.attributes() };
    if scene.registry.hooks.may(scene.user, &attributes) {
        return ErrorList::new();
    }
    let text = |name: &str| object::text(kind, &[name]);
    let detail = format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        scene.user.name,
        text("kind"),
        text("apiVersion")
    );
    vec![Error::forbidden("spec.paramKind", detail)]
}

fn check(scene: &Scene<'_>, value: &mut Value, generation: i64) {
    let spec = &value["spec"];
    let rows = &scene.registry.rows;
    let mut known: Vec<Known> = Vec::new();
    for rule in object::list(spec, &["matchConstraints", "resourceRules"]) {
        let texts =
            |name: &str| object::list(rule, &[name]).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        if texts("apiGroups").contains(&"*") || texts("apiVersions").contains(&"*") {
            continue;
        }
        for group in texts("apiGroups") {
            for version in texts("apiVersions") {
                for resource in texts("resources") {
                    // Wildcards and subresources are not checked.
                    let Some(row) = rows.find(group, version, resource) else { continue };
                    let gvk = &row.kind.gvk;
                    let name = format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind);
                    if known.len() < KINDS && !known.iter().any(|kind| kind.name == name) {
                        known.push(Known { name, decl: kinds::declare(&row.api, &row.kind) });
                    }
                }
            }
        }
    }
    known.sort_by(|a, b| a.name.cmp(&b.name));
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
