//! CertificateSigningRequests: who asked is what the server saw, not what the client says.
use super::{Scene, Strategy};
use crate::registry::object;
use base64::Engine;
use knarr_api::Value;
use knarr_api::field::{Error, ErrorList};
use serde_json::json;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// Rules of `certificatesigningrequests`.
pub struct SigningRequest;

impl Strategy for SigningRequest {
    fn prepare_create(&self, scene: &Scene<'_>, value: &mut Value) {
        let user = scene.user;
        let spec = object::child_mut(value, "spec");
        for name in ["username", "uid", "groups", "extra"] {
            spec.remove(name);
        }
        spec.insert("username".into(), user.name.clone().into());
        if !user.uid.is_empty() {
            spec.insert("uid".into(), user.uid.clone().into());
        }
        if !user.groups.is_empty() {
            spec.insert("groups".into(), json!(user.groups));
        }
        if !user.extra.is_empty() {
            spec.insert("extra".into(), json!(user.extra));
        }
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, old: &Value) {
        object::copy(value, old, "spec");
    }

    fn check(&self, _scene: &Scene<'_>, object: &Value, old: Option<&Value>) -> ErrorList {
        let request = object::at(object, &["spec", "request"]).unwrap_or(&Value::Null);
        match (old, signed(request.as_str().unwrap_or_default())) {
            (None, Err(fault)) => vec![Error::invalid("spec.request", request, fault)],
            _ => ErrorList::new(),
        }
    }

    fn prepare_status(&self, scene: &Scene<'_>, value: &mut Value, old: &Value) {
        keep_decisions(value, old, |kind| matches!(kind, "Approved" | "Denied"));
        stamp(value, old, scene);
    }
}

/// Whether a request, PEM in base64, is signed with the key it is about. What is no PEM block at all is for the API's
/// own validation to say.
fn signed(request: &str) -> Result<(), String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(request).unwrap_or_default();
    let Ok((_, block)) = x509_parser::pem::parse_x509_pem(&bytes) else { return Ok(()) };
    let (_, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|error| format!("x509: malformed certificate request: {error}"))?;
    request.verify_signature().map_err(|error| format!("x509: {error}"))
}

/// The approval subresource: conditions from the request, all else of status as stored.
pub fn prepare_approval(scene: &Scene<'_>, value: &mut Value, old: &Value) {
    let conditions = value.get("status").and_then(|s| s.get("conditions")).cloned();
    object::copy(value, old, "spec");
    object::copy(value, old, "status");
    let status = object::child_mut(value, "status");
    match conditions {
        Some(conditions) => drop(status.insert("conditions".into(), conditions)),
        None => drop(status.remove("conditions")),
    }
    keep_decisions(value, old, |kind| kind == "Failed");
    stamp(value, old, scene);
}

/// Conditions of the kinds that this path may not touch stay as stored.
fn keep_decisions(value: &mut Value, old: &Value, kept: impl Fn(&str) -> bool) {
    let kind = |c: &Value| c["type"].as_str().unwrap_or_default().to_owned();
    let stored: Vec<Value> =
        object::list(old, &["status", "conditions"]).iter().filter(|c| kept(&kind(c))).cloned().collect();
    let status = object::child_mut(value, "status");
    let mut conditions: Vec<Value> = match status.remove("conditions") {
        Some(Value::Array(list)) => list.into_iter().filter(|c| !kept(&kind(c))).collect(),
        _ => Vec::new(),
    };
    conditions.extend(stored);
    if !conditions.is_empty() {
        status.insert("conditions".into(), Value::Array(conditions));
    }
}

/// Fills the times of new and changed conditions.
fn stamp(value: &mut Value, old: &Value, scene: &Scene<'_>) {
    let now = object::time(scene.now);
    let stored = object::list(old, &["status", "conditions"]).to_vec();
    let Some(Value::Array(conditions)) = object::child_mut(value, "status").get_mut("conditions") else {
        return;
    };
    for condition in conditions.iter_mut() {
        let before = stored.iter().find(|c| c["type"] == condition["type"]);
        let same = before.is_some_and(|b| b["status"] == condition["status"]);
        let before_time = before.and_then(|b| b.get("lastTransitionTime")).cloned();
        let Some(members) = condition.as_object_mut() else { continue };
        let unset = |members: &knarr_api::Object, name: &str| members.get(name).is_none_or(Value::is_null);
        if unset(members, "lastUpdateTime") {
            members.insert("lastUpdateTime".into(), now.clone());
        }
        if unset(members, "lastTransitionTime") {
            let time = before_time.filter(|_| same).unwrap_or_else(|| now.clone());
            members.insert("lastTransitionTime".into(), time);
        }
    }
}
