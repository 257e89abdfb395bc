//! Reading and changing the metadata of an object that is a plain JSON value.
//!
//! Readers never fail: what is absent or of the wrong type reads as empty. Objects have passed the table's
//! decoder before they come here, so types are right.
use knarr_api::time::Timestamp;
use knarr_api::{Object, Value};
use std::sync::LazyLock;

static EMPTY: LazyLock<Object> = LazyLock::new(Object::new);

/// The members of `metadata`.
pub fn meta(object: &Value) -> &Object {
    object.get("metadata").and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// The members of `metadata`, made when absent.
pub fn meta_mut(object: &mut Value) -> &mut Object {
    child_mut(object, "metadata")
}

/// The members of a child object, made when absent or not an object.
pub fn child_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Object {
    if !object.is_object() {
        *object = Value::Object(Object::new());
    }
    let Value::Object(members) = object else { unreachable!("made an object above") };
    let child = members.entry(name).or_insert_with(|| Value::Object(Object::new()));
    if !child.is_object() {
        *child = Value::Object(Object::new());
    }
    let Value::Object(child) = child else { unreachable!("made an object above") };
    child
}

/// The text at a path, empty when absent.
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The value at a path.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |v, name| v.get(*name))
}

/// The list at a path, empty when absent.
pub fn list<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// `metadata.‹name›` as text.
pub fn meta_text<'a>(object: &'a Value, name: &str) -> &'a str {
    meta(object).get(name).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    meta_text(object, "name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    meta_text(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    meta_text(object, "uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    meta_text(object, "resourceVersion")
}

/// Is the object being deleted?
pub fn deleting(object: &Value) -> bool {
    meta(object).get("deletionTimestamp").is_some_and(|t| !t.is_null())
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace(object: &Value) -> Option<i64> {
    meta(object).get("deletionGracePeriodSeconds").and_then(Value::as_i64)
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = meta(object).get("finalizers").and_then(Value::as_array);
    list.map(|l| l.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// `metadata.generation`, 0 when absent.
pub fn generation(object: &Value) -> i64 {
    meta(object).get("generation").and_then(Value::as_i64).unwrap_or(0)
}

/// A label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    meta(object).get("labels")?.get(key)?.as_str()
}

/// An annotation's value.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    meta(object).get("annotations")?.get(key)?.as_str()
}

/// Sets or removes a member of `metadata`.
pub fn set_meta(object: &mut Value, name: &str, value: Option<Value>) {
    let members = meta_mut(object);
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
}

/// Makes a member of `object` equal to that of `from`, absent where absent.
pub fn copy(object: &mut Value, from: &Value, name: &str) {
    let value = from.get(name).filter(|v| !v.is_null()).cloned();
    let Some(members) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
}

/// Makes a member of `metadata` equal to that of `from`, absent where absent.
pub fn copy_meta(object: &mut Value, from: &Value, name: &str) {
    let value = meta(from).get(name).cloned();
    set_meta(object, name, value);
}

/// Removes a top-level member.
pub fn remove(object: &mut Value, name: &str) {
    if let Some(members) = object.as_object_mut() {
        members.remove(name);
    }
}

/// A time as the API writes it, in whole seconds.
pub fn time(at: Timestamp) -> Value {
    Value::String(at.to_rfc3339())
}

/// The kind-independent part of `spec.‹name›` equality: absent equals null.
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    a.filter(|v| !v.is_null()) == b.filter(|v| !v.is_null())
}
