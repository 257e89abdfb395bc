//! ResourceClaims and their templates: access to devices as an administrator is for namespaces that are labelled for it
//! (KEP-5018), and who writes a claim's status needs a permission for each part of it (KEP-6058, gate
//! `DRAResourceClaimGranularStatusAuthorization`).
use super::{Scene, Strategy};
use crate::authz::Attributes;
use crate::storage::Key;
use crate::user::{SERVICE_ACCOUNT_PREFIX, User};
use knarr_api::field::{Error, ErrorList};
use knarr_api::{Value, gates};
use serde_json::json;
use std::collections::BTreeSet;

const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";

/// Rules of `resourceclaims`.
pub struct Claim;

/// Rules of `resourceclaimtemplates`.
pub struct Template;

impl Strategy for Claim {
    fn prepare_status(&self, _scene: &Scene<'_>, claim: &mut Value, old: &Value) {
        drop_deallocated(&mut claim["status"], &old["status"]);
    }

    fn check(&self, scene: &Scene<'_>, claim: &Value, old: Option<&Value>) -> ErrorList {
        let Some(old) = old else { return admin_requests(scene, &claim["spec"], "spec") };
        let mut errors = admin_results(scene, &claim["status"], &old["status"]);
        if gates::enabled("DRAResourceClaimGranularStatusAuthorization") {
            errors.extend(binding(scene, &claim["status"], &old["status"]));
            errors.extend(devices(scene, &claim["status"], &old["status"]));
        }
        errors
    }
}

impl Strategy for Template {
    fn check(&self, scene: &Scene<'_>, template: &Value, old: Option<&Value>) -> ErrorList {
        // Its spec does not change.
        if old.is_some() {
            return ErrorList::new();
        }
        admin_requests(scene, &template["spec"]["spec"], "spec.spec")
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn admin_requests(scene: &Scene<'_>, spec: &Value, path: &str) -> ErrorList {
    let wants = |request: &Value| request["exactly"]["adminAccess"] == true;
    match items(&spec["devices"]["requests"]).iter().position(wants) {
        Some(at) => labelled(scene, &format!("{path}.devices.requests[{at}].adminAccess")),
        None => ErrorList::new(),
    }
}

fn admin_results(scene: &Scene<'_>, status: &Value, old: &Value) -> ErrorList {
    let granted = |status: &Value| {
        let results = items(&status["allocation"]["devices"]["results"]);
        results.iter().position(|result| result["adminAccess"] == true)
    };
    match granted(status).filter(|_| granted(old).is_none()) {
        Some(at) => labelled(scene, &format!("status.allocation.devices.results[{at}].adminAccess")),
        None => ErrorList::new(),
    }
}

fn labelled(scene: &Scene<'_>, path: &str) -> ErrorList {
    let namespace = scene.registry.store.get(&Key::new("core/namespaces", "", scene.namespace));
    let namespace = namespace.and_then(|stored| stored.value().ok()).unwrap_or_default();
    if namespace["metadata"]["labels"][ADMIN_LABEL] == "true" {
        return ErrorList::new();
    }
    vec![Error::forbidden(
        path,
        format!(
            "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
        ),
    )]
}

fn wanted<'a>(verb: &'a str, subresource: &'a str) -> Attributes<'a> {
    Attributes {
        verb,
        group: "resource.k8s.io",
        version: "v1",
        resource: "resourceclaims",
        subresource,
        is_resource: true,
        ..Default::default()
    }
}

/// Whether two entries, of an allocation or of a status, speak of the same device.
fn same_device(a: &Value, b: &Value) -> bool {
    ["driver", "pool", "device"].iter().all(|part| a[part] == b[part])
}

/// What is told of a device goes with its allocation.
fn drop_deallocated(status: &mut Value, old: &Value) {
    let allocated = |status: &Value| items(&status["allocation"]["devices"]["results"]).to_vec();
    let (before, now) = (allocated(old), allocated(status));
    let is_in = |results: &[Value], device: &Value| results.iter().any(|result| same_device(result, device));
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| !is_in(&before, device) || is_in(&now, device));
    if let (true, Some(status)) = (devices.is_empty(), status.as_object_mut()) {
        status.remove("devices");
    }
}

/// Who allocates or reserves binds claims, everywhere.
fn binding(scene: &Scene<'_>, status: &Value, old: &Value) -> Option<Error> {
    let is_same = |part: &str| status[part] == old[part];
    if is_same("allocation") && is_same("reservedFor") {
        return None;
    }
    let verb = scene.verb;
    let refusal = scene.registry.hooks.require(scene.user, &wanted(verb, "binding")).err()?;
    Some(Error::forbidden(
        "status",
        format!(
            "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" \
             permission: {refusal}"
        ),
    ))
}

/// Who tells of devices needs the permission for each driver: on the node where he runs, or anywhere.
fn devices(scene: &Scene<'_>, status: &Value, old: &Value) -> ErrorList {
    let mut verbs = vec![format!("arbitrary-node:{}", scene.verb)];
    if node_of(&status["allocation"]).is_some_and(|node| runs_on(scene.user, node)) {
        verbs.insert(0, format!("associated-node:{}", scene.verb));
    }
    let refused = |driver: &&str| {
        let mut refusals = verbs.iter().map(|verb| {
            let attributes =
                Attributes { namespace: scene.namespace, name: driver, ..wanted(verb, "driver") };
            scene.registry.hooks.require(scene.user, &attributes).err()
        });
        // The first refusal is told, one permission suffices.
        let first = refusals.next().flatten()?;
        refusals.all(|refusal| refusal.is_some()).then_some(first)
    };
    // Whoever takes an allocation back need not be allowed to take back what was told of its devices.
    let mut before = json!({"allocation": status["allocation"], "devices": old["devices"]});
    drop_deallocated(&mut before, old);
    let changed = changed_drivers(&status["devices"], &before["devices"]);
    let refusals = changed.iter().filter_map(refused);
    let faults = refusals.map(|refusal| {
        Error::forbidden(
            "status",
            format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {refusal}",
                verbs.join(" ")
            ),
        )
    });
    faults.collect()
}

/// Drivers with a device that is told of anew, otherwise or not any more.
fn changed_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let (new, old) = (items(new), items(old));
    let changed = new.iter().filter(|device| !old.contains(device));
    let gone = old.iter().filter(|device| !new.contains(device));
    changed.chain(gone).filter_map(|device| device["driver"].as_str()).collect()
}

/// The only node that an allocation is good for.
fn node_of(allocation: &Value) -> Option<&str> {
    let [term] = items(&allocation["nodeSelector"]["nodeSelectorTerms"]) else { return None };
    let ([], [field]) = (items(&term["matchExpressions"]), items(&term["matchFields"])) else { return None };
    let [name] = items(&field["values"]) else { return None };
    (field["key"] == "metadata.name" && field["operator"] == "In").then(|| name.as_str()).flatten()
}

/// Whether a user is the account of a pod on a node.
fn runs_on(user: &User, node: &str) -> bool {
    user.name.starts_with(SERVICE_ACCOUNT_PREFIX)
        && user.extra.get("authentication.kubernetes.io/node-name").is_some_and(|names| *names == [node])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_whose_devices_changed() {
        let device =
            |driver: &str, data: i64| json!({"driver": driver, "pool": "p", "device": "d", "data": data});
        let check = |new: &[Value], old: &[Value], expected: &[&str]| {
            let (new, old) = (json!(new), json!(old));
            assert_eq!(changed_drivers(&new, &old).into_iter().collect::<Vec<_>>(), expected);
        };
        check(&[device("a", 1)], &[device("a", 1)], &[]);
        check(&[device("a", 2), device("b", 1)], &[device("a", 1)], &["a", "b"]);
        check(&[], &[device("a", 1)], &["a"]);
    }

    #[test]
    fn what_is_told_goes_with_the_allocation() {
        let device = |name: &str| json!({"driver": "a", "pool": "p", "device": name});
        let status = |results: &[&str], told: &[&str]| {
            let [results, told] =
                [results, told].map(|names| names.iter().map(|name| device(name)).collect::<Vec<_>>());
            json!({"allocation": {"devices": {"results": results}}, "devices": told})
        };
        let check = |mut new: Value, old: &Value, expected: Value| {
            drop_deallocated(&mut new, old);
            assert_eq!(new["devices"], expected);
        };
        let old = status(&["x", "y"], &["x", "y"]);
        check(status(&["x", "y"], &["x", "y"]), &old, json!([device("x"), device("y")]));
        check(status(&["x"], &["x", "y"]), &old, json!([device("x")]));
        check(json!({"devices": [device("x")]}), &old, Value::Null);
    }

    #[test]
    fn accounts_run_on_nodes() {
        let allocation = |terms: Value| json!({"nodeSelector": {"nodeSelectorTerms": terms}});
        let on = |key: &str| json!({"matchFields": [{"key": key, "operator": "In", "values": ["n"]}]});
        assert_eq!(node_of(&allocation(json!([on("metadata.name")]))), Some("n"));
        assert_eq!(node_of(&allocation(json!([on("metadata.name"), on("metadata.name")]))), None);
        assert_eq!(node_of(&allocation(json!([on("other")]))), None);
        assert_eq!(node_of(&json!({})), None);
        let mut user = User { name: "system:serviceaccount:d:driver".to_owned(), ..User::default() };
        assert!(!runs_on(&user, "n"));
        user.extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec!["n".to_owned()]);
        assert!(runs_on(&user, "n") && !runs_on(&user, "m"));
        user.name = "ann".to_owned();
        assert!(!runs_on(&user, "n"));
    }
}
