//! Workloads, jobs and services.
use super::*;

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
    let mut claiming = set.clone();
    let mounts = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"name": name, "mountPath": format!("/{name}")})).collect()
    };
    claiming["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    claiming["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts(&["data"]);
    check("apps", "StatefulSet", claiming.clone(), &[]);
    claiming["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts(&["data", "none"]);
    let unknown = "spec.template.spec.containers[0].volumeMounts[1].name: Not found: \"none\"";
    check("apps", "StatefulSet", claiming, &[unknown]);
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
        (
            json!({"spec": {"ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80},
                {"name": "b", "port": 80, "protocol": "TCP", "targetPort": 81}]}}),
            vec![
                "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\
                 \"TargetPort\":0,\"NodePort\":0}",
            ],
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
