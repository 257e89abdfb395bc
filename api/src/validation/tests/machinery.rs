//! Kinds that steer the cluster's machinery: autoscalers, flow control, devices, storage, certificates.
use super::*;

#[test]
fn autoscalers() {
    let good = |change: Value| {
        let mut object = json!({"spec": {
            "minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}});
        crate::patch::merge::apply(&mut object, change);
        object
    };
    let kind = table::builtin().kind("autoscaling", "v2", "HorizontalPodAutoscaler").expect("a kind");
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"spec": {"minReplicas": 0, "maxReplicas": -1, "scaleTargetRef": {"name": "a/b", "kind": null}}}),
            vec![
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: -1: must be greater than 0",
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
                "spec.scaleTargetRef.kind: Required value",
                "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to \
                 zero replicas",
            ],
        ),
        (
            json!({"spec": {"metrics": [{"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Value"}}}]}}),
            vec![
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value \
                 or a target utilization",
                "spec.metrics[0].pods: Required value: must populate information for the given metric source",
                "spec.metrics[0].resource: Forbidden: must populate the given metric source only",
            ],
        ),
        (
            json!({"spec": {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "Most",
                "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}, "scaleDown": {"policies": []}}}}),
            vec![
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to \
                 3600",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Most\": supported values: \"Disabled\", \
                 \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to \
                 1800",
                "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy",
            ],
        ),
    ] {
        let object = named(kind, good(change));
        assert_eq!(texts(&create(kind, &object)), expected, "{object}");
    }
}

#[test]
fn flow_control() {
    let group = "flowcontrol.apiserver.k8s.io";
    let rule = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]});
    check(
        group,
        "FlowSchema",
        json!({"spec": {"matchingPrecedence": 100, "priorityLevelConfiguration": {"name": "l"}, "rules": [
            {"subjects": [{"kind": "User", "user": {"name": "*"}}], "resourceRules": [rule]}]}}),
        &[],
    );
    check(
        group,
        "FlowSchema",
        json!({"spec": {"matchingPrecedence": 1, "rules": [{
            "subjects": [{"kind": "User", "group": {"name": "g"}}],
            "nonResourceRules": [{"verbs": ["fly"], "nonResourceURLs": ["x", "/a*"]}]}]}}),
        &[
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            "spec.rules[0].nonResourceRules[0].verbs: Unsupported value: [\"fly\"]: supported values: \"create\", \
             \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"x\": must start with slash",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a*\": wildcard can only do suffix \
             matching",
        ],
    );
    let limited = |queuing: Value| {
        json!({"spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 101,
            "limitResponse": {"type": "Queue", "queuing": queuing}}}})
    };
    check(
        group,
        "PriorityLevelConfiguration",
        limited(json!({"queues": 64, "handSize": 65, "queueLengthLimit": 0})),
        &[
            "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: 0: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)",
        ],
    );
    check(
        group,
        "PriorityLevelConfiguration",
        json!({"spec": {"type": "Exempt"}}),
        &["spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"],
    );
}

#[test]
fn devices() {
    let group = "resource.k8s.io";
    let exact = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1});
    let claim = |requests: Value| json!({"spec": {"devices": {"requests": requests}}});
    for (object, expected) in [
        (claim(json!([{"name": "r", "exactly": exact}])), vec![]),
        (
            claim(json!([{"name": "r"}, {"name": "r", "exactly": {"allocationMode": "ExactCount"}}])),
            vec![
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                "spec.devices.requests[1].exactly.deviceClassName: Required value",
                "spec.devices.requests[1].exactly.count: Invalid value: 0: must be greater than zero",
                "spec.devices.requests[1]: Duplicate value: \"r\"",
            ],
        ),
    ] {
        check(group, "ResourceClaim", object, &expected);
    }
    check_update(
        group,
        "ResourceClaim",
        claim(json!([{"name": "r", "exactly": exact}])),
        json!({"spec": {"devices": {"requests": []}}}),
        &["spec: Invalid value: {\"devices\":{\"requests\":[]}}: field is immutable"],
    );
    let slice = |change: Value| {
        let mut slice = json!({"spec": {
            "driver": "d.io", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "x", "attributes": {"model": {"string": "a"}}}]}});
        crate::patch::merge::apply(&mut slice, change);
        slice
    };
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"spec": {"allNodes": true}}),
            vec![
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, \
                 `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
        ),
        (
            json!({"spec": {"devices": [{"name": "x", "attributes": {"v": {"version": "1.2"}, "w": {}}}, {"name": "x"}]}}),
            vec![
                "spec.devices[0].attributes[v].version: Invalid value: \"1.2\": must be a string compatible with \
                 semver.org spec 2.0.0",
                "spec.devices[0].attributes[w]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[1]: Duplicate value: \"x\"",
            ],
        ),
        (
            json!({"spec": {"nodeName": "", "devices": [{"name": "x", "allNodes": true}]}}),
            vec![
                "spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string",
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, \
                 `perDeviceNodeSelection` is required",
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if \
                 `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            ],
        ),
        (
            json!({"spec": {"devices": [
                {"name": "x", "capacity": {"m": {"value": "4", "requestPolicy": {"default": "1"}}}},
                {"name": "y", "allowMultipleAllocations": true, "capacity": {
                    "a": {"value": "4", "requestPolicy": {"validValues": ["2", "1", "8"]}},
                    "b": {"value": "4", "requestPolicy": {"default": "3", "validValues": ["2", "1", "8"]}},
                    "c": {"value": "10", "requestPolicy": {
                        "default": "3", "validRange": {"min": "2", "max": "7", "step": "2"}}}}}]}}),
            vec![
                "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
                "spec.devices[1].capacity[a].requestPolicy.default: Required value: required when validValues is defined",
                "spec.devices[1].capacity[b].requestPolicy.validValues[1]: Invalid value: \"1\": values must be sorted in \
                 ascending order",
                "spec.devices[1].capacity[b].requestPolicy.validValues[2]: Invalid value: \"8\": option is larger than \
                 capacity value: 4",
                "spec.devices[1].capacity[b].requestPolicy.validValues: Invalid value: \"3\": default value is not valid \
                 according to the requestPolicy",
                "spec.devices[1].capacity[c].requestPolicy.validRange.step: Invalid value: \"3\": value is not a multiple of \
                 a given step (2) from (2)",
                "spec.devices[1].capacity[c].requestPolicy.validRange.step: Invalid value: \"7\": value is not a multiple of \
                 a given step (2) from (2)",
            ],
        ),
    ] {
        check(group, "ResourceSlice", slice(change), &expected);
    }
}

#[test]
fn certificates() {
    use base64::Engine;
    let request = base64::engine::general_purpose::STANDARD
        .encode("-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n");
    let good = json!({"spec": {"request": request, "signerName": "a.b/c", "usages": ["client auth"]}});
    check("certificates.k8s.io", "CertificateSigningRequest", good.clone(), &[]);
    let mut bad = good;
    bad["spec"]["signerName"] = json!("a");
    bad["spec"]["usages"] = json!(["flying", "any", "any"]);
    let errors = texts(&create(
        kind("certificates.k8s.io", "CertificateSigningRequest"),
        &named(kind("certificates.k8s.io", "CertificateSigningRequest"), bad),
    ));
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(
        errors[1].starts_with("spec.usages[0]: Unsupported value: \"flying\": supported values: \"any\", ")
    );
    assert_eq!(errors[2], "spec.usages[2]: Duplicate value: \"any\"");
}

#[test]
fn storage() {
    let group = "storage.k8s.io";
    check_update(
        group,
        "VolumeAttributesClass",
        json!({"driverName": "d", "parameters": {"a": "b"}}),
        json!({"parameters": {"a": "c"}}),
        &["parameters: Forbidden: updates to parameters are forbidden."],
    );
    check_update(
        group,
        "CSINode",
        json!({"spec": {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["k"], "allocatable": {"count": 1}}]}}),
        json!({"spec": {"drivers": [{"name": "d", "nodeID": "m", "topologyKeys": ["k"], "allocatable": {"count": 2}}]}}),
        &[
            "CSINodeDriver: Invalid value: {\"allocatable\":{\"count\":2},\"name\":\"d\",\"nodeID\":\"m\",\"topologyKeys\":\
             [\"k\"]}: field is immutable",
        ],
    );
    check(
        group,
        "CSIStorageCapacity",
        json!({"capacity": "-1"}),
        &[
            "storageClassName: Required value",
            "capacity: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    check(
        group,
        "VolumeAttachment",
        json!({"spec": {"attacher": "d", "nodeName": "n", "source": {}}}),
        &[
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ],
    );
    let volume = json!({"spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "nfs": {"server": "s", "path": "/p"}}});
    check("", "PersistentVolume", volume.clone(), &[]);
    check_update(
        "",
        "PersistentVolume",
        volume,
        json!({"spec": {"nfs": {"path": "x"}}}),
        &[
            "spec.nfs.path: Invalid value: \"x\": must be an absolute path",
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
        ],
    );
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    check_update(
        "",
        "PersistentVolumeClaim",
        claim.clone(),
        json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}),
        &[],
    );
    check_update(
        "",
        "PersistentVolumeClaim",
        claim.clone(),
        json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}}),
        &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
    );
    check_update(
        "",
        "PersistentVolumeClaim",
        claim,
        json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
        &["spec: Forbidden: spec is immutable after creation except resources.requests and \
             volumeAttributesClassName for bound claims"],
    );
}

#[test]
fn job_statuses() {
    let kind = kind("batch", "Job");
    let condition = |ty: &str| json!({"type": ty, "status": "True"});
    let (start, end) = ("2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z");
    for (old, new, expected) in [
        (json!({}), json!({"startTime": start, "active": 1, "ready": 1}), vec![]),
        (
            json!({"startTime": start, "active": 1}),
            json!({"startTime": start, "completionTime": end, "succeeded": 1,
                "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}),
            vec![],
        ),
        (
            json!({"startTime": start}),
            json!({"startTime": start, "active": 1, "conditions": [condition("Complete")]}),
            vec![
                "status.conditions: Invalid value: [{\"status\":\"True\",\"type\":\"Complete\"}]: cannot set Complete=True \
                 condition without the SuccessCriteriaMet=true condition",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
            ],
        ),
        (
            json!({"startTime": start, "conditions": [condition("FailureTarget"), condition("Failed")]}),
            json!({"startTime": end, "ready": 1}),
            vec![
                "status.ready: Invalid value: 1: cannot set more ready pods than active",
                "status.conditions: Invalid value: null: cannot disable the terminal Failed=True condition",
                "status.conditions: Invalid value: null: cannot disable the terminal FailureTarget=True condition",
                "status.startTime: Required value: startTime cannot be modified for unsuspended job",
            ],
        ),
    ] {
        let object =
            |status: &Value| named(kind, json!({"spec": {"completionMode": "NonIndexed"}, "status": status}));
        assert_eq!(texts(&status_update(kind, &object(&new), &object(&old))), expected, "{new}");
    }
}
