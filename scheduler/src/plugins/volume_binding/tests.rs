//! Tables of claims and volumes: which node is chosen, or why none is, and what must be bound.
use super::*;
use crate::algorithm::Algorithm;
use crate::profile::Profile;
use crate::storage::{Attachable, Capacity, Class, Driver};
use crate::testing::{node, pod, world};
use serde_json::{Value, json};

/// A world of two nodes in two zones; each object is recognised by its kind.
fn stored(objects: Vec<Value>) -> World {
    let label = |zone: &str| json!({"kubernetes.io/hostname": zone, "topology.kubernetes.io/zone": zone});
    let mut world = world(vec![node("n1", json!({}), label("a")), node("n2", json!({}), label("b"))], vec![]);
    for mut object in objects {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        match object["kind"].as_str().unwrap() {
            "PersistentVolumeClaim" => {
                object["metadata"]["namespace"] = "default".into();
                let claim = Claim::new(serde_json::from_value(object).unwrap());
                world.storage.claims.insert(claim.key.clone(), Arc::new(claim));
            }
            "PersistentVolume" => {
                let volume = Volume::new(serde_json::from_value(object).unwrap());
                world.storage.volumes.insert(name, Arc::new(volume));
            }
            "StorageClass" => {
                let class = Class::new(serde_json::from_value(object).unwrap());
                world.storage.classes.insert(name, Arc::new(class));
            }
            "CSIDriver" => {
                let driver = Driver::new(serde_json::from_value(object).unwrap());
                world.storage.drivers.insert(name, Arc::new(driver));
            }
            "CSIStorageCapacity" => {
                let capacity = Capacity::new(serde_json::from_value(object).unwrap());
                world.storage.capacities.insert(capacity.key.clone(), Arc::new(capacity));
            }
            _ => {
                let node = Attachable::new(serde_json::from_value(object).unwrap());
                world.storage.attachable.insert(name, Arc::new(node));
            }
        }
    }
    world
}

fn claim(class: &str, volume: &str) -> Value {
    let annotations =
        if volume.is_empty() { json!({}) } else { json!({"pv.kubernetes.io/bind-completed": "yes"}) };
    json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "uid": "c", "annotations": annotations},
        "spec": {"storageClassName": class, "volumeName": volume, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}})
}

fn volume(name: &str, size: &str, host: &str) -> Value {
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]);
    json!({"kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"storageClassName": "wait", "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            "csi": {"driver": "d", "volumeHandle": name}}})
}

fn class(mode: &str, provisioner: &str) -> Value {
    json!({"kind": "StorageClass", "metadata": {"name": "wait"}, "provisioner": provisioner,
        "volumeBindingMode": mode})
}

fn user() -> PodView {
    pod("x", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}))
}

/// The node with what is bound and provisioned for it, or the message.
fn check(objects: Vec<Value>, expected: &str) {
    let mut world = stored(objects.clone());
    let found = match Algorithm::new(Profile::default()).schedule(&user(), &mut world) {
        Err(failure) => failure.refusal(),
        Ok(node) => {
            let plan = plan(&user(), &world.storage, &world.nodes()[&node].node).unwrap();
            let bound: Vec<_> = plan.bind.iter().map(|(_, volume)| format!(" {}", volume.name)).collect();
            format!("{node}{}{}", bound.concat(), " +".repeat(plan.provision.len()))
        }
    };
    assert_eq!(found, expected, "{objects:?}");
}

fn all(reason: &str) -> String {
    format!("0/2 nodes are available: {reason}.")
}

#[test]
fn claims_that_hold_a_pod() {
    let first = "WaitForFirstConsumer";
    check(vec![], &all("persistentvolumeclaim \"c\" not found"));
    let unbound = all("pod has unbound immediate PersistentVolumeClaims");
    check(vec![claim("", "")], &unbound);
    check(vec![claim("wait", ""), class("Immediate", "p")], &unbound);
    check(vec![claim("wait", "")], &unbound);
    let mut deleting = claim("wait", "v");
    deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    check(vec![deleting, volume("v", "1Gi", "b")], &all("persistentvolumeclaim \"c\" is being deleted"));
    let none = all("2 node(s) didn't find available persistent volumes to bind");
    check(vec![claim("wait", ""), class(first, NO_PROVISIONER)], &none);
    check(vec![claim("wait", ""), class(first, NO_PROVISIONER), volume("v", "500Mi", "b")], &none);
    let gone = all("2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    check(vec![claim("wait", "v")], &gone);
}

#[test]
fn claims_that_choose_the_node() {
    let first = "WaitForFirstConsumer";
    check(vec![claim("wait", "v"), volume("v", "1Gi", "b")], "n2");
    check(vec![claim("wait", ""), class(first, "p")], "n1 +");
    let volumes = || vec![claim("wait", ""), volume("big", "9Gi", "b"), volume("v", "1Gi", "b")];
    check([volumes(), vec![class(first, NO_PROVISIONER)]].concat(), "n2 v");
    let mut near = class(first, "p");
    near["allowedTopologies"] =
        json!([{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["b"]}]}]);
    check(vec![claim("wait", ""), near], "n2 +");
    let mut selected = claim("wait", "");
    selected["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "n2"});
    check(vec![selected, class(first, "p")], "n2 +");
    let mut taken = volume("v", "1Gi", "b");
    taken["spec"]["claimRef"] = json!({"namespace": "default", "name": "other"});
    check(vec![claim("wait", ""), taken, class(first, "p")], "n1 +");
    let mut reserved = volume("big", "9Gi", "b");
    reserved["spec"]["claimRef"] = json!({"namespace": "default", "name": "c"});
    check(vec![claim("wait", ""), reserved, volume("v", "1Gi", "b"), class(first, NO_PROVISIONER)], "n2 big");
}

#[test]
fn drivers_that_say_what_they_have_left() {
    let driver = |tracks: bool| json!({"kind": "CSIDriver", "metadata": {"name": "p"}, "spec": {"storageCapacity": tracks}});
    let capacity = |zone: &str, class: &str, size: &str| {
        let nodes = json!({"matchLabels": {"topology.kubernetes.io/zone": zone}});
        json!({"kind": "CSIStorageCapacity", "metadata": {"name": zone, "namespace": "default"},
            "storageClassName": class, "capacity": size, "nodeTopology": nodes})
    };
    let first = || vec![claim("wait", ""), class("WaitForFirstConsumer", "p")];
    let full = all("2 node(s) did not have enough free storage");
    check([first(), vec![driver(false)]].concat(), "n1 +");
    check([first(), vec![driver(true)]].concat(), &full);
    check([first(), vec![driver(true), capacity("b", "wait", "2Gi")]].concat(), "n2 +");
    check([first(), vec![driver(true), capacity("b", "wait", "500Mi")]].concat(), &full);
    check([first(), vec![driver(true), capacity("b", "other", "2Gi")]].concat(), &full);
    let mut largest = capacity("b", "wait", "9Gi");
    largest["maximumVolumeSize"] = "500Mi".into();
    check([first(), vec![driver(true), largest]].concat(), &full);
}

#[test]
fn zones_limits_and_exclusive_claims() {
    let mut zoned = volume("v", "1Gi", "b");
    zoned["spec"]["nodeAffinity"] = Value::Null;
    zoned["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "b__c"});
    check(vec![claim("wait", "v"), zoned.clone()], "n2");
    zoned["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "d"});
    check(vec![claim("wait", "v"), zoned.clone()], &all("2 node(s) had no available volume zone"));
    zoned["metadata"]["labels"] = json!({});
    let limit = |node: &str| {
        let driver = json!({"name": "d", "nodeID": node, "allocatable": {"count": 0}});
        json!({"kind": "CSINode", "metadata": {"name": node}, "spec": {"drivers": [driver]}})
    };
    check(vec![claim("wait", "v"), zoned.clone(), limit("n1")], "n2");
    let full = all("2 node(s) exceed max volume count");
    check(vec![claim("wait", "v"), zoned.clone(), limit("n1"), limit("n2")], &full);
    let mut exclusive = claim("wait", "v");
    exclusive["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    let mut world = stored(vec![exclusive, zoned]);
    let mut other = user();
    (other.key.name, other.node) = ("other".to_owned(), "n2".to_owned());
    world.add_pod(&Arc::new(other));
    let failure = Algorithm::new(Profile::default()).schedule(&user(), &mut world).unwrap_err();
    let reason =
        "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(failure.refusal(), all(reason));
}
