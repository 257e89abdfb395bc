//! Whole objects and the texts of all their faults.
mod containers;
mod extensions;
mod inventory;
mod machinery;
mod pods;
mod small;
mod workloads;

use super::*;
use crate::table;
use serde_json::json;

fn kind(group: &str, name: &str) -> &'static Kind {
    table::builtin().kind(group, "v1", name).expect("a kind")
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// `object` with a good name in namespace `d` where it needs one.
fn named(kind: &Kind, mut object: Value) -> Value {
    let mut metadata = json!({"name": "x", "uid": "u", "resourceVersion": "1"});
    if kind.namespaced {
        metadata["namespace"] = json!("d");
    }
    for (key, value) in object["metadata"].as_object().into_iter().flatten() {
        metadata[key] = value.clone();
    }
    object["metadata"] = metadata;
    object
}

fn check(group: &str, name: &str, object: Value, expected: &[&str]) {
    let kind = kind(group, name);
    let object = named(kind, object);
    assert_eq!(texts(&create(kind, &object)), expected, "{object}");
}

/// `change` merged into `old`, updated.
fn check_update(group: &str, name: &str, old: Value, change: Value, expected: &[&str]) {
    let kind = kind(group, name);
    let old = named(kind, old);
    assert_eq!(texts(&create(kind, &old)), Vec::<String>::new(), "the old object must be good");
    let mut new = old.clone();
    crate::patch::merge::apply(&mut new, change.clone());
    assert_eq!(texts(&update(kind, &new, &old)), expected, "{change}");
}

fn container() -> Value {
    json!({
        "name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
        "terminationMessagePath": "/dev/termination-log", "resources": {}})
}

fn pod_spec() -> Value {
    json!({
        "containers": [container()], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30, "securityContext": {}, "schedulerName": "default-scheduler"})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": pod_spec()})
}

/// A good pod with `change` merged in.
fn pod(change: Value) -> Value {
    let mut pod = json!({"spec": pod_spec()});
    crate::patch::merge::apply(&mut pod, change);
    pod
}

/// A good pod whose container has `change` merged in.
fn pod_with(change: Value) -> Value {
    let mut container = container();
    crate::patch::merge::apply(&mut container, change);
    pod(json!({"spec": {"containers": [container]}}))
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
     '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

#[test]
fn metadata() {
    let maps = kind("", "ConfigMap");
    for (metadata, expected) in [
        (json!({"namespace": "d"}), vec!["metadata.name: Required value: name or generateName is required"]),
        (json!({"name": "a"}), vec!["metadata.namespace: Required value"]),
        (json!({"name": "a", "namespace": "d", "generateName": "a-"}), vec![]),
        (
            json!({"name": "a", "namespace": "d", "ownerReferences": [{"apiVersion": "v1"}]}),
            vec![
                "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.name: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            ],
        ),
        (
            json!({"name": "a", "namespace": "d", "finalizers": ["x"]}),
            vec![
                "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it \
                 fully qualified",
            ],
        ),
        (
            json!({"name": "a", "namespace": "d", "finalizers": ["orphan", "foregroundDeletion"]}),
            vec![
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and \
                 foregroundDeletion cannot be both set",
            ],
        ),
    ] {
        assert_eq!(texts(&create(maps, &json!({"metadata": metadata}))), expected, "{metadata}");
    }
    let errors = create(maps, &json!({"metadata": {"name": "A", "namespace": "d"}}));
    assert_eq!(texts(&errors), [format!("metadata.name: Invalid value: \"A\": {SUBDOMAIN}")]);
    check(
        "",
        "Node",
        json!({"metadata": {"namespace": "d"}}),
        &["metadata.namespace: Forbidden: not allowed on this type"],
    );
    check_update(
        "",
        "ConfigMap",
        json!({}),
        json!({"metadata": {"name": "y", "uid": "v"}}),
        &[
            "metadata.name: Invalid value: \"y\": field is immutable",
            "metadata.uid: Invalid value: \"v\": field is immutable",
        ],
    );
    check_update(
        "",
        "ConfigMap",
        json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": ["a/b"]}}),
        json!({"metadata": {"finalizers": ["a/b", "a/c"]}}),
        &[
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found \
             new finalizers []string{\"a/c\"}",
        ],
    );
    check_update(
        "rbac.authorization.k8s.io",
        "Role",
        json!({"metadata": {"name": "system:x"}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        &[],
    );
}

/// No object, however odd, makes a rule panic.
#[test]
fn odd_objects_of_every_kind() {
    let odd = [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"metadata": [], "spec": "x", "status": 5}),
        json!({"metadata": {"labels": [1]}, "spec": {"template": 1, "containers": {"a": 1}, "ports": "x", "selector": []}}),
    ];
    for kind in &table::builtin().kinds {
        for new in &odd {
            create(kind, new);
            for old in &odd {
                update(kind, new, old);
                status_update(kind, new, old);
            }
        }
    }
}
