//! Owners of fields over writes of every kind.

use super::*;
use crate::table;
use serde_json::json;

const NOW: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 0 };
const STAMP: &str = "2023-11-14T22:13:20Z";

fn kind(group: &str, plural: &str) -> &'static Kind {
    table::builtin().resource(group, "v1", plural).expect("a kind")
}

fn write(manager: &str, at: i64) -> Write<'_> {
    Write { manager, subresource: "", now: NOW.plus_seconds(at), versions: &Alike }
}

fn tracked(kind: &Kind, live: Option<&Value>, new: Value, write: &Write<'_>) -> Value {
    let mut new = new;
    update(&table::builtin().schema, kind, live, &mut new, write);
    new
}

fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    entries.iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

/// `object` with the managedFields of `from`, as a client sends it back.
fn with_entries(mut object: Value, from: &Value) -> Value {
    object["metadata"]["managedFields"] = from["metadata"]["managedFields"].clone();
    object["metadata"]["uid"] = json!("u");
    object
}

#[test]
fn create_of_a_config_map() {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "b", "labels": {"x": "y"}, "finalizers": ["f.io/x"]},
        "data": {"k": "v"}, "immutable": false});
    let object = tracked(kind("", "configmaps"), None, object, &write("kubectl-create", 0));
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": STAMP,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:data": {".": {}, "f:k": {}},
                "f:immutable": {},
                "f:metadata": {
                    "f:finalizers": {".": {}, "v:\"f.io/x\"": {}},
                    "f:labels": {".": {}, "f:x": {}}}},
        }])
    );
}

/// What `kubectl run` leaves in the original: no `.` at containers, since Go always writes that list.
#[test]
fn create_of_a_pod() {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "d", "labels": {"run": "p"}},
        "spec": {
            "containers": [{
                "name": "p", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30,
            "tolerations": [{"operator": "Exists"}], "nodeSelector": {"a": "b"}},
        "status": {}});
    let object = tracked(kind("", "pods"), None, object, &write("kubectl-run", 0));
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:run": {}}},
        "f:spec": {
            "f:containers": {"k:{\"name\":\"p\"}": {
                ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
                "f:ports": {
                    ".": {},
                    "k:{\"containerPort\":53,\"protocol\":\"UDP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}},
                    "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
            "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:nodeSelector": {}, "f:restartPolicy": {},
            "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
            "f:tolerations": {}}});
    assert_eq!(fields(&object, "kubectl-run"), expected);
}

#[test]
fn updates_move_ownership() {
    let maps = kind("", "configmaps");
    let map = |data: Value| json!({"metadata": {"name": "a", "uid": "u"}, "data": data});
    let first = tracked(maps, None, map(json!({"a": "1", "b": "1", "c": "1"})), &write("one", 0));
    let second = map(json!({"a": "1", "b": "2", "d": "1"}));
    let second = tracked(maps, Some(&first), with_entries(second, &first), &write("two", 1));
    assert_eq!(fields(&second, "one"), json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(fields(&second, "two"), json!({"f:data": {"f:b": {}, "f:d": {}}}));
    // The same manager again: its entry grows and gets the new time.
    let third = with_entries(map(json!({"a": "3", "b": "2", "d": "1"})), &second);
    let third = tracked(maps, Some(&second), third, &write("two", 2));
    assert_eq!(fields(&third, "one"), json!({"f:data": {}}));
    assert_eq!(fields(&third, "two"), json!({"f:data": {"f:a": {}, "f:b": {}, "f:d": {}}}));
    assert_eq!(third["metadata"]["managedFields"][1]["time"], "2023-11-14T22:13:22Z");
    // An entry that owns nothing any more goes.
    let fourth = with_entries(json!({"metadata": {"name": "a"}}), &third);
    let fourth = tracked(maps, Some(&third), fourth, &write("three", 3));
    assert_eq!(fourth["metadata"].get("managedFields"), None);
}

#[test]
fn nothing_changed() {
    let maps = kind("", "configmaps");
    let map = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}, "data": {"a": "1"}});
    let live = tracked(maps, None, map.clone(), &write("one", 0));
    let again = tracked(maps, Some(&live), with_entries(map.clone(), &live), &write("two", 5));
    assert_eq!(again, live);
    // A client that does not know managedFields does not lose them.
    let again = tracked(maps, Some(&live), map, &write("two", 5));
    assert_eq!(again, live);
    assert!(equal_but_for_times(&live, &again));
    let mut later = live.clone();
    later["metadata"]["managedFields"][0]["time"] = json!("2024-01-01T00:00:00Z");
    later["metadata"]["resourceVersion"] = json!("2");
    assert!(equal_but_for_times(&live, &later));
    later["data"]["b"] = json!("x");
    assert!(!equal_but_for_times(&live, &later));
}

#[test]
fn status_and_spec_are_tracked_apart() {
    let deployments = kind("apps", "deployments");
    let object = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1}, "status": {"replicas": 5}});
    let live = tracked(deployments, None, object, &write("kubectl", 0));
    assert_eq!(fields(&live, "kubectl"), json!({"f:spec": {"f:replicas": {}}}));
    let mut new = live.clone();
    new["metadata"]["uid"] = json!("u");
    new["spec"]["replicas"] = json!(7);
    new["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]});
    let by = Write { manager: "controller", subresource: "status", now: NOW, versions: &Alike };
    let new = tracked(deployments, Some(&live), new, &by);
    assert_eq!(new["metadata"]["managedFields"][0]["manager"], "controller");
    assert_eq!(new["metadata"]["managedFields"][0]["subresource"], "status");
    assert_eq!(
        fields(&new, "controller"),
        json!({"f:status": {
            "f:conditions": {".": {}, "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}},
            "f:replicas": {}}})
    );
}

#[test]
fn clients_may_edit_entries_but_not_break_them() {
    let maps = kind("", "configmaps");
    let map = json!({"metadata": {"name": "a", "uid": "u"}, "data": {"a": "1"}});
    let live = tracked(maps, None, map.clone(), &write("one", 0));
    let mut broken = map.clone();
    broken["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Frob"}]);
    assert_eq!(tracked(maps, Some(&live), broken, &write("two", 1)), live);
    let mut edited = live.clone();
    edited["metadata"]["managedFields"][0]["manager"] = json!("renamed");
    assert_eq!(tracked(maps, Some(&live), edited.clone(), &write("two", 1)), edited);
    // No entry and one empty entry reset, and the object stays untracked.
    let mut reset = map.clone();
    for entries in [json!([]), json!([{}])] {
        reset = map.clone();
        reset["metadata"]["managedFields"] = entries;
        reset = tracked(maps, Some(&live), reset, &write("two", 1));
        assert_eq!(reset, map);
    }
    let mut changed = reset.clone();
    changed["data"]["a"] = json!("2");
    assert_eq!(tracked(maps, Some(&reset), changed.clone(), &write("two", 2)), changed);
}

#[test]
fn list_items() {
    let pods = kind("", "pods");
    let pod = |env: Value| json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"name": "c", "env": env}]}});
    let live = tracked(
        pods,
        None,
        pod(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])),
        &write("one", 0),
    );
    let new = with_entries(pod(json!([{"name": "B", "value": "2"}, {"name": "C", "value": "1"}])), &live);
    let new = tracked(pods, Some(&live), new, &write("two", 1));
    let env = |fields: &Value| fields["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:env"].clone();
    assert_eq!(env(&fields(&new, "one")), json!({".": {}, "k:{\"name\":\"B\"}": {".": {}, "f:name": {}}}));
    assert_eq!(
        env(&fields(&new, "two")),
        json!({
            "k:{\"name\":\"B\"}": {"f:value": {}},
            "k:{\"name\":\"C\"}": {".": {}, "f:name": {}, "f:value": {}}})
    );
    // Items with the same key twice are one field.
    let twice = with_entries(pod(json!([{"name": "B", "value": "2"}, {"name": "B", "value": "3"}])), &new);
    let twice = tracked(pods, Some(&new), twice, &write("three", 2));
    assert_eq!(env(&fields(&twice, "three")), json!({"k:{\"name\":\"B\"}": {}}));
}

#[test]
fn old_managers_are_thrown_together() {
    let maps = kind("", "configmaps");
    let mut live = tracked(
        maps,
        None,
        json!({"metadata": {"name": "a", "uid": "u"}, "data": {"k": "v"}}),
        &write("m00", 0),
    );
    for n in 1..13 {
        let mut new = live.clone();
        new["data"][format!("k{n}")] = json!("v");
        live = tracked(maps, Some(&live), new, &write(&format!("m{n:02}"), n));
    }
    let entries = live["metadata"]["managedFields"].as_array().expect("entries");
    let managers: Vec<&str> = entries.iter().filter_map(|e| e["manager"].as_str()).collect();
    assert_eq!(managers.len(), 10);
    assert_eq!(managers[0], "ancient-changes");
    assert_eq!(managers[9], "m12");
    assert_eq!(
        fields(&live, "ancient-changes"),
        json!({"f:data": {".": {}, "f:k": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}}})
    );
}

#[test]
fn user_agents() {
    for (agent, expected) in [
        ("kubectl/v1.36.0 (linux/amd64)", "kubectl"),
        ("Mozilla/5.0", "Mozilla"),
        ("", ""),
        ("a b", "a b"),
        ("a\u{7}b/1", "a"),
    ] {
        assert_eq!(manager_of_user_agent(agent), expected);
    }
}
