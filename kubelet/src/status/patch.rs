//! The smallest strategic merge patch from one status to another.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// Fields whose lists are merged by a key instead of being replaced.
const MERGED: [(&str, &str); 3] = [("conditions", "type"), ("podIPs", "ip"), ("hostIPs", "ip")];

/// A patch of `status` that turns `old` into `new`; `None` if they say the same.
pub fn between(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) =
        (serde_json::to_value(old), serde_json::to_value(new))
    else {
        return None;
    };
    let (old, new) = (without_empty(old), without_empty(new));
    let mut changes = Map::new();
    for (field, value) in &new {
        let before = old.get(field);
        if before == Some(value) {
            continue;
        }
        let change = match MERGED.iter().find(|(name, _)| name == field) {
            Some((_, key)) => merged(key, before, value),
            None => value.clone(),
        };
        if change.as_array().is_some_and(|list| list.is_empty() && before.is_some()) {
            continue;
        }
        changes.insert(field.clone(), change);
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        changes.insert(field.clone(), Value::Null);
    }
    if changes.is_empty() {
        return None;
    }
    Some(json!({ "metadata": { "uid": uid }, "status": changes }))
}

/// Drops what says nothing: null, `{}` and `[]`, which the server may add or leave out.
fn without_empty(map: Map<String, Value>) -> Map<String, Value> {
    let keep = |value: Value| -> Option<Value> {
        match value {
            Value::Null => None,
            Value::Object(map) => Some(Value::Object(without_empty(map))).filter(|v| v != &json!({})),
            Value::Array(list) => {
                let inner = |item| match item {
                    Value::Object(map) => Value::Object(without_empty(map)),
                    other => other,
                };
                Some(Value::Array(list.into_iter().map(inner).collect())).filter(|v| v != &json!([]))
            }
            other => Some(other),
        }
    };
    map.into_iter().filter_map(|(key, value)| Some((key, keep(value)?))).collect()
}

/// Changed and new items of a list merged by `key`, and deletions of those that went.
fn merged(key: &str, old: Option<&Value>, new: &Value) -> Value {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (old, new) = (list(old), list(Some(new)));
    let mut items: Vec<Value> = new.iter().filter(|item| !old.contains(item)).cloned().collect();
    for item in &old {
        if !new.iter().any(|other| other.get(key) == item.get(key)) {
            items.push(json!({ "$patch": "delete", key: item.get(key) }));
        }
    }
    // A field that went within an item has to be named.
    for item in &mut items {
        let before = old.iter().find(|other| other.get(key) == item.get(key)).and_then(Value::as_object);
        if let (Some(before), Some(item)) = (before, item.as_object_mut()) {
            for field in before.keys() {
                if !item.contains_key("$patch") && !item.contains_key(field) {
                    item.insert(field.clone(), Value::Null);
                }
            }
        }
    }
    Value::Array(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed() {
        let check = |old: Value, new: Value, expected: Option<Value>| {
            let parse = |value| serde_json::from_value::<PodStatus>(value).expect("status");
            let patch = between("u", &parse(old), &parse(new)).map(|patch| patch["status"].clone());
            assert_eq!(patch, expected);
        };
        check(json!({"phase": "Running"}), json!({"phase": "Running"}), None);
        check(json!({"phase": "Pending"}), json!({"phase": "Running"}), Some(json!({"phase": "Running"})));
        let status = |last: Value| json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "lastState": last}]});
        check(status(json!({})), status(Value::Null), None);
        check(json!({"reason": "x"}), json!({}), Some(json!({"reason": null})));
        check(
            json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "False", "reason": "r"}]}),
            json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]}),
            Some(json!({"conditions": [{"type": "B", "status": "True", "reason": null}]})),
        );
        check(
            json!({"podIPs": [{"ip": "1"}]}),
            json!({"podIPs": [{"ip": "2"}]}),
            Some(json!({"podIPs": [{"ip": "2"}, {"$patch": "delete", "ip": "1"}]})),
        );
    }
}
