//! Small kinds: configuration, access, networking, storage, policy.
use super::*;

#[test]
fn configuration() {
    check(
        "",
        "ConfigMap",
        json!({"data": {"a b": ""}, "binaryData": {"c": ""}}),
        &[
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or \
         '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ],
    );
    check(
        "",
        "ConfigMap",
        json!({"data": {"a": "x".repeat(1 << 21)}}),
        &["[]: Too long: may not be more than 1048576 bytes"],
    );
    check_update(
        "",
        "ConfigMap",
        json!({"data": {"a": "1"}, "immutable": true}),
        json!({"data": {"a": "2"}, "immutable": null}),
        &[
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set",
        ],
    );
    check(
        "",
        "Secret",
        json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
        &["data[tls.key]: Required value"],
    );
    check(
        "",
        "Secret",
        json!({"type": "kubernetes.io/service-account-token"}),
        &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    );
    check_update(
        "",
        "Secret",
        json!({"type": "Opaque"}),
        json!({"type": "x"}),
        &["type: Invalid value: \"x\": field is immutable"],
    );
}

#[test]
fn access() {
    let group = "rbac.authorization.k8s.io";
    check(
        group,
        "Role",
        json!({"rules": [{"verbs": []}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
            "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ],
    );
    let binding = json!({
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "d"}, {"kind": "User", "apiGroup": group, "name": "u"}]});
    check(group, "RoleBinding", binding.clone(), &[]);
    check_update(
        group,
        "RoleBinding",
        binding.clone(),
        json!({"roleRef": {"name": "edit"}}),
        &[
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\
         \"edit\"}: cannot change roleRef",
        ],
    );
    let mut bad = binding;
    bad["subjects"] = json!([{"kind": "ServiceAccount", "name": "a"}, {"kind": "Robot", "name": "r"}]);
    check(
        group,
        "RoleBinding",
        bad,
        &[
            "subjects[0].namespace: Required value",
            "subjects[1].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ],
    );
}

#[test]
fn networking() {
    let path = |ty: &str, path: &str| {
        json!({"spec": {"rules": [{"host": "a.b", "http": {"paths": [{
        "pathType": ty, "path": path, "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}})
    };
    let group = "networking.k8s.io";
    check(group, "Ingress", path("Prefix", "/"), &[]);
    check(
        group,
        "Ingress",
        json!({"spec": {}}),
        &["spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"],
    );
    check(
        group,
        "Ingress",
        path("Exact", "x"),
        &["spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path"],
    );
    check(
        group,
        "NetworkPolicy",
        json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [
        {}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"]}}]}]}}),
        &[
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
        ],
    );
    let address = json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "d"}}});
    check(group, "IPAddress", address, &[]);
    check(
        group,
        "ServiceCIDR",
        json!({"spec": {"cidrs": ["10.0.0.1/24"]}}),
        &["spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length"],
    );
    check(
        "discovery.k8s.io",
        "EndpointSlice",
        json!({"addressType": "IPv4", "endpoints": [
        {"addresses": []}, {"addresses": ["::1"]}], "ports": [{"name": "A", "port": 1, "protocol": "TCP"}]}),
        &[
            "endpoints[0].addresses: Required value: must contain at least 1 address",
            "endpoints[1].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
            format!("ports[0].name: Invalid value: \"A\": {LABEL}").as_str(),
        ],
    );
}

#[test]
fn storage_and_policy() {
    let claim = |amount: &str| {
        json!({
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": amount}}},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}})
    };
    check("", "PersistentVolumeClaim", claim("1Gi"), &[]);
    check(
        "",
        "PersistentVolumeClaim",
        json!({"spec": {}}),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
    check_update("", "PersistentVolumeClaim", claim("1Gi"), claim("2Gi"), &[]);
    check_update(
        "",
        "PersistentVolumeClaim",
        claim("1Gi"),
        claim("1Mi"),
        &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
    );
    check_update(
        "",
        "PersistentVolumeClaim",
        claim("1Gi"),
        json!({"spec": {"accessModes": ["ReadWriteMany"]}}),
        &["spec: Forbidden: spec is immutable after creation except resources.requests and \
             volumeAttributesClassName for bound claims"],
    );
    check(
        "",
        "PersistentVolume",
        json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
        &["spec: Required value: must specify a volume type"],
    );
    check(
        "policy",
        "PodDisruptionBudget",
        json!({"spec": {"minAvailable": 1, "maxUnavailable": "200%"}}),
        &[
            "spec: Invalid value: {\"maxUnavailable\":\"200%\",\"minAvailable\":1}: minAvailable and maxUnavailable \
         cannot be both set",
            "spec.maxUnavailable: Invalid value: \"200%\": must not be greater than 100%",
        ],
    );
    check(
        "scheduling.k8s.io",
        "PriorityClass",
        json!({"metadata": {"name": "system-x"}, "value": 1}),
        &[
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
             error: system-x is not a known system priority class",
        ],
    );
    check(
        "scheduling.k8s.io",
        "PriorityClass",
        json!({"metadata": {"name": "system-node-critical"}, "value": 1}),
        &[
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
             error: value of system-node-critical PriorityClass must be 2000001000",
        ],
    );
    check_update(
        "scheduling.k8s.io",
        "PriorityClass",
        json!({"value": 1}),
        json!({"value": 2}),
        &["value: Forbidden: may not be changed in an update."],
    );
    check(
        "coordination.k8s.io",
        "Lease",
        json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
        &[
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    check(
        "",
        "ResourceQuota",
        json!({"spec": {"hard": {"pods": "1500m", "frobs": "1", "count/x.y": "1"}}}),
        &[
            "spec.hard[frobs]: Invalid value: \"frobs\": must be a standard resource type or fully qualified",
            "spec.hard[frobs]: Invalid value: \"frobs\": must be a standard resource for quota",
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
        ],
    );
}

#[test]
fn events() {
    let group = "events.k8s.io";
    let namespace = json!({"metadata": {"namespace": "n"}});
    let good = json!({"metadata": {"namespace": "n"}, "regarding": {"namespace": "n", "name": "a"}, "type": "Normal",
        "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "k8s.io/x", "reportingInstance": "i",
        "reason": "r", "action": "a", "note": "told"});
    let with = |change: Value| {
        let mut value = good.clone();
        crate::patch::merge::apply(&mut value, change);
        value
    };
    let former = json!({"deprecatedCount": 4, "deprecatedSource": {"component": "c"},
        "deprecatedFirstTimestamp": "2026-01-02T03:04:05Z", "deprecatedLastTimestamp": "2026-01-02T03:04:05Z"});
    check(group, "Event", good.clone(), &[]);
    check(
        group,
        "Event",
        with(former),
        &[
            "firstTimestamp: Invalid value: \"\": needs to be unset",
            "lastTimestamp: Invalid value: \"\": needs to be unset",
            "count: Invalid value: \"\": needs to be unset",
            "source: Invalid value: \"\": needs to be unset",
        ],
    );
    check(
        group,
        "Event",
        with(json!({"regarding": {"namespace": null}, "type": "x", "series": {"count": 1}, "action": ""})),
        &[
            "involvedObject.namespace: Invalid value: \"\": does not match event.namespace",
            "action: Required value",
            "series.count: Invalid value: \"\": should be at least 2",
            "series.lastObservedTime: Required value",
            "type: Invalid value: \"\": has invalid value: x",
        ],
    );
    check_update(
        group,
        "Event",
        good.clone(),
        json!({"note": "other", "deprecatedCount": 4, "series": {"count": 2}}),
        &[
            "series.lastObservedTime: Required value",
            "message: Invalid value: \"other\": field is immutable",
            "count: Invalid value: 4: field is immutable",
        ],
    );
    // What was written through the core version counts on through the other.
    let mut old = json!({"count": 1, "involvedObject": {"namespace": "n"}, "type": "odd"});
    crate::patch::merge::apply(&mut old, namespace);
    check("", "Event", old.clone(), &[]);
    check_update("", "Event", old, json!({"count": 2, "message": "x"}), &[]);
    check(
        "",
        "Event",
        json!({"metadata": {"namespace": "n"}, "eventTime": "2026-01-02T03:04:05.000000Z", "type": "odd",
            "involvedObject": {"namespace": "other"}, "reportingComponent": "a b", "reason": "r", "action": "a"}),
        &[
            "reportingController: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or \
             '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
             regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "reportingInstance: Required value",
        ],
    );
}
