//! Strategic Merge Patch: a merge patch that knows from the schema which lists merge, and by which key.
//!
//! Directives: `$patch: delete | replace` in objects and list items, `$retainKeys`, `$setElementOrder/LIST`,
//! `$deleteFromPrimitiveList/LIST`. Source: the community's "Strategic Merge Patch" design; where that is silent,
//! and in the order of merged lists and the error texts, the original's behaviour.
mod order;

use super::Error;
use crate::go_text;
use crate::json::json_type;
use crate::schema::{Field, Schema, Shape, TypeId};
use crate::{Object, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";

/// Applies `patch` to an object of the type `ty`; after an error `target` is in an undefined state.
pub fn apply(schema: &Schema, ty: TypeId, target: &mut Value, patch: Value) -> Result<(), Error> {
    let unfit = json_type(&patch);
    let (Value::Object(object), Value::Object(patch)) = (target, patch) else {
        return Err(Error::Malformed(format!(
            "json: cannot unmarshal {unfit} into Go value of type map[string]interface {{}}"
        )));
    };
    merge_object(&Scope { schema, shape: Some(&Shape::Struct(ty)) }, object, patch)
}

/// What is known of the object being merged.
struct Scope<'s> {
    schema: &'s Schema,
    /// None where the schema ends: merged without keys.
    shape: Option<&'s Shape>,
}

/// What the schema says of one member.
struct Member<'s> {
    scope: Scope<'s>,
    /// Lists merge; for objects: do not replace.
    merge: bool,
    replace: bool,
    key: Option<&'s str>,
}

impl<'s> Scope<'s> {
    fn member(&self, name: &str) -> Member<'s> {
        let field: Option<&Field> = match self.shape {
            Some(Shape::Struct(ty)) => self.schema.json_field(*ty, name),
            _ => None,
        };
        let shape = match (field, self.shape) {
            (Some(field), _) => Some(&field.shape),
            (None, Some(Shape::Map(inner))) => Some(&**inner),
            _ => None,
        };
        Member {
            scope: Scope { schema: self.schema, shape },
            merge: field.is_some_and(|f| f.patch.merge),
            replace: field.is_some_and(|f| f.patch.replace),
            key: field.and_then(|f| f.patch_key.as_deref()),
        }
    }
}

impl<'s> Member<'s> {
    /// The scope of the list's items.
    fn item(&self) -> Scope<'s> {
        let shape = match self.scope.shape {
            Some(Shape::List(inner)) => Some(&**inner),
            _ => None,
        };
        Scope { schema: self.scope.schema, shape }
    }
}

fn merge_object(scope: &Scope<'_>, target: &mut Object, mut patch: Object) -> Result<(), Error> {
    if let Some(directive) = patch.remove(PATCH) {
        match directive.as_str() {
            Some("replace") => *target = without_directives(patch),
            Some("delete") => target.clear(),
            _ => return Err(unknown_directive(&directive, &patch)),
        }
        return Ok(());
    }
    retain_keys(target, &mut patch)?;
    let orders: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in orders {
        set_order(scope, target, &mut patch, &directive)?;
    }
    for (name, value) in patch {
        if name.starts_with(DELETE_FROM) {
            delete_from(
                target,
                list_of(&name, DELETE_FROM, "invalid patch format of primitive list")?,
                value,
            )?;
        } else if value.is_null() {
            target.remove(&name);
        } else {
            merge_member(scope, target, name, value)?;
        }
    }
    Ok(())
}

fn merge_member(scope: &Scope<'_>, target: &mut Object, name: String, value: Value) -> Result<(), Error> {
    let member = scope.member(&name);
    match (target.get_mut(&name), value) {
        (Some(Value::Object(old)), Value::Object(new)) if !member.replace => {
            merge_object(&member.scope, old, new)
        }
        (Some(Value::Array(old)), Value::Array(new)) if member.merge => merge_list(&member, old, new),
        (_, value) => {
            if let Some(value) = cleaned(value) {
                target.insert(name, value);
            }
            Ok(())
        }
    }
}

/// `$retainKeys`: members of `target` that it does not list are removed; it must list those of the patch.
fn retain_keys(target: &mut Object, patch: &mut Object) -> Result<(), Error> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || Error::Malformed("invalid patch format of retainKeys".to_owned());
    let keys = directive.as_array().ok_or_else(bad)?;
    let listed = |name: &str| keys.iter().any(|k| k == name);
    let directive = |name: &str| name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !directive(name) && !listed(name)) {
        return Err(bad());
    }
    target.retain(|name, _| listed(name));
    Ok(())
}

/// `$deleteFromPrimitiveList/LIST`.
fn delete_from(target: &mut Object, list: &str, values: Value) -> Result<(), Error> {
    match (target.get_mut(list), values) {
        (Some(Value::Array(old)), Value::Array(values)) => old.retain(|item| !values.contains(item)),
        (_, Value::Array(_)) => {}
        _ => return Err(Error::Malformed("invalid patch format of primitive list".to_owned())),
    }
    Ok(())
}

/// `$setElementOrder/LIST`: merges the list and brings it into the order given.
fn set_order(scope: &Scope<'_>, target: &mut Object, patch: &mut Object, name: &str) -> Result<(), Error> {
    let list = list_of(name, SET_ORDER, "invalid patch format of setElementOrder list")?;
    let directive = patch.remove(name).unwrap_or_default();
    let order = array(directive)?;
    let new = patch.remove(list).map(array).transpose()?;
    let old = target.get_mut(list).map(Value::take).map(array).transpose()?;
    let member = scope.member(list);
    if let Some(new) = &new {
        order::check(new, &order, member.key)?;
    }
    let server_order = old.clone().unwrap_or_default();
    let merged = match (old, new) {
        (Some(old), None) => old,
        (None, Some(new)) => new.into_iter().filter_map(cleaned).collect(),
        (Some(mut old), Some(new)) if member.merge => {
            merge_list(&member, &mut old, new)?;
            old
        }
        (Some(_), Some(new)) => new,
        (None, None) => return Ok(()),
    };
    let merged = order::arrange(merged, &order, &server_order, member.key);
    target.insert(list.to_owned(), Value::Array(merged));
    Ok(())
}

fn merge_list(member: &Member<'_>, target: &mut Vec<Value>, patch: Vec<Value>) -> Result<(), Error> {
    let mut items = target.iter().chain(&patch);
    if items.clone().any(Value::is_array) {
        return Err(Error::DoesNotApply("lists of lists are not supported".to_owned()));
    }
    let objects = items.clone().next().is_some_and(Value::is_object);
    if items.any(|item| item.is_object() != objects) {
        return Err(Error::Unprocessable("list element types are not identical".to_owned()));
    }
    if !objects {
        let server_order = target.clone();
        let mut merged: Vec<Value> = Vec::with_capacity(target.len() + patch.len());
        for item in target.drain(..).chain(patch.iter().cloned()) {
            if !merged.contains(&item) {
                merged.push(item);
            }
        }
        *target = order::arrange(merged, &patch, &server_order, None);
        return Ok(());
    }
    let key =
        member.key.ok_or_else(|| Error::Unprocessable("cannot merge lists without merge key".to_owned()))?;
    merge_keyed(member, key, target, patch)
}

/// Merges a list of objects by their merge key.
fn merge_keyed(
    member: &Member<'_>,
    key: &str,
    target: &mut Vec<Value>,
    patch: Vec<Value>,
) -> Result<(), Error> {
    let mut changes = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let Value::Object(mut item) = item else { continue };
        match item.remove(PATCH) {
            None => changes.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let value = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
                    target.retain(|old| old.get(key) != Some(value));
                }
                Some("replace") => replace = true,
                Some("merge") => {
                    let text = "merging lists cannot yet be specified in the patch";
                    return Err(Error::Unprocessable(text.to_owned()));
                }
                _ => return Err(unknown_directive(&directive, &item)),
            },
        }
    }
    if replace {
        *target = changes.into_iter().map(|item| Value::Object(without_directives(item))).collect();
        return Ok(());
    }
    let scope = member.item();
    let order: Vec<Value> = changes.iter().map(|item| key_only(item, key)).collect();
    let server_order: Vec<Value> =
        target.iter().filter_map(Value::as_object).map(|item| key_only(item, key)).collect();
    for item in changes {
        let value = item.get(key).filter(|v| !v.is_null()).ok_or_else(|| no_merge_key(&item, key))?;
        match target.iter_mut().find(|old| old.get(key) == Some(value)) {
            Some(Value::Object(old)) => merge_object(&scope, old, item)?,
            _ => target.push(Value::Object(without_directives(item))),
        }
    }
    *target = order::arrange(std::mem::take(target), &order, &server_order, Some(key));
    Ok(())
}

fn key_only(item: &Object, key: &str) -> Value {
    Value::Object(item.get_key_value(key).map(|(k, v)| (k.clone(), v.clone())).into_iter().collect())
}

/// The list that a directive `PREFIX/LIST` speaks of.
fn list_of<'n>(name: &'n str, prefix: &str, fault: &str) -> Result<&'n str, Error> {
    let list = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
    list.ok_or_else(|| Error::Malformed(fault.to_owned()))
}

fn array(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(items) => Ok(items),
        other => {
            let kind = if other.is_object() { "map[string]interface {}" } else { "string" };
            Err(Error::Unprocessable(format!("expected a []interface {{}}, but received a {kind}")))
        }
    }
}

/// A value that has nothing to merge with: without nulls in objects, directives and deleted items.
fn cleaned(value: Value) -> Option<Value> {
    match value {
        Value::Object(object) if object.get(PATCH).is_some_and(|d| d == "delete") => None,
        Value::Object(object) => Some(Value::Object(without_directives(object))),
        Value::Array(items) => {
            let items = items.into_iter().filter(|item| item.get(PATCH).is_none_or(|d| d != "replace"));
            Some(Value::Array(items.filter_map(cleaned).collect()))
        }
        other => Some(other),
    }
}

fn without_directives(object: Object) -> Object {
    let directive =
        |name: &str| [PATCH, RETAIN_KEYS, SET_ORDER, DELETE_FROM].iter().any(|d| name.starts_with(d));
    let members = object.into_iter().filter(|(name, value)| !value.is_null() && !directive(name));
    members.filter_map(|(name, value)| Some((name, cleaned(value)?))).collect()
}

fn no_merge_key(item: &Object, key: &str) -> Error {
    let item = go_text::plain(&Value::Object(item.clone()));
    Error::Unprocessable(format!("map: {item} does not contain declared merge key: {key}"))
}

fn unknown_directive(directive: &Value, item: &Object) -> Error {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), ToOwned::to_owned);
    Error::Unprocessable(format!(
        "unknown patch type: {directive} in map: {}",
        go_text::plain(&Value::Object(item.clone()))
    ))
}

#[cfg(test)]
mod tests;
