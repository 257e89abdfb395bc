//! `AdmissionReview`: what is asked, and what the answer says. No I/O.
use super::super::Attributes;
use super::matching::Invocation;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use knarr_api::schema::TypeId;
use knarr_api::status::{Details, Status};
use knarr_api::table::{ApiRef, builtin};
use knarr_api::{Value, json};
use serde_json::json;
use std::collections::BTreeMap;

/// The table and type of the object a webhook sees; none for what is in no table.
pub fn type_of(attributes: &Attributes<'_>, invocation: &Invocation) -> Option<(ApiRef, TypeId)> {
    let row = match (&invocation.row, &attributes.siblings) {
        (Some(row), _) => Some(&**row),
        (None, Some(siblings)) => Some(siblings.row),
        (None, None) => None,
    };
    let gvk = &invocation.gvk;
    match row.filter(|row| row.kind.gvk == *gvk) {
        Some(row) => Some((row.api.clone(), row.kind.ty)),
        None => Some((builtin().into(), builtin().type_of(&gvk.group, &gvk.version, &gvk.kind)?)),
    }
}

/// The objects as the webhook sees them.
#[derive(Debug, Default)]
pub struct Seen {
    /// The new object.
    pub object: Option<Value>,
    /// The stored one.
    pub old: Option<Value>,
}

/// The body of a request for review.
pub fn request(
    version: &str,
    uid: &str,
    attributes: &Attributes<'_>,
    invocation: &Invocation,
    seen: &Seen,
) -> Bytes {
    let mut request = facts(attributes, invocation);
    request["uid"] = uid.into();
    let ty = type_of(attributes, invocation);
    let raw = |object: &Option<Value>| match (object, &ty) {
        (Some(object), Some((api, ty))) => json::to_vec(&api.schema, *ty, object),
        (Some(object), None) => object.to_string().into_bytes(),
        (None, _) => b"null".to_vec(),
    };
    let head = request.to_string();
    let mut body =
        format!("{{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/{version}\",\"request\":")
            .into_bytes();
    body.extend_from_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
    body.extend_from_slice(b",\"object\":");
    body.extend_from_slice(&raw(&seen.object));
    body.extend_from_slice(b",\"oldObject\":");
    body.extend_from_slice(&raw(&seen.old));
    body.extend_from_slice(b"}}");
    body.into()
}

/// The attributes of a write as a request for review has them, but for the objects.
pub fn facts(attributes: &Attributes<'_>, invocation: &Invocation) -> Value {
    let kind = attributes.kind;
    let gvk = attributes.gvk();
    let mut request = json!({
        "kind": {"group": &*invocation.gvk.group, "version": &*invocation.gvk.version,
            "kind": &*invocation.gvk.kind},
        "resource": {"group": &*invocation.group, "version": &*invocation.version,
            "resource": &*invocation.plural},
        "requestKind": {"group": &*gvk.group, "version": &*gvk.version, "kind": &*gvk.kind},
        "requestResource": {"group": &*kind.gvk.group, "version": &*kind.gvk.version,
            "resource": &*kind.plural},
        "operation": attributes.operation.as_str(),
        "userInfo": user(attributes),
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    });
    for (name, text) in [
        ("subResource", attributes.subresource),
        ("requestSubResource", attributes.subresource),
        ("name", attributes.name),
        ("namespace", attributes.namespace),
    ] {
        if !text.is_empty() {
            request[name] = text.into();
        }
    }
    request
}

fn user(attributes: &Attributes<'_>) -> Value {
    let user = attributes.user;
    let mut info = json!({});
    if !user.name.is_empty() {
        info["username"] = user.name.as_str().into();
    }
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// What a webhook decided.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// The write may go on.
    pub allowed: bool,
    /// Why not.
    pub status: Value,
    /// A JSON Patch document.
    pub patch: Option<Value>,
    /// Texts for the client.
    pub warnings: Vec<String>,
    /// For the audit log, without the webhook's name.
    pub annotations: BTreeMap<String, String>,
}

/// An answer that is none.
#[derive(Debug, PartialEq)]
pub enum Fault {
    /// It cannot be read.
    Unreadable(String),
    /// It can be, and breaks the rules.
    Invalid(String),
    /// Its patch is no JSON.
    Patch(String),
    /// Its patch is of a type that the server does not know.
    PatchType(String),
}

/// Reads the answer to a review of a version.
///
/// # Errors
/// What is wrong with it.
pub fn verify(version: &str, uid: &str, mutating: bool, body: &[u8]) -> Result<Verdict, Fault> {
    let review = json::of_answer(body).map_err(|fault| {
        Fault::Unreadable(format!("couldn't get version/kind; json parse error: {fault}"))
    })?;
    if !review.is_object() {
        let text = "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct";
        return Err(Fault::Unreadable(text.to_owned()));
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err(Fault::Invalid("webhook response was absent".to_owned()));
    }
    let decision = Decision::of(response)?;
    if version == "v1" {
        check_identity(uid, &review, response)?;
    }
    let patch = patch(version, mutating, response)?;
    Ok(Verdict {
        allowed: decision.allowed.unwrap_or_default(),
        status: response["status"].clone(),
        patch,
        warnings: decision.warnings.into_iter().flatten().map(Option::unwrap_or_default).collect(),
        annotations: decision
            .annotations
            .into_iter()
            .flatten()
            .map(|(key, text)| (key, text.unwrap_or_default()))
            .collect(),
    })
}

/// What of an answer must be of its type for the answer to be one; null is the same as nothing.
#[derive(serde::Deserialize)]
struct Decision {
    allowed: Option<bool>,
    warnings: Option<Vec<Option<String>>>,
    #[serde(rename = "auditAnnotations")]
    annotations: Option<BTreeMap<String, Option<String>>>,
}

impl Decision {
    fn of(response: &Value) -> Result<Self, Fault> {
        serde::Deserialize::deserialize(response)
            .map_err(|error| Fault::Unreadable(format!("the response cannot be read: {error}")))
    }
}

fn check_identity(uid: &str, review: &Value, response: &Value) -> Result<(), Fault> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let given = text(&response["uid"]);
    if given != uid {
        return Err(Fault::Invalid(format!("expected response.uid={uid:?}, got {given:?}")));
    }
    let (api_version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
    if (api_version.as_str(), kind.as_str()) != ("admission.k8s.io/v1", "AdmissionReview") {
        let api_version = if api_version.is_empty() { "/".to_owned() } else { api_version };
        return Err(Fault::Invalid(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
        )));
    }
    Ok(())
}

fn patch(version: &str, mutating: bool, response: &Value) -> Result<Option<Value>, Fault> {
    let invalid = |text: &str| Err(Fault::Invalid(text.to_owned()));
    let encoded = response["patch"].as_str().unwrap_or_default();
    let ty = response["patchType"].as_str();
    if version == "v1" {
        match (mutating, encoded.is_empty(), ty) {
            (false, false, _) => return invalid("validating webhook may not return response.patch"),
            (false, true, Some(_)) => return invalid("validating webhook may not return response.patchType"),
            (true, false, None) => {
                return invalid("webhook returned response.patch but not response.patchType");
            }
            (true, true, Some(_)) => {
                return invalid("webhook returned response.patchType but not response.patch");
            }
            (true, false, Some("")) => {
                return invalid("webhook returned invalid response.patchType of \"\"");
            }
            (true, false, Some(other)) if other != "JSONPatch" => {
                return Err(Fault::PatchType(format!("unsupported patch type {other:?}")));
            }
            _ => {}
        }
    }
    if encoded.is_empty() || !mutating {
        return Ok(None);
    }
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| Fault::Unreadable("illegal base64 data in response.patch".to_owned()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Fault::Patch(error.to_string()))
}

/// A refusal as the client sees it.
pub fn refusal(webhook: &str, status: &Value) -> Status {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let text = |field: &str| status[field].as_str().filter(|text| !text.is_empty());
    let message = match text("message").or(text("reason")) {
        Some(why) => format!("{denied}: {why}"),
        None => format!("{denied} without explanation"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let mut refusal = Status::new(code.unwrap_or(400), text("reason").unwrap_or_default(), message);
    if status["details"].is_object() {
        refusal.details = serde_json::from_value::<Details>(status["details"].clone()).ok().map(Box::new);
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Vec<u8> {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn answers_are_checked() {
        let check = |mutating: bool, body: Vec<u8>, expected: &str| {
            let found = match verify("v1", "u", mutating, &body) {
                Ok(verdict) => format!("allowed={}", verdict.allowed),
                Err(Fault::Unreadable(text) | Fault::Invalid(text) | Fault::Patch(text)) => text,
                Err(Fault::PatchType(text)) => text,
            };
            assert!(found.starts_with(expected), "{found}");
        };
        check(true, answer(json!({"uid": "u", "allowed": true})), "allowed=true");
        check(true, answer(json!({"uid": "u"})), "allowed=false");
        check(true, answer(json!({"uid": "u", "allowed": null, "warnings": null})), "allowed=false");
        let unreadable = [
            json!({"uid": "u", "allowed": "yes"}),
            json!({"uid": "u", "allowed": true, "warnings": "w"}),
            json!({"uid": "u", "allowed": true, "warnings": [1]}),
            json!({"uid": "u", "allowed": true, "auditAnnotations": {"a": true}}),
        ];
        unreadable.into_iter().for_each(|wrong| check(true, answer(wrong), "the response cannot be read: "));
        check(true, answer(json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\"");
        check(true, answer(json!(null)), "webhook response was absent");
        check(true, b"oops".to_vec(), "couldn't get version/kind; json parse error:");
        check(true, b"[]".to_vec(), "couldn't get version/kind; json parse error:");
        let bare = json!({"response": {"uid": "u", "allowed": true}}).to_string().into_bytes();
        let text = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=";
        check(true, bare, text);
        let patch = STANDARD.encode("[]");
        let with = |ty: Value| answer(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": ty}));
        check(true, with(json!("JSONPatch")), "allowed=true");
        check(true, with(Value::Null), "webhook returned response.patch but not response.patchType");
        check(true, with(json!("Merge")), "unsupported patch type \"Merge\"");
        check(false, with(json!("JSONPatch")), "validating webhook may not return response.patch");
        let untyped = json!({"uid": "u", "patchType": "JSONPatch"});
        check(true, answer(untyped.clone()), "webhook returned response.patchType but not response.patch");
        check(false, answer(untyped), "validating webhook may not return response.patchType");
    }

    #[test]
    fn older_answers_are_checked_less() {
        let body = json!({"response": {"allowed": true, "patch": STANDARD.encode("[]")}}).to_string();
        let verdict = verify("v1beta1", "u", true, body.as_bytes()).unwrap();
        assert_eq!((verdict.allowed, verdict.patch), (true, Some(json!([]))));
    }

    #[test]
    fn refusals() {
        let check = |status: Value, code: u16, reason: &str, message: &str| {
            let found = refusal("w", &status);
            assert_eq!((found.code, &*found.reason, &*found.message), (code, reason, message));
        };
        let text = |why: &str| format!("admission webhook \"w\" denied the request{why}");
        check(Value::Null, 400, "", &text(" without explanation"));
        check(json!({"message": "no"}), 400, "", &text(": no"));
        check(json!({"code": 403, "reason": "Forbidden"}), 403, "Forbidden", &text(": Forbidden"));
        check(json!({"code": 200, "message": "no", "status": "Success"}), 400, "", &text(": no"));
    }
}
