//! Cells as `kubectl get` shows them.

use super::*;
use crate::table;
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

#[test]
fn other_kinds() {
    let meta = |name: &str| json!({"name": name, "creationTimestamp": BEFORE});
    for (group, kind, object, expected) in [
        (
            "apps",
            "Deployment",
            json!({"metadata": meta("d"), "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "x", "image": "i"}, {"name": "y", "image": "j"}]}}},
                "status": {"readyReplicas": 1, "updatedReplicas": 2}}),
            json!(["d", "1/3", 2, 0, "5m", "x,y", "i,j", "a=b"]),
        ),
        (
            "",
            "Service",
            json!({"metadata": meta("s"), "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1",
                "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                "selector": {"a": "b"}}}),
            json!(["s", "LoadBalancer", "10.0.0.1", "<pending>", "80:30000/TCP,53/UDP", "5m", "a=b"]),
        ),
        (
            "",
            "Node",
            json!({"metadata": {"name": "n", "creationTimestamp": BEFORE,
                    "labels": {"node-role.kubernetes.io/control-plane": "", "x": "y"}},
                "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1",
                        "architecture": "amd64", "containerRuntimeVersion": "containerd://2"}}}),
            json!([
                "n",
                "Ready,SchedulingDisabled",
                "control-plane",
                "5m",
                "v1.36.0",
                "10.0.0.2",
                "<none>",
                "Debian",
                "6.1 (amd64)",
                "containerd://2"
            ]),
        ),
        (
            "batch",
            "Job",
            json!({"metadata": meta("j"), "spec": {"completions": 2, "parallelism": 1},
                "status": {"succeeded": 1, "startTime": "2023-11-14T22:12:20Z"}}),
            json!(["j", "Running", "1/2", "60s", "5m", "", "", "<none>"]),
        ),
        (
            "batch",
            "CronJob",
            json!({"metadata": meta("c"), "spec": {"schedule": "* * * * *", "suspend": false}}),
            json!(["c", "* * * * *", "<none>", "False", 0, "<none>", "5m", "", "", "<none>"]),
        ),
        (
            "",
            "Event",
            json!({"metadata": meta("e"), "type": "Normal", "reason": "Started", "message": "Go\n",
                "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"},
                "firstTimestamp": BEFORE, "lastTimestamp": "2023-11-14T22:13:19Z", "count": 2}),
            json!(["1s", "Normal", "Started", "pod/p", "", "kubelet, n", "Go", "5m", 2, "e"]),
        ),
        (
            "events.k8s.io",
            "Event",
            json!({"metadata": meta("e"), "type": "Normal", "reason": "Started", "note": "Go",
                "regarding": {"kind": "Pod", "name": "p"}, "reportingController": "k", "eventTime": BEFORE}),
            json!(["5m", "Normal", "Started", "pod/p", "", "k", "Go", "5m", 1, "e"]),
        ),
        (
            "",
            "ComponentStatus",
            json!({"metadata": {"name": "s"}, "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]}),
            json!(["s", "Healthy", "ok", ""]),
        ),
        (
            "",
            "Secret",
            json!({"metadata": meta("s"), "type": "Opaque", "data": {"a": ""}}),
            json!(["s", "Opaque", 1, "5m"]),
        ),
        (
            "",
            "PersistentVolumeClaim",
            json!({"metadata": meta("c"), "spec": {"volumeName": "v", "storageClassName": "fast"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
            json!(["c", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", "5m", "<unset>"]),
        ),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"metadata": meta("s"), "addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}, {}],
                "endpoints": [{"addresses": ["1.1.1.1"]}, {"addresses": ["1.1.1.2"]}, {"addresses": ["1.1.1.3"]}, {"addresses": ["1.1.1.4"]}]}),
            json!(["s", "IPv4", "80,x,*", "1.1.1.1,1.1.1.2,1.1.1.3 + 1 more...", "5m"]),
        ),
        (
            "networking.k8s.io",
            "Ingress",
            json!({"metadata": meta("i"), "spec": {"rules": [{"host": "a.b"}, {}], "tls": [{}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "h"}]}}}),
            json!(["i", "<none>", "a.b", "2.2.2.2,h", "80, 443", "5m"]),
        ),
        (
            "storage.k8s.io",
            "StorageClass",
            json!({"metadata": {"name": "s", "creationTimestamp": BEFORE,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "x.io/y"}),
            json!(["s (default)", "x.io/y", "Delete", "Immediate", false, "5m"]),
        ),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            json!({"metadata": meta("h"), "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}]}}),
            json!(["h", "Deployment/d", "cpu: <unknown>/50%", "<unset>", 5, 0, "5m"]),
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            json!({"metadata": meta("b"), "roleRef": {"kind": "Role", "name": "r"}, "subjects": [
                {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "a", "namespace": "n"}]}),
            json!(["b", "Role/r", "5m", "u", "", "n/a"]),
        ),
        (
            "",
            "ResourceQuota",
            json!({"metadata": meta("q"), "status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1"}}}),
            json!(["q", "pods: 1/4", "limits.cpu: 0/2", "5m"]),
        ),
        ("", "LimitRange", json!({"metadata": meta("l")}), json!(["l", BEFORE])),
        ("x.io", "Unknown", json!({"metadata": meta("u")}), json!(["u", BEFORE])),
    ] {
        assert_eq!(cells(group, kind, &object), expected, "{kind}");
    }
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
