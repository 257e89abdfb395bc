//! Cells as `kubectl get` shows them.

use super::*;
use crate::table;
use std::collections::BTreeSet;
use std::path::Path as FsPath;

const NOW: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 0 };
/// Five minutes before.
const BEFORE: &str = "2023-11-14T22:08:20Z";

fn cells(group: &str, kind: &str, object: &Value) -> Value {
    of_kind(group, kind).row(object, IncludeObject::None, "meta.k8s.io/v1", NOW)["cells"].clone()
}

#[test]
fn pods() {
    let meta = json!({"name": "p", "creationTimestamp": BEFORE});
    let container = json!([{"name": "c"}]);
    for (status, init, expected) in [
        (json!({"phase": "Pending"}), json!([]), ["0/1", "Pending", "0"]),
        (
            json!({"phase": "Running", "containerStatuses": [
                {"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}}]}),
            json!([]),
            ["1/1", "Running", "0"],
        ),
        (
            json!({"phase": "Running", "containerStatuses": [{
                "name": "c", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"finishedAt": "2023-11-14T22:12:20Z"}}}]}),
            json!([]),
            ["0/1", "CrashLoopBackOff", "3 (60s ago)"],
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [
                {"name": "c", "state": {"terminated": {"exitCode": 2}}}]}),
            json!([]),
            ["0/1", "ExitCode:2", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            json!([{"name": "i"}]),
            ["0/1", "Init:0/1", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
            json!([{"name": "i"}]),
            ["0/1", "Init:Error", "1"],
        ),
        (
            json!({"phase": "Running", "initContainerStatuses": [
                    {"name": "i", "started": true, "ready": true, "restartCount": 2, "state": {"running": {}}}],
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 1, "state": {"running": {}}}]}),
            json!([{"name": "i", "restartPolicy": "Always"}]),
            ["2/2", "Running", "3"],
        ),
        (
            json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            json!([]),
            ["0/1", "SchedulingGated", "0"],
        ),
        (
            json!({"phase": "Succeeded", "containerStatuses": [
                {"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            json!([]),
            ["0/1", "Completed", "0"],
        ),
    ] {
        let pod = json!({
            "metadata": meta, "spec": {"containers": container, "initContainers": init}, "status": status});
        let [ready, reason, restarts] = expected;
        assert_eq!(
            cells("", "Pod", &pod),
            json!(["p", ready, reason, restarts, "5m", "<none>", "<none>", "<none>", "<none>"]),
            "{status}"
        );
        let mut deleted = pod.clone();
        deleted["metadata"]["deletionTimestamp"] = json!(BEFORE);
        let terminal = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
        assert_eq!(cells("", "Pod", &deleted)[2], if terminal { reason } else { "Terminating" });
    }
}

/// The examples of every kind that has columns of its own; see `cells.yaml`.
#[test]
fn every_kind() {
    let mut faults = Vec::new();
    let examples = crate::yaml::parse(include_str!("tests/cells.yaml"), &mut faults).expect("YAML");
    assert!(faults.is_empty(), "{faults:?}");
    let (mut different, mut seen) = (Vec::new(), BTreeSet::from(["Pod".to_owned()]));
    for example in examples.as_array().expect("a list") {
        let kind = example["kind"].as_str().expect("a kind");
        let (group, name) = kind.split_once('/').unwrap_or(("", kind));
        let mut object = example["object"].clone();
        if let Some(meta) = object.get_mut("metadata") {
            meta["creationTimestamp"] = json!(BEFORE);
        }
        let shown = cells(group, name, &object);
        if shown != example["cells"] {
            different.push(format!("{kind}: {object}: {shown}, not {}", example["cells"]));
        }
        seen.insert(kind.to_owned());
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    let missing: Vec<&String> = known().keys().filter(|kind| !seen.contains(*kind)).collect();
    assert!(missing.is_empty(), "kinds without an example: {missing:?}");
}

/// Columns have the texts of the fields that they show; only those that the original leaves without one have none.
#[test]
fn descriptions() {
    let mut without = Vec::new();
    for (kind, columns) in known() {
        let definitions = columns.definitions();
        let empty = definitions.iter().filter(|c| c["description"] == "");
        without.extend(empty.map(|c| format!("{kind}: {}", c["name"].as_str().unwrap_or_default())));
    }
    without.sort();
    assert_eq!(
        without,
        [
            "Status: Message",
            "coordination.k8s.io/LeaseCandidate: BinaryVersion",
            "coordination.k8s.io/LeaseCandidate: EmulationVersion",
            "node.k8s.io/RuntimeClass: Handler",
        ]
    );
    let text = |group: &str, kind: &str, column: &str| {
        let definitions = of_kind(group, kind).definitions();
        let found = definitions.iter().find(|c| c["name"] == column).cloned().unwrap_or_default();
        found["description"].as_str().unwrap_or_default().to_owned()
    };
    let created = text("", "ConfigMap", "Age");
    assert!(created.starts_with("CreationTimestamp is a timestamp"), "{created}");
    assert_eq!(text("apps", "DaemonSet", "Age"), created);
    assert_eq!(text("", "LimitRange", "Created At"), created);
    assert_eq!(text("events.k8s.io", "Event", "Last Seen"), text("", "Event", "Last Seen"));
    let custom = Columns::custom(&[json!({"name": "A", "type": "string", "jsonPath": ".spec.a"})]);
    let custom = custom.definitions();
    assert_eq!(custom[0]["description"], text("", "ConfigMap", "Name"));
    assert_eq!(custom[1]["description"], "Custom resource definition column (in JSONPath format): .spec.a");
    assert_eq!(Columns::custom(&[]).definitions()[1]["description"], json!(created));
}

#[test]
fn tables() {
    let pod =
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "status": {"phase": "Failed"}});
    let columns = of_kind("", "Pod");
    let row = columns.row(&pod, IncludeObject::Metadata, "meta.k8s.io/v1", NOW);
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row["conditions"][0]["reason"], "Failed");
    assert_eq!(columns.row(&pod, IncludeObject::Object, "meta.k8s.io/v1", NOW)["object"], pod);
    let table = table("meta.k8s.io/v1", json!({"resourceVersion": "5"}), Some(columns), vec![row]);
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["columnDefinitions"][5]["priority"], 1);
}

/// Every kind has the original's columns. Needs the reference facts; skipped where they are not at hand.
#[test]
fn columns_agree_with_the_facts() {
    let path =
        FsPath::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/kubernetes-api/printer_columns.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return;
    };
    let facts: Value = serde_json::from_str(&text).expect("JSON");
    for kind in facts["kinds"].as_array().expect("kinds") {
        let (group, name) =
            (kind["group"].as_str().unwrap_or_default(), kind["kind"].as_str().unwrap_or_default());
        if group == "*" {
            continue;
        }
        let pick = |c: &Value| json!([c["name"], c["type"], c["format"], c["priority"]]);
        let expected: Vec<Value> = kind["columns"].as_array().into_iter().flatten().map(pick).collect();
        let ours: Vec<Value> = of_kind(group, name).definitions().iter().map(pick).collect();
        assert_eq!(ours, expected, "{group}/{name}");
    }
}

/// Every kind of the table can be shown, also when empty.
#[test]
fn empty_objects_of_every_kind() {
    for kind in &table::builtin().kinds {
        of(kind).row(&json!({}), IncludeObject::Metadata, "meta.k8s.io/v1", NOW);
    }
}
