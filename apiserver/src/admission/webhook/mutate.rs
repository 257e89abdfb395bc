//! What a changing webhook makes of the object.
use super::super::Attributes;
use super::Caller;
use super::call::{self, Failure};
use super::hooks::Hook;
use super::matching::Invocation;
use super::review;
use crate::outbound::internal;
use knarr_api::patch::json::Patch;
use knarr_api::status::Status;
use knarr_api::{Value, defaults, json};
use serde_json::json;

/// Asks a webhook and carries out its patch; did the object change?
///
/// # Errors
/// Its refusal, its failure, or a patch that does not fit the object.
pub async fn call(
    caller: &Caller,
    attributes: &mut Attributes<'_>,
    hook: &Hook,
    invocation: &Invocation,
) -> Result<bool, Failure> {
    let outcome = patched(caller, attributes, hook, invocation).await;
    let changed = matches!(outcome, Ok(true));
    let round = usize::from(attributes.reinvocation.is_second);
    let place = format!("mutation.webhook.admission.k8s.io/round_{round}_index_{}", hook.index);
    let note = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": changed});
    attributes.notes.annotate(place, note.to_string());
    outcome
}

async fn patched(
    caller: &Caller,
    attributes: &mut Attributes<'_>,
    hook: &Hook,
    invocation: &Invocation,
) -> Result<bool, Failure> {
    let (verdict, seen) = call::call(caller, attributes, hook, invocation, true).await?;
    let Some(document) = verdict.patch else { return Ok(false) };
    let failed = |text: &dyn std::fmt::Display| Failure::Other(internal(&text.to_string()));
    let patch = Patch::decode(&document).map_err(|error| failed(&error))?;
    if document.as_array().is_some_and(Vec::is_empty) {
        return Ok(false);
    }
    let Some(before) = seen.object else {
        return Err(failed(&format_args!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    };
    let mut after = before.clone();
    patch.apply(&mut after).map_err(|error| failed(&error))?;
    settle(attributes, invocation, &mut after).map_err(|text| failed(&text))?;
    let changed = after != before;
    if let Some((api, ty)) = review::type_of(attributes, invocation) {
        defaults::apply(&api, ty, &mut after);
    }
    let round = usize::from(attributes.reinvocation.is_second);
    let place = format!("patch.webhook.admission.k8s.io/round_{round}_index_{}", hook.index);
    let note = json!({"configuration": hook.configuration, "webhook": hook.name, "patch": document,
        "patchType": "JSONPatch"});
    attributes.notes.annotate(place, note.to_string());
    attributes.object = Some(back(attributes, invocation, after).await.map_err(|s| failed(&s.message))?);
    Ok(changed)
}

/// Reads the patched document as what it has to be.
///
/// # Errors
/// A document of another kind, or that does not fit its type.
pub fn settle(attributes: &Attributes<'_>, invocation: &Invocation, after: &mut Value) -> Result<(), String> {
    let gvk = &invocation.gvk;
    for (member, expected) in [("kind", gvk.kind.to_string()), ("apiVersion", gvk.api_version())] {
        if after[member] != expected.as_str() {
            return Err(format!("unable to convert object to {}, Kind={}", gvk.api_version(), gvk.kind));
        }
    }
    match review::type_of(attributes, invocation) {
        Some((api, ty)) => json::normalize(&api.schema, ty, after, &mut Vec::new())
            .map_err(|error| error.to_status(&gvk.version, &gvk.kind).message),
        None => Ok(()),
    }
}

/// The changed object in the version of the request.
///
/// # Errors
/// A conversion that failed.
pub async fn back(
    attributes: &Attributes<'_>,
    invocation: &Invocation,
    object: Value,
) -> Result<Value, Status> {
    match (&invocation.row, &attributes.siblings) {
        (Some(row), Some(siblings)) => siblings.from_version(object, row).await,
        _ => Ok(object),
    }
}
