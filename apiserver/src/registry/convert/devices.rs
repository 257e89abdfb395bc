//! resource.k8s.io/v1beta1, whose requests hold in place what v1 has below `exactly`, and whose devices hold below
//! `basic` what v1 has in place.
use crate::registry::object;
use knarr_api::{Object, Value};

/// Members of a request that v1 has in the request itself.
const OF_REQUEST: [&str; 2] = ["name", "firstAvailable"];

/// From v1beta1.
pub(super) fn to_v1(mut value: Value) -> Value {
    each(&mut value, "requests", |request| {
        let (kept, moved): (Object, Object) =
            std::mem::take(request).into_iter().partition(|(name, _)| OF_REQUEST.contains(&name.as_str()));
        *request = kept;
        // A class that is empty but for that is none: then the request is one of alternatives.
        if moved.values().any(|v| !v.is_null() && v != "") {
            request.insert("exactly".to_owned(), Value::Object(moved));
        }
    });
    each(&mut value, "devices", |device| {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
    });
    value
}

/// To v1beta1.
pub(super) fn to_v1beta1(mut value: Value) -> Value {
    each(&mut value, "requests", |request| {
        if let Some(Value::Object(exactly)) = request.remove("exactly") {
            request.extend(exactly);
        }
    });
    each(&mut value, "devices", |device| {
        let (kept, moved): (Object, Object) =
            std::mem::take(device).into_iter().partition(|(name, _)| name == "name");
        *device = kept;
        device.insert("basic".to_owned(), Value::Object(moved));
    });
    value
}

/// Changes the requests of a claim or template, or the devices of a slice.
fn each(value: &mut Value, what: &str, change: impl Fn(&mut Object)) {
    let paths: &[&str] = match (what, object::text(value, &["kind"])) {
        ("requests", "ResourceClaim") => &["spec", "devices", "requests"],
        ("requests", "ResourceClaimTemplate") => &["spec", "spec", "devices", "requests"],
        ("devices", "ResourceSlice") => &["spec", "devices"],
        _ => return,
    };
    let list = paths.iter().try_fold(value, |at, name| at.get_mut(*name)).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_ways() {
        let old = json!({"kind": "ResourceClaim", "spec": {"devices": {"requests": [
            {"name": "a", "deviceClassName": "c", "count": 2},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "c"}]}]}}});
        let new = json!({"kind": "ResourceClaim", "spec": {"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "c", "count": 2}},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "c"}]}]}}});
        assert_eq!((to_v1(old.clone()), to_v1beta1(new.clone())), (new, old));
        let old = json!({"kind": "ResourceSlice", "spec": {"devices": [
            {"name": "a", "basic": {"attributes": {"x": {"int": 1}}}}]}});
        let new = json!({"kind": "ResourceSlice", "spec": {"devices": [{"name": "a", "attributes": {"x": {"int": 1}}}]}});
        assert_eq!((to_v1(old.clone()), to_v1beta1(new.clone())), (new, old));
    }
}
