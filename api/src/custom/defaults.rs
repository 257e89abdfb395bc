//! Defaults of a structural schema.
use super::Custom;
use crate::Value;

/// Sets the defaults of an object in place. Nulls that the schema does not allow are removed first, so that a default
/// takes their place.
pub fn apply(custom: &Custom, object: &mut Value) {
    members(&custom.schema, object);
}

fn nullable(schema: &Value) -> bool {
    schema["nullable"] == true || schema["type"].is_null() && schema["x-kubernetes-int-or-string"] != true
}

fn members(schema: &Value, value: &mut Value) {
    let properties = schema["properties"].as_object();
    let additional = Some(&schema["additionalProperties"]).filter(|a| a.is_object());
    match value {
        Value::Object(object) => {
            let child = |name: &str| properties.and_then(|p| p.get(name)).or(additional);
            object.retain(|name, member| !member.is_null() || child(name).is_none_or(nullable));
            for (name, child) in properties.into_iter().flatten() {
                if let Some(default) = child.get("default")
                    && !object.contains_key(name)
                {
                    object.insert(name.clone(), default.clone());
                }
            }
            for (name, member) in object.iter_mut() {
                if let Some(child) = child(name) {
                    members(child, member);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            items.iter_mut().for_each(|item| members(&schema["items"], item));
        }
        _ => {}
    }
}
