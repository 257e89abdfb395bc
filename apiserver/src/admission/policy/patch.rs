//! What mutations make of an object.
use super::super::webhook::mutate::settle;
use super::super::webhook::review::type_of;
use super::super::{Attributes, webhook::matching::Invocation};
use super::compiled::Mutation;
use knarr_api::cel::Val;
use knarr_api::cel::value::{List, Map};
use knarr_api::managed_fields::apply::merge_part;
use knarr_api::patch::json::Patch;
use knarr_api::{Value, defaults};

/// The object after a mutation whose expression gave a value.
///
/// # Errors
/// A value that is no change of the object, in words.
pub fn change(
    attributes: &Attributes<'_>,
    invocation: &Invocation,
    mutation: &Mutation,
    before: &Value,
    value: &Val<'_>,
) -> Result<Value, String> {
    let mut after = before.clone();
    if mutation.is_patch {
        let document = document(value)?;
        let failed = |error: &dyn std::fmt::Display| format!("JSON Patch: {error}");
        Patch::decode(&document).map_err(|e| failed(&e))?.apply(&mut after).map_err(|e| failed(&e))?;
    } else {
        merge(attributes, invocation, &mut after, value)?;
    }
    for kept in ["apiVersion", "kind"] {
        after[kept] = before[kept].clone();
    }
    settle(attributes, invocation, &mut after)?;
    if let Some((api, ty)) = type_of(attributes, invocation) {
        defaults::apply(&api, ty, &mut after);
    }
    Ok(after)
}

/// A list of `JSONPatch` objects as the document it stands for.
fn document(value: &Val<'_>) -> Result<Value, String> {
    let wrong = |found: &Val<'_>| {
        format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got {}",
            found.type_name()
        )
    };
    let Val::List(list) = value else { return Err(wrong(value)) };
    let mut operations = Vec::new();
    for item in List::iter(list) {
        match &item {
            Val::Map(Map::Object(decl, _)) if decl.name == "JSONPatch" => {
                let mut operation = item.to_json()?;
                if let Some(members) = operation.as_object_mut()
                    && matches!(members.get("op").and_then(Value::as_str), Some("add" | "replace" | "test"))
                {
                    members.entry("value").or_insert(Value::Null);
                }
                operations.push(operation);
            }
            other => return Err(wrong(other)),
        }
    }
    Ok(Value::Array(operations))
}

fn merge(
    attributes: &Attributes<'_>,
    invocation: &Invocation,
    object: &mut Value,
    value: &Val<'_>,
) -> Result<(), String> {
    if !matches!(value, Val::Map(Map::Object(decl, _)) if decl.name == "Object") {
        return Err(format!(
            "must evaluate to Object, not {}: an apply configuration is constructed as Object{{…}}",
            value.type_name()
        ));
    }
    named(value, "Object").map_err(|fault| format!("type mismatch: {fault}"))?;
    let mut part = value.to_json()?;
    for kept in ["apiVersion", "kind"] {
        part[kept] = object[kept].clone();
    }
    let row = invocation.row.as_deref().or_else(|| attributes.siblings.map(|siblings| siblings.row));
    let Some(row) = row else { return Err("the kind of the object is not known".to_owned()) };
    merge_part(&row.api, &row.kind, object, part).map_err(|fault| format!("error applying patch: {fault}"))
}

/// Every constructed object has the type of the place it is at: `Object.spec` at `spec`.
fn named(value: &Val<'_>, expected: &str) -> Result<(), String> {
    match value {
        Val::Map(Map::Object(decl, fields)) => {
            if decl.name != expected {
                let path = expected.strip_prefix("Object.").unwrap_or("");
                return Err(format!(
                    "unexpected type name {:?}, expected {expected:?}, which matches field name path from root Object \
                     type ({path})",
                    decl.name
                ));
            }
            fields.iter().try_for_each(|(name, value)| named(value, &format!("{expected}.{name}")))
        }
        Val::List(list @ List::Made(_)) => list.iter().try_for_each(|item| named(&item, expected)),
        Val::Map(map @ Map::Made(_)) => {
            map.entries().iter().try_for_each(|(_, value)| named(value, expected))
        }
        Val::Optional(Some(inner)) => named(inner, expected),
        _ => Ok(()),
    }
}
