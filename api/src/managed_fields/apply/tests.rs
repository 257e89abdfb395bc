//! Applied objects, conflicts and owners, case by case.

use super::*;
use crate::managed_fields::Alike;
use crate::table;
use crate::time::Timestamp;
use serde_json::json;

const NOW: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 0 };

fn kind(group: &str, plural: &str) -> &'static Kind {
    table::builtin().resource(group, "v1", plural).expect("a kind")
}

fn by(manager: &str, at: i64) -> Write<'_> {
    Write { manager, subresource: "", now: NOW.plus_seconds(at), versions: &Alike }
}

fn applied(
    kind: &Kind,
    live: Option<&Value>,
    config: Value,
    write: &Write<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    apply(table::builtin(), kind, live, config, write, force).map(|mut object| {
        object["metadata"]["uid"] = json!("u");
        object
    })
}

fn updated(kind: &Kind, live: &Value, new: Value, write: &Write<'_>) -> Value {
    let mut new = new;
    super::super::update(&table::builtin().schema, kind, Some(live), &mut new, write);
    new
}

fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "d"}, "data": data})
}

#[test]
fn create_by_apply() {
    let maps = kind("", "configmaps");
    let object = applied(maps, None, map(json!({"a": "1"})), &by("one", 0), false).expect("applies");
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "one", "operation": "Apply", "apiVersion": "v1", "time": "2023-11-14T22:13:20Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}}])
    );
    // Again: nothing changes, not even the time.
    let again = applied(maps, Some(&object), map(json!({"a": "1"})), &by("one", 9), false).expect("applies");
    assert_eq!(again, object);
}

#[test]
fn an_object_keeps_its_identity_when_no_metadata_are_applied_any_more() {
    let maps = kind("", "configmaps");
    for metadata in [
        json!({"labels": {"q": "1"}}),
        json!({"annotations": {"q": "1"}}),
        json!({"finalizers": ["x.io/q"]}),
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}),
    ] {
        let mut config = map(json!({"a": "1"}));
        config["metadata"]
            .as_object_mut()
            .expect("an object")
            .extend(metadata.as_object().cloned().expect("one"));
        let first = applied(maps, None, config, &by("one", 0), false).expect("1");
        let second = applied(maps, Some(&first), map(json!({"a": "1"})), &by("one", 1), false).expect("2");
        let mut rest = second["metadata"].clone();
        rest.as_object_mut().expect("an object").remove("managedFields");
        assert_eq!(rest, json!({"name": "a", "namespace": "d", "uid": "u"}), "after {metadata}");
    }
}

#[test]
fn fields_left_out_are_removed_unless_others_own_them() {
    let maps = kind("", "configmaps");
    let first =
        applied(maps, None, map(json!({"a": "1", "b": "1", "c": "1"})), &by("one", 0), false).expect("1");
    let second = applied(maps, Some(&first), map(json!({"b": "1"})), &by("two", 1), false).expect("2");
    assert_eq!(fields(&second, "two"), json!({"f:data": {"f:b": {}}}));
    let third = applied(maps, Some(&second), map(json!({"a": "1"})), &by("one", 2), false).expect("3");
    assert_eq!(third["data"], json!({"a": "1", "b": "1"}));
    assert_eq!(fields(&third, "one"), json!({"f:data": {"f:a": {}}}));
    // An applier of nothing owns nothing and leaves what others own.
    let config =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "d"}});
    let fourth = applied(maps, Some(&third), config, &by("one", 3), false).expect("4");
    assert_eq!(fourth["data"], json!({"b": "1"}));
    assert_eq!(fields(&fourth, "one"), Value::Null);
}

#[test]
fn conflicts() {
    let maps = kind("", "configmaps");
    let live = applied(maps, None, map(json!({"a": "1", "b": "1"})), &by("one", 0), false).expect("applies");
    let mut new = live.clone();
    new["data"]["c"] = json!("1");
    let live = updated(maps, &live, new, &by("editor", 1));
    let error =
        applied(maps, Some(&live), map(json!({"a": "2"})), &by("two", 2), false).expect_err("a conflict");
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let config = map(json!({"a": "2", "b": "2", "c": "2"}));
    let error = applied(maps, Some(&live), config.clone(), &by("two", 2), false).expect_err("conflicts");
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"editor\" using v1:\n- .data.c\nconflicts with \"one\":\n\
         - .data.a\n- .data.b"
    );
    let status = Status::from(error);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let causes = &status.details.as_ref().expect("details").causes;
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(causes[0].message, "conflict with \"editor\" using v1");
    assert_eq!(causes[0].field, ".data.c");
    let forced = applied(maps, Some(&live), config, &by("two", 2), true).expect("forced");
    assert_eq!(forced["data"], json!({"a": "2", "b": "2", "c": "2"}));
    assert_eq!(fields(&forced, "one"), Value::Null);
    assert_eq!(fields(&forced, "editor"), Value::Null);
    // The same value is no conflict: the field gets a second owner.
    let shared = applied(maps, Some(&live), map(json!({"a": "1"})), &by("two", 2), false).expect("shared");
    assert_eq!(fields(&shared, "one"), json!({"f:data": {"f:a": {}, "f:b": {}}}));
    assert_eq!(fields(&shared, "two"), json!({"f:data": {"f:a": {}}}));
}

#[test]
fn list_items() {
    let deployments = kind("apps", "deployments");
    let config = |containers: Value| {
        json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
        "spec": {"template": {"spec": {"containers": containers}}}})
    };
    let first = config(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let mut live = applied(deployments, None, first, &by("one", 0), false).expect("applies");
    // What defaulting adds belongs to nobody and goes with the item.
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = json!("Always");
    let sidecar = config(json!([{"name": "s", "image": "9"}]));
    let live = applied(deployments, Some(&live), sidecar, &by("mesh", 1), false).expect("applies");
    let names = |object: &Value| {
        let list = object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        list.iter().map(|c| c["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&live), ["a", "b", "s"]);
    let reordered = config(json!([{"name": "c", "image": "1"}, {"name": "a", "image": "2"}]));
    let live = applied(deployments, Some(&live), reordered, &by("one", 2), false).expect("applies");
    assert_eq!(names(&live), ["c", "a", "s"]);
    assert_eq!(
        fields(&live, "mesh"),
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"s\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}})
    );
}

#[test]
fn refused_configurations() {
    let maps = kind("", "configmaps");
    let mut config = map(json!({}));
    config["metadata"]["managedFields"] = json!([]);
    assert_eq!(applied(maps, None, config, &by("one", 0), false), Err(ApplyError::ManagedFields));
    let config = json!({"metadata": {"name": "a", "namespace": "d"}, "dada": {}});
    assert_eq!(
        applied(maps, None, config, &by("one", 0), false).expect_err("unknown field").to_string(),
        "failed to create typed patch object (d/a; /v1, Kind=ConfigMap): .dada: field not declared in schema"
    );
    let deployments = kind("apps", "deployments");
    let schema = "failed to create typed patch object (/; apps/v1, Kind=Deployment): ";
    for (spec, fault) in [
        (json!({"replicas": "3"}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"paused": 1}), ".spec.paused: expected boolean, got &{1}"),
        (json!({"selector": [1]}), ".spec.selector: expected map, got &{[1]}"),
        (
            json!({"template": {"spec": {"containers": {"a": 1}}}}),
            ".spec.template.spec.containers: expected list, got &{map[a:1]}",
        ),
        (
            json!({"template": {"metadata": {"labels": {"a": true}}}}),
            ".spec.template.metadata.labels.a: expected string, got &value.valueUnstructured{Value:true}",
        ),
        (
            json!({"template": {"spec": {"containers": [{"image": "i"}]}}}),
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \
             \"name\" (and doesn't have default value)",
        ),
    ] {
        let refused = applied(deployments, None, json!({"spec": spec}), &by("one", 0), false);
        assert_eq!(refused.expect_err("unfit").to_string(), format!("{schema}{fault}"));
    }
    let services = kind("", "services");
    let config = json!({"metadata": {"name": "a", "namespace": "d"}, "spec": {"ports": [
        {"port": 80, "protocol": "TCP"}, {"port": 80}]}});
    assert_eq!(
        applied(services, None, config, &by("one", 0), false).expect_err("duplicates").to_string(),
        "failed to create typed patch object (d/a; /v1, Kind=Service): .spec.ports: duplicate entries for key \
         [port=80,protocol=\"TCP\"]"
    );
}

/// kubectl takes over from its own client-side apply without a conflict, but not what others changed.
#[test]
fn kubectl_takes_over() {
    let maps = kind("", "configmaps");
    let mut object = map(json!({"a": "1"}));
    object["metadata"]["uid"] = json!("u");
    object["metadata"]["annotations"] = json!({LAST_APPLIED: map(json!({"a": "1"})).to_string()});
    let mut live = object;
    super::super::update(
        &table::builtin().schema,
        maps,
        None,
        &mut live,
        &by("kubectl-client-side-apply", 0),
    );
    let taken =
        applied(maps, Some(&live), map(json!({"a": "2"})), &by("kubectl", 1), false).expect("taken over");
    assert_eq!(taken["data"]["a"], "2");
    // The note of client-side apply stays current, so that it can take over again.
    let note = taken["metadata"]["annotations"][LAST_APPLIED].as_str().expect("a note");
    assert_eq!(note, format!("{}\n", map(json!({"a": "2"}))));
    assert!(applied(maps, Some(&live), map(json!({"a": "2"})), &by("other", 1), false).is_err());
    let mut new = live.clone();
    new["data"]["a"] = json!("3");
    let edited = updated(maps, &live, new, &by("editor", 1));
    assert!(applied(maps, Some(&edited), map(json!({"a": "2"})), &by("kubectl", 2), false).is_err());
}

#[test]
fn objects_that_were_not_tracked() {
    let maps = kind("", "configmaps");
    let mut live = map(json!({"a": "1"}));
    live["metadata"]["uid"] = json!("u");
    let error =
        applied(maps, Some(&live), map(json!({"a": "2"})), &by("one", 0), false).expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
}
