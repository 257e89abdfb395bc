//! Whole objects and the texts of all their faults.
mod extensions;
mod inventory;
mod machinery;
mod pods;

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

fn deployment(change: Value) -> Value {
    let mut object = json!({"spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template(),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}});
    crate::patch::merge::apply(&mut object, change);
    object
}

#[test]
fn apps() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
            vec![
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template \
                 `labels`",
            ],
        ),
        (json!({"spec": {"selector": null}}), vec!["spec.selector: Required value"]),
        (
            json!({"spec": {"selector": {"matchLabels": null}}}),
            vec!["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            json!({"spec": {"replicas": -1, "strategy": {"type": "Recreate"}}}),
            vec![
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ],
        ),
        (
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}}}),
            vec![
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` \
                 is 0",
            ],
        ),
        (
            json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}, "progressDeadlineSeconds": 5,
                "minReadySeconds": 5}}),
            vec![
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
                "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
            ],
        ),
        (
            json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
            vec![
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ],
        ),
    ] {
        check("apps", "Deployment", deployment(change), &expected);
    }
    check_update(
        "apps",
        "Deployment",
        deployment(json!({})),
        json!({"spec": {"selector": {"matchLabels": {"c": "d"}}, "template": {"metadata": {"labels": {"c": "d"}}}}}),
        &["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}: field is immutable"],
    );
    let set = json!({"spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template(), "serviceName": "s",
        "podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate"}}});
    check_update("apps", "StatefulSet", set.clone(), json!({"spec": {"replicas": 2}}), &[]);
    check_update(
        "apps",
        "StatefulSet",
        set,
        json!({"spec": {"serviceName": "t"}}),
        &[
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
             'minReadySeconds' are forbidden",
        ],
    );
    check(
        "apps",
        "DaemonSet",
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template(), "updateStrategy": {
            "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}}}),
        &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    );
}

#[test]
fn batch() {
    let template = |policy: &str| {
        let mut template = template();
        template["spec"]["restartPolicy"] = json!(policy);
        template
    };
    let job = |policy: &str| {
        json!({"spec": {
        "parallelism": 1, "completions": 1, "completionMode": "NonIndexed",
        "selector": {"matchLabels": {"a": "b"}}, "template": template(policy)}})
    };
    check("batch", "Job", job("Never"), &[]);
    check(
        "batch",
        "Job",
        job("Always"),
        &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
    );
    check_update(
        "batch",
        "Job",
        job("Never"),
        json!({"spec": {"completions": 2, "parallelism": 3}}),
        &["spec.completions: Invalid value: 2: field is immutable"],
    );
    let cron = |schedule: &str| {
        json!({"spec": {
        "schedule": schedule, "concurrencyPolicy": "Allow", "jobTemplate": {"spec": {"template": template("Never")}}}})
    };
    check("batch", "CronJob", cron("*/5 * * * *"), &[]);
    check(
        "batch",
        "CronJob",
        cron("x"),
        &["spec.schedule: Invalid value: \"x\": expected exactly 5 fields, found 1: [x]"],
    );
    let mut zoned = cron("@daily");
    zoned["spec"]["timeZone"] = json!("Mars/Base");
    check(
        "batch",
        "CronJob",
        zoned,
        &["spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base"],
    );
}

fn service(change: Value) -> Value {
    let mut object = json!({"spec": {
        "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}});
    crate::patch::merge::apply(&mut object, change);
    object
}

#[test]
fn services() {
    for (change, expected) in [
        (json!({}), vec![]),
        (json!({"spec": {"ports": []}}), vec!["spec.ports: Required value"]),
        (json!({"spec": {"ports": [], "clusterIP": "None", "clusterIPs": ["None"]}}), vec![]),
        (
            json!({"spec": {"ports": [
                {"port": 0, "protocol": "TCP", "targetPort": 80}, {"port": 81, "protocol": "x", "targetPort": "B"}]}}),
            vec![
                "spec.ports[0].name: Required value",
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[1].name: Required value",
                "spec.ports[1].protocol: Unsupported value: \"x\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ports[1].targetPort: Invalid value: \"B\": must contain only alpha-numeric characters (a-z, \
                 0-9), and hyphens (-)",
                "spec.ports[1].targetPort: Invalid value: \"B\": must contain at least one letter (a-z)",
            ],
        ),
        (
            json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30000}]}}),
            vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (json!({"spec": {"type": "ExternalName", "ports": []}}), vec!["spec.externalName: Required value"]),
        (
            json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}}),
            vec!["spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`"],
        ),
        (
            json!({"spec": {"externalTrafficPolicy": "Local"}}),
            vec![
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible \
                 services",
            ],
        ),
        (
            json!({"spec": {"externalIPs": ["127.0.0.1", "x", "010.0.0.1"], "externalTrafficPolicy": "Cluster"}}),
            vec![
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, \
                 ::1/128)",
                "spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
                "spec.externalIPs[2]: Invalid value: \"010.0.0.1\": must not have leading 0s",
            ],
        ),
    ] {
        check("", "Service", service(change), &expected);
    }
    let set = service(
        json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]}}),
    );
    check_update("", "Service", set.clone(), json!({"spec": {"selector": {"a": "b"}}}), &[]);
    check_update(
        "",
        "Service",
        set,
        json!({"spec": {"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}}),
        &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
    );
}

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
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only",
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
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
        ],
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
