//! Pods: containers, volumes, and what an update may change.
use super::*;

#[test]
fn pods() {
    let label = format!("spec.containers[0].name: Invalid value: \"A\": {LABEL}");
    for (object, expected) in [
        (pod(json!({})), vec![]),
        (pod(json!({"spec": {"containers": []}})), vec!["spec.containers: Required value"]),
        (pod_with(json!({"name": "A"})), vec![label.as_str()]),
        (
            pod_with(json!({"name": null, "image": null})),
            vec!["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
        ),
        (
            pod_with(json!({"image": " i"})),
            vec![
                "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
            ],
        ),
        (
            pod_with(json!({"imagePullPolicy": "Sometimes"})),
            vec![
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \
                 \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            pod_with(json!({"ports": [
                {"containerPort": 0, "protocol": "TCP"}, {"containerPort": 70000, "protocol": "tcp"}]})),
            vec![
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, \
                 inclusive",
                "spec.containers[0].ports[1].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \
                 \"TCP\", \"UDP\"",
            ],
        ),
        (
            pod_with(json!({"ports": [
                {"containerPort": 80, "hostPort": 80, "protocol": "TCP"},
                {"containerPort": 81, "hostPort": 80, "protocol": "TCP"}]})),
            vec!["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\""],
        ),
        (
            pod_with(json!({"env": [
                {"name": "A=B"}, {"name": "X", "valueFrom": {}},
                {"name": "Y", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.phase"}}},
                {"name": "Z", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.foo"}}}]})),
            vec![
                "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must \
                 consist only of printable ASCII characters other than '='",
                "spec.containers[0].env[1].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, \
                 `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
                "spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": \
                 supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
                 \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \
                 \"status.podIPs\"",
                "spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": error \
                 converting fieldPath: field label not supported: spec.foo",
            ],
        ),
        (
            pod_with(
                json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]}),
            ),
            vec![
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
                "spec.containers[0].volumeMounts[1].name: Not found: \"v\"",
                "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/x\": must be unique",
            ],
        ),
        (
            pod_with(json!({"resources": {
                "limits": {"cpu": "1", "foo": "1", "x.io/gpu": "1500m"},
                "requests": {"cpu": "2", "memory": "-1"}}})),
            vec![
                "spec.containers[0].resources.limits[foo]: Invalid value: \"foo\": must be a standard resource \
                 type or fully qualified",
                "spec.containers[0].resources.limits[foo]: Invalid value: \"foo\": must be a standard resource \
                 for containers",
                "spec.containers[0].resources.limits[x.io/gpu]: Invalid value: \"1500m\": must be an integer",
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu \
                 limit of 1",
                "spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or \
                 equal to 0",
            ],
        ),
        (
            pod_with(
                json!({"livenessProbe": {"successThreshold": 2, "httpGet": {"path": "/", "port": "A", "scheme": "HTTP"}, "exec": {}}}),
            ),
            vec![
                "spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
                "spec.containers[0].livenessProbe.exec.command: Required value",
                "spec.containers[0].livenessProbe.httpGet.port: Invalid value: \"A\": must contain only \
                 alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "spec.containers[0].livenessProbe.httpGet.port: Invalid value: \"A\": must contain at least one \
                 letter (a-z)",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            pod(json!({"spec": {"volumes": [
                {"name": "a", "emptyDir": {}}, {"name": "a", "hostPath": {"path": "/a/.."}}, {"name": "b"},
                {"name": "c", "configMap": {"name": "m", "defaultMode": 1000}, "emptyDir": {}}]}})),
            vec![
                "spec.volumes[1].name: Duplicate value: \"a\"",
                "spec.volumes[1].hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
                "spec.volumes[2]: Required value: must specify a volume type",
                "spec.volumes[3].emptyDir: Forbidden: may not specify more than 1 volume type",
                "spec.volumes[3].configMap.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 \
                 (octal), both inclusive",
            ],
        ),
        (
            pod(json!({"spec": {"tolerations": [
                {"operator": "Equal"}, {"key": "a", "operator": "Exists", "value": "b"},
                {"key": "a", "tolerationSeconds": 5, "effect": "NoSchedule"}]}})),
            vec![
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is \
                 empty, which means \"match all values and all keys\"",
                "spec.tolerations[1].operator: Invalid value: {\"key\":\"a\",\"operator\":\"Exists\",\"value\":\
                 \"b\"}: value must be empty when `operator` is 'Exists'",
                "spec.tolerations[2].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when \
                 `tolerationSeconds` is set",
            ],
        ),
        (
            pod(json!({"spec": {"restartPolicy": "Maybe", "activeDeadlineSeconds": 0, "hostname": "a.b"}})),
            vec![
                "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"Never\", \
                 \"OnFailure\"",
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
                "spec.hostname: Invalid value: \"a.b\": must not contain dots",
            ],
        ),
        (
            pod(json!({"spec": {"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {}}]}}}})),
            vec![
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: \
                 Required value: must have at least one node selector term",
                "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid \
                 value: 0: must be in the range 1-100",
            ],
        ),
        (
            pod(json!({"spec": {"initContainers": [{
                "name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
                "lifecycle": {}}]}})),
            vec![
                "spec.initContainers[0].name: Duplicate value: \"c\"",
                "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without \
                 restartPolicy=Always",
            ],
        ),
    ] {
        check("", "Pod", object, &expected);
    }
}

#[test]
fn pod_updates() {
    let image = |image: &str| {
        json!({"spec": {"containers": [{
        "name": "c", "image": image, "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
        "terminationMessagePath": "/dev/termination-log", "resources": {}}]}})
    };
    check_update("", "Pod", pod(json!({})), image("j"), &[]);
    check_update("", "Pod", pod(json!({})), json!({"spec": {"tolerations": [{"operator": "Exists"}]}}), &[]);
    check_update("", "Pod", pod(json!({})), json!({"metadata": {"labels": {"a": "b"}}}), &[]);
    check_update(
        "",
        "Pod",
        pod(json!({"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}})),
        json!({"spec": {"tolerations": []}}),
        &[
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );
    check_update(
        "",
        "Pod",
        pod(json!({})),
        json!({"spec": {"containers": [container(), {
            "name": "d", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}}),
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
    check_update(
        "",
        "Pod",
        pod(json!({"spec": {"activeDeadlineSeconds": 5}})),
        json!({"spec": {"activeDeadlineSeconds": 6}}),
        &["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"],
    );
    check_update(
        "",
        "Pod",
        pod(json!({})),
        json!({"spec": {"nodeName": "n"}}),
        &["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
             existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
             previously negative)\n-spec.nodeName: null\n+spec.nodeName: \"n\"\n"],
    );
    let gated = || pod(json!({"spec": {"schedulingGates": [{"name": "a"}], "nodeSelector": {"x": "y"}}}));
    check_update(
        "",
        "Pod",
        gated(),
        json!({"spec": {"schedulingGates": [], "nodeSelector": {"z": "y"}}}),
        &[],
    );
    check_update(
        "",
        "Pod",
        gated(),
        json!({"spec": {"schedulingGates": [{"name": "b"}]}}),
        &["spec.schedulingGates[0]: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"],
    );
}

#[test]
fn restart_rules_and_names() {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    check("", "Pod", pod_with(json!({"restartPolicy": "Never", "restartPolicyRules": rules})), &[]);
    check(
        "",
        "Pod",
        pod_with(json!({"restartPolicyRules": rules})),
        &[
            "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
        ],
    );
}
