//! Defaults in tables; the way to every rule against the facts where they are at hand.
use super::*;
use crate::json;
use crate::table::{builtin, tests::fact};
use serde_json::json;

#[track_caller]
fn check(api_version: &str, kind: &str, mut value: Value, expected: &Value) {
    let api = builtin();
    let ty = api.type_of_document(api_version, kind).unwrap();
    json::normalize(&api.schema, ty, &mut value, &mut Vec::new()).unwrap();
    apply(api, ty, &mut value);
    let mut again = value.clone();
    json::normalize(&api.schema, ty, &mut again, &mut Vec::new()).unwrap();
    assert_eq!(again, value, "not canonical");
    apply(api, ty, &mut again);
    assert_eq!(again, value, "not idempotent");
    let mut expected = expected.clone();
    json::normalize(&api.schema, ty, &mut expected, &mut Vec::new()).unwrap();
    assert_eq!(value, expected, "\n{value:#}");
}

fn pod_spec(containers: &Value) -> Value {
    json!({"containers": containers, "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler"})
}

fn merged(mut value: Value, more: Value) -> Value {
    if let (Value::Object(a), Value::Object(b)) = (&mut value, more) {
        a.extend(b);
    }
    value
}

#[test]
fn pods() {
    let container = json!({"name": "a", "image": "x", "imagePullPolicy": "Always",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"});
    let spec = merged(pod_spec(&json!([container])), json!({"enableServiceLinks": true}));
    check(
        "v1",
        "Pod",
        json!({"spec": {"containers": [{"name": "a", "image": "x"}]}}),
        &json!({"spec": spec}),
    );
    let full = merged(
        container,
        json!({
            "image": "x:1", "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1m", "memory": "1Gi"}, "requests": {"cpu": "1m", "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "env": [{"name": "E", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
        }),
    );
    let spec = merged(
        pod_spec(&json!([full])),
        json!({"enableServiceLinks": true, "hostNetwork": true,
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
            {"name": "h", "hostPath": {"path": "/", "type": ""}}]}),
    );
    check(
        "v1",
        "Pod",
        json!({"spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "x:1",
        "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "100u", "memory": "1Gi"}},
        "livenessProbe": {"httpGet": {"port": 80}},
        "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}],
        "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}, {"name": "h", "hostPath": {"path": "/"}}]}}),
        &json!({"spec": spec}),
    );
}

#[test]
fn pod_level_resources() {
    let api = builtin();
    let ty = api.type_of_document("v1", "Pod").unwrap();
    let mut pod = json!({"spec": {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
        "containers": [{"resources": {"requests": {"cpu": "500m"}}}, {"resources": {"requests": {"cpu": "100m"}}}],
        "initContainers": [{"resources": {"requests": {"cpu": "50m"}}, "restartPolicy": "Always"},
            {"resources": {"requests": {"cpu": "1"}}}]}});
    apply(api, ty, &mut pod);
    assert_eq!(pod["spec"]["resources"]["requests"], json!({"cpu": "1050m", "memory": "1Gi"}));
}

#[test]
fn workloads() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod_spec(&json!([]))});
    let given = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
    check(
        "apps/v1",
        "Deployment",
        json!({"spec": {"template": given}}),
        &json!({"spec": {"template": template,
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}}}),
    );
    check(
        "apps/v1",
        "Deployment",
        json!({"spec": {"replicas": 0, "template": given, "strategy": {"type": "Recreate"}}}),
        &json!({"spec": {"template": template, "replicas": 0, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "Recreate"}}}),
    );
    check(
        "apps/v1",
        "DaemonSet",
        json!({"spec": {"template": given}}),
        &json!({"spec": {"template": template,
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}}),
    );
    check(
        "apps/v1",
        "StatefulSet",
        json!({"spec": {"template": given, "volumeClaimTemplates": [{"spec": {}}]}}),
        &json!({"spec": {"template": template, "replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "volumeClaimTemplates": [{"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}]}}),
    );
    check(
        "v1",
        "ReplicationController",
        json!({"spec": {"template": given}}),
        &json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"template": template, "replicas": 1, "selector": {"a": "b"}}}),
    );
    check(
        "batch/v1",
        "Job",
        json!({"spec": {"template": given}}),
        &json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"template": template, "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
        "suspend": false, "podReplacementPolicy": "TerminatingOrFailed", "manualSelector": false}}),
    );
    check(
        "batch/v1",
        "Job",
        json!({"metadata": {"labels": {"x": "y"}}, "spec": {"parallelism": 2, "backoffLimitPerIndex": 1, "template": given, "podFailurePolicy": {"rules": []}}}),
        &json!({"metadata": {"labels": {"x": "y"}}, "spec": {"template": template, "parallelism": 2, "backoffLimitPerIndex": 1, "backoffLimit": 2_147_483_647, "completionMode": "NonIndexed",
        "suspend": false, "podFailurePolicy": {"rules": []}, "podReplacementPolicy": "Failed", "manualSelector": false}}),
    );
}

#[test]
fn services() {
    check(
        "v1",
        "Service",
        json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "x", "protocol": "UDP"}]}}),
        &json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}, {"port": 81, "targetPort": "x", "protocol": "UDP"}]}}),
    );
    check(
        "v1",
        "Service",
        json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "x"}]}}}),
        &json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
        "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true},
        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}, {"hostname": "x"}]}}}),
    );
    check(
        "v1",
        "Service",
        json!({"spec": {"type": "ExternalName", "externalName": "a.b", "sessionAffinityConfig": {}}}),
        &json!({"spec": {"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}}),
    );
    check(
        "v1",
        "Service",
        json!({"spec": {"externalIPs": ["1.2.3.4"]}}),
        &json!({"spec": {"externalIPs": ["1.2.3.4"], "type": "ClusterIP",
        "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}}),
    );
}

#[test]
fn others() {
    check(
        "v1",
        "Namespace",
        json!({"metadata": {"name": "x"}}),
        &json!({"metadata": {"name": "x", "labels": {"kubernetes.io/metadata.name": "x"}}, "status": {"phase": "Active"}}),
    );
    check("v1", "Namespace", json!({}), &json!({"status": {"phase": "Active"}}));
    check("v1", "Secret", json!({}), &json!({"type": "Opaque"}));
    check("v1", "ConfigMap", json!({}), &json!({}));
    check(
        "v1",
        "LimitRange",
        json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}}),
        &json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"cpu": "2"},
        "defaultRequest": {"cpu": "2", "memory": "1Mi"}}]}}),
    );
    check(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 1}]}]}}),
        &json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 1, "protocol": "TCP"}]}], "policyTypes": ["Ingress", "Egress"]}}),
    );
    check(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        json!({"roleRef": {"kind": "ClusterRole", "name": "a"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
        &json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "a"}, "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount", "name": "s"}]}),
    );
    check(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        json!({"spec": {"behavior": {"scaleDown": {"policies": []}}}}),
        &json!({"spec": {"minReplicas": 1, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
        "scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}}}),
    );
    check(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        json!({"ports": [{"port": 1}]}),
        &json!({"ports": [{"port": 1, "name": "", "protocol": "TCP"}]}),
    );
    check(
        "networking.k8s.io/v1",
        "IngressClass",
        json!({"spec": {"parameters": {"kind": "A", "name": "b"}}}),
        &json!({"spec": {"parameters": {"kind": "A", "name": "b", "scope": "Cluster"}}}),
    );
    check(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        json!({"spec": {"names": {"kind": "Foo", "plural": "foos"}, "versions": [{"name": "v1", "served": true, "storage": true}]}}),
        &json!({"spec": {"names": {"kind": "Foo", "plural": "foos", "singular": "foo", "listKind": "FooList"}, "conversion": {"strategy": "None"},
        "versions": [{"name": "v1", "served": true, "storage": true}]}, "status": {"storedVersions": ["v1"]}}),
    );
    check(
        "resource.k8s.io/v1",
        "ResourceClaim",
        json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}}),
        &json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}}]}}}),
    );
}

/// The places of a kind where something is defaulted, in order, as the facts word them.
fn places(
    plan: &Plan,
    schema: &Schema,
    ty: TypeId,
    path: &str,
    depth: usize,
    out: &mut Vec<(String, String)>,
) {
    if depth > 20 {
        return;
    }
    let (this, own) = (schema.get(ty), &plan.types[ty.0 as usize]);
    if !own.rules.is_empty() {
        out.push((path.to_owned(), this.name.to_string()));
    }
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for field in &this.fields {
        if own.markers.iter().any(|(name, ..)| *name == field.name) {
            out.push((at(&field.name), "default".to_owned()));
        }
        for nested in own.nested.iter().filter(|n| n.name == field.name) {
            match &nested.form {
                Form::Inline(id) if field.shape.reference() == Some(*id) => {
                    places(plan, schema, *id, path, depth + 1, out)
                }
                Form::Struct(id) => places(plan, schema, *id, &at(&field.name), depth + 1, out),
                Form::List(id) => {
                    places(plan, schema, *id, &format!("{}[]", at(&field.name)), depth + 1, out)
                }
                Form::Map(id) => {
                    places(plan, schema, *id, &format!("{}[*]", at(&field.name)), depth + 1, out)
                }
                Form::ResourceList => {
                    out.push((at(&field.name), "io.k8s.api.core.v1.ResourceList".to_owned()))
                }
                Form::Inline(_) => {}
            }
        }
    }
}

#[test]
fn every_default_of_the_facts_is_reached() {
    let Some(path) = fact("defaults.json") else { return };
    let facts: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let api = builtin();
    for (name, wanted) in facts["kinds"].as_object().unwrap() {
        let ty = api.schema.find(name).unwrap();
        let mut ours = Vec::new();
        places(&api.defaults, &api.schema, ty, "", 0, &mut ours);
        let wanted: Vec<_> = wanted
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let rule = entry[1].as_str().unwrap_or("default");
                (entry[0].as_str().unwrap().to_owned(), rule.to_owned())
            })
            .filter(|(_, rule)| rule != "io.k8s.api.core.v1.ConfigMap")
            .collect();
        let missing: Vec<_> = wanted.iter().filter(|w| !ours.contains(w)).collect();
        let extra: Vec<_> = ours.iter().filter(|o| !wanted.contains(o)).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{name}: missing {missing:?}, extra {extra:?}");
    }
}
