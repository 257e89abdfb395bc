//! Claims and slices of devices: `resource.k8s.io/v1` as stored, `v1beta1` with the parts of an exact request in the
//! request itself and those of a device in `basic`.
use knarr_api::{Object, Value};

const API: &str = "resource.k8s.io";
/// What stays in a request of the older version when its exact part is taken out.
const OF_REQUEST: [&str; 2] = ["name", "firstAvailable"];

/// From v1beta1.
pub(super) fn to_v1(mut value: Value) -> Value {
    each(&mut value, &REQUESTS, |request| {
        let exact = take_rest(request, &OF_REQUEST);
        if !exact.is_empty() {
            request.insert("exactly".into(), Value::Object(exact));
        }
    });
    each(&mut value, &DEVICES, |device| {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
    });
    value["apiVersion"] = format!("{API}/v1").into();
    value
}

/// To v1beta1.
pub(super) fn to_v1beta1(mut value: Value) -> Value {
    each(&mut value, &REQUESTS, |request| {
        if let Some(Value::Object(exact)) = request.remove("exactly") {
            request.extend(exact);
        }
    });
    each(&mut value, &DEVICES, |device| {
        let basic = take_rest(device, &["name"]);
        device.insert("basic".into(), Value::Object(basic));
    });
    value["apiVersion"] = format!("{API}/v1beta1").into();
    value
}

/// Where requests are: in claims and in templates of claims.
const REQUESTS: [&[&str]; 2] = [&["spec", "devices", "requests"], &["spec", "spec", "devices", "requests"]];
/// Where devices are: in slices.
const DEVICES: [&[&str]; 1] = [&["spec", "devices"]];

/// Changes every object of the lists at the paths.
fn each(value: &mut Value, paths: &[&[&str]], change: impl Fn(&mut Object)) {
    for path in paths {
        let found = path.iter().try_fold(&mut *value, |value, name| value.get_mut(*name));
        let list = found.and_then(Value::as_array_mut);
        list.into_iter().flatten().filter_map(Value::as_object_mut).for_each(&change);
    }
}

/// All members but some, taken out.
fn take_rest(from: &mut Object, kept: &[&str]) -> Object {
    let names: Vec<String> = from.keys().filter(|name| !kept.contains(&name.as_str())).cloned().collect();
    names.into_iter().filter_map(|name| from.remove(&name).map(|value| (name, value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(kind: &str, older: Value, newer: Value) {
        let object = |version: &str, spec: &Value| json!({"apiVersion": format!("{API}/{version}"), "kind": kind, "spec": spec});
        let (older, newer) = (object("v1beta1", &older), object("v1", &newer));
        assert_eq!(to_v1(older.clone()), newer);
        assert_eq!(to_v1beta1(newer), older);
    }

    #[test]
    fn both_ways() {
        let sub = json!([{"name": "s", "deviceClassName": "c"}]);
        let older = json!({"devices": {"requests": [
            {"name": "r", "deviceClassName": "c", "count": 1}, {"name": "f", "firstAvailable": sub}]}});
        let newer = json!({"devices": {"requests": [
            {"name": "r", "exactly": {"deviceClassName": "c", "count": 1}}, {"name": "f", "firstAvailable": sub}]}});
        check("ResourceClaim", older.clone(), newer.clone());
        check("ResourceClaimTemplate", json!({"spec": older}), json!({"spec": newer}));
        check(
            "ResourceSlice",
            json!({"devices": [{"name": "d", "basic": {"attributes": {"a": {"int": 1}}}}]}),
            json!({"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}),
        );
    }
}
