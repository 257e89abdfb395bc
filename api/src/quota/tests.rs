//! Tables of usage and scopes.
use super::*;
use serde_json::json;

fn check(plural: &str, object: Value, expected: &[(&str, &str)]) {
    let usage = usage("", plural, &object, Timestamp::now());
    let shown: Vec<(&str, String)> =
        usage.iter().filter(|(_, a)| !a.is_zero()).map(|(n, a)| (n.as_str(), a.to_string())).collect();
    let expected: Vec<(&str, String)> = expected.iter().map(|(n, a)| (*n, (*a).to_owned())).collect();
    assert_eq!(shown, expected, "{object}");
}

#[test]
fn names_tell_what_is_counted() {
    for (name, expected) in [
        ("count/deployments.apps", ("apps", "deployments")),
        ("count/widgets.example.com", ("example.com", "widgets")),
        ("count/pods", ("", "pods")),
        ("secrets", ("", "secrets")),
        ("services.nodeports", ("", "services")),
        ("requests.storage", ("", "persistentvolumeclaims")),
        ("fast.storageclass.storage.k8s.io/requests.storage", ("", "persistentvolumeclaims")),
        ("requests.nvidia.com/gpu", ("", "pods")),
        ("limits.cpu", ("", "pods")),
        ("gpu.deviceclass.resource.k8s.io/devices", ("resource.k8s.io", "resourceclaims")),
    ] {
        assert_eq!(counted(name), expected, "{name}");
    }
}

#[test]
fn pods_use() {
    let resources = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
    let spec = json!({
        "overhead": {"cpu": "100m"},
        "initContainers": [{"name": "i", "resources": resources(json!({"cpu": "3"}), json!({}))}],
        "containers": [
            {"name": "a", "resources": resources(json!({"cpu": "1", "memory": "1Gi"}), json!({"cpu": "2"}))},
            {"name": "b", "resources": resources(json!({"example.com/x": "2"}), json!({"cpu": "1"}))},
        ],
    });
    check(
        "pods",
        json!({"spec": spec}),
        &[
            ("count/pods", "1"),
            ("cpu", "3100m"),
            ("limits.cpu", "3100m"),
            ("memory", "1Gi"),
            ("pods", "1"),
            ("requests.cpu", "3100m"),
            ("requests.example.com/x", "2"),
            ("requests.memory", "1Gi"),
        ],
    );
    check("pods", json!({"spec": spec, "status": {"phase": "Succeeded"}}), &[("count/pods", "1")]);
}

#[test]
fn a_shrinking_container_keeps_what_it_has() {
    let pod = json!({
        "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"containerStatuses": [{"name": "a", "allocatedResources": {"cpu": "2"}}]},
    });
    assert_eq!(pod_amounts(&pod, "requests")["cpu"].to_string(), "2");
}

#[test]
fn services_and_claims_use() {
    let ports = json!([{"port": 1, "nodePort": 30000}, {"port": 2}]);
    check("services", json!({"spec": {"type": "ClusterIP"}}), &[("count/services", "1"), ("services", "1")]);
    check(
        "services",
        json!({"spec": {"type": "LoadBalancer", "ports": ports}}),
        &[
            ("count/services", "1"),
            ("services", "1"),
            ("services.loadbalancers", "1"),
            ("services.nodeports", "2"),
        ],
    );
    check(
        "services",
        json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}}),
        &[
            ("count/services", "1"),
            ("services", "1"),
            ("services.loadbalancers", "1"),
            ("services.nodeports", "1"),
        ],
    );
    check(
        "persistentvolumeclaims",
        json!({"spec": {"storageClassName": "f", "resources": {"requests": {"storage": "1Gi"}}}}),
        &[
            ("count/persistentvolumeclaims", "1"),
            ("f.storageclass.storage.k8s.io/persistentvolumeclaims", "1"),
            ("f.storageclass.storage.k8s.io/requests.storage", "1Gi"),
            ("persistentvolumeclaims", "1"),
            ("requests.storage", "1Gi"),
        ],
    );
    check("secrets", json!({}), &[("count/secrets", "1"), ("secrets", "1")]);
}

#[test]
fn resource_claims_use() {
    let check = |requests: Value, expected: &[(&str, &str)]| {
        let mut claim = Usage::new();
        devices(&json!({"requests": requests}), &mut claim);
        let shown: Vec<(&str, String)> = claim.iter().map(|(n, a)| (n.as_str(), a.to_string())).collect();
        let name = |class: &str| format!("{class}.deviceclass.resource.k8s.io/devices");
        let expected: Vec<(String, String)> =
            expected.iter().map(|(n, a)| (name(n), (*a).to_owned())).collect();
        let expected: Vec<(&str, String)> = expected.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
        assert_eq!(shown, expected, "{requests}");
    };
    let exact = |class: &str, count: i64| json!({"deviceClassName": class, "allocationMode": "ExactCount", "count": count});
    let all = json!({"deviceClassName": "gpu", "allocationMode": "All"});
    check(
        json!([{"exactly": exact("gpu", 2)}, {"exactly": exact("nic", 1)}, {"exactly": exact("gpu", 1)}]),
        &[("gpu", "3"), ("nic", "1")],
    );
    check(json!([{"exactly": all}]), &[("gpu", "32")]);
    check(
        json!([{"firstAvailable": [exact("gpu", 1), exact("gpu", 3), exact("nic", 2)]}]),
        &[("gpu", "3"), ("nic", "2")],
    );
    check(json!([exact("gpu", 2)]), &[("gpu", "2")]);
    let claim = json!({"spec": {"devices": {"requests": [{"exactly": exact("gpu", 2)}]}}});
    let whole = usage("resource.k8s.io", "resourceclaims", &claim, Timestamp::now());
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        ["count/resourceclaims.resource.k8s.io", "gpu.deviceclass.resource.k8s.io/devices"]
    );
}

#[test]
fn scopes() {
    let best_effort = json!({"spec": {"containers": [{"name": "a"}]}});
    let urgent = json!({"spec": {"priorityClassName": "high", "activeDeadlineSeconds": 5,
        "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}});
    let far = json!({"spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["other"]}]}}}});
    let check = |scope: Value, pod: &Value, expected: bool| {
        assert_eq!(in_scopes(&scope, "", "pods", pod), expected, "{scope} {pod}");
    };
    let scope = |name: &str| json!({"scopes": [name]});
    for (name, of_best_effort, of_urgent) in [
        ("BestEffort", true, false),
        ("NotBestEffort", false, true),
        ("Terminating", false, true),
        ("NotTerminating", true, false),
        ("PriorityClass", false, true),
        ("CrossNamespacePodAffinity", false, false),
    ] {
        check(scope(name), &best_effort, of_best_effort);
        check(scope(name), &urgent, of_urgent);
    }
    check(scope("CrossNamespacePodAffinity"), &far, true);
    let class = |operator: &str, values: Value| {
        let term = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        json!({"scopeSelector": {"matchExpressions": [term]}})
    };
    for (operator, values, of_none, of_high) in [
        ("In", json!(["high"]), false, true),
        ("In", json!(["low"]), false, false),
        ("NotIn", json!(["high"]), true, false),
        ("Exists", json!(null), false, true),
        ("DoesNotExist", json!(null), true, false),
    ] {
        check(class(operator, values.clone()), &best_effort, of_none);
        check(class(operator, values), &urgent, of_high);
    }
    assert!(!in_scopes(&scope("BestEffort"), "", "secrets", &json!({})), "only pods have these scopes");
    assert!(in_scopes(&json!({}), "apps", "deployments", &json!({})));
}

#[test]
fn what_must_be_specified() {
    let pod = json!({"spec": {"containers": [
        {"name": "b"},
        {"name": "a", "resources": {"limits": {"cpu": "1"}}},
    ]}});
    let check = |hard: Value, expected: Option<&str>| {
        assert_eq!(missing(&hard, "", "pods", &pod).as_deref(), expected, "{hard}");
    };
    check(json!({"pods": "1"}), None);
    check(json!({"limits.cpu": "1"}), Some("limits.cpu for: b"));
    check(json!({"limits.cpu": "1", "memory": "1"}), Some("limits.cpu for: b; memory for: a,b"));
}
