//! A minimal valid object for every resource that the table stores.
use knarr_api::Value;
use knarr_api::kind::Kind;
use serde_json::json;

/// The object to create for a resource, without metadata; null: the resource is made by others only.
pub fn minimal(kind: &Kind) -> Value {
    let labels = json!({"app": "a"});
    let container = json!({"name": "c", "image": "i"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let selector = json!({"matchLabels": labels});
    let job = json!({"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}});
    let reference = json!({"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"});
    let webhook = json!([{"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://x.example/hook"}}]);
    match (&*kind.gvk.group, &*kind.plural) {
        ("", "pods") => json!({"spec": {"containers": [container]}}),
        ("", "podtemplates") => json!({"template": template}),
        ("", "replicationcontrollers") => json!({"spec": {"selector": labels, "template": template}}),
        ("", "services") => json!({"spec": {"ports": [{"port": 80}]}}),
        ("", "events") => json!({"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}}),
        ("events.k8s.io", "events") => json!({
            "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "k8s.io/x", "reportingInstance": "i",
            "action": "a", "reason": "r", "type": "Normal", "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        }),
        ("", "limitranges") => json!({"spec": {"limits": [{"type": "Container"}]}}),
        ("", "persistentvolumes") => json!({"spec": {"capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}}),
        ("", "persistentvolumeclaims") => json!({"spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}),
        ("apps", "daemonsets" | "deployments" | "replicasets") => {
            json!({"spec": {"selector": selector, "template": template}})
        }
        ("apps", "statefulsets") => {
            json!({"spec": {"selector": selector, "template": template, "serviceName": "s"}})
        }
        ("apps", "controllerrevisions") => json!({"revision": 1, "data": {}}),
        ("batch", "jobs") => json!({"spec": job}),
        ("batch", "cronjobs") => json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}}),
        ("autoscaling", _) => {
            json!({"spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}})
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            let kind = if kind.namespaced { "Role" } else { "ClusterRole" };
            let mut reference = reference;
            reference["kind"] = kind.into();
            json!({"roleRef": reference})
        }
        ("storage.k8s.io", "storageclasses") => json!({"provisioner": "x.example/p"}),
        ("storage.k8s.io", "csidrivers") => json!({"spec": {}}),
        ("storage.k8s.io", "csinodes") => json!({"spec": {"drivers": []}}),
        ("storage.k8s.io", "csistoragecapacities") => json!({"storageClassName": "s"}),
        ("storage.k8s.io", "volumeattachments") => {
            json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "p"}}})
        }
        ("storage.k8s.io", "volumeattributesclasses") => {
            json!({"driverName": "d.example", "parameters": {"a": "b"}})
        }
        ("networking.k8s.io", "ingresses") => {
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})
        }
        ("networking.k8s.io", "ingressclasses") => json!({"spec": {"controller": "x.example/c"}}),
        ("networking.k8s.io", "networkpolicies") => json!({"spec": {"podSelector": {}}}),
        ("networking.k8s.io", "ipaddresses") => {
            json!({"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}})
        }
        ("networking.k8s.io", "servicecidrs") => json!({"spec": {"cidrs": ["10.55.0.0/24"]}}),
        ("policy", "poddisruptionbudgets") => json!({"spec": {"minAvailable": 1, "selector": selector}}),
        ("scheduling.k8s.io", "priorityclasses") => json!({"value": 5}),
        ("node.k8s.io", "runtimeclasses") => json!({"handler": "h"}),
        ("coordination.k8s.io", "leases") => json!({"spec": {}}),
        ("discovery.k8s.io", "endpointslices") => json!({"addressType": "IPv4", "endpoints": []}),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            json!({"spec": {"request": request(), "signerName": "x.example/s", "usages": ["client auth"]}})
        }
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => {
            json!({"spec": {"matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "p"}}})
        }
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => {
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}})
        }
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations" | "mutatingwebhookconfigurations",
        ) => {
            json!({"webhooks": webhook})
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => json!({"spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]},
            "validations": [{"expression": "true"}]}}),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => {
            json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})
        }
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => json!({"spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]},
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}}),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings") => {
            json!({"spec": {"policyName": "p"}})
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => json!({"spec": {
            "group": "x.example", "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
        ("apiregistration.k8s.io", "apiservices") => {
            json!({"spec": {"group": "x.example", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10}})
        }
        ("resource.k8s.io", "resourceclaims") => json!({"spec": {}}),
        ("resource.k8s.io", "resourceclaimtemplates") => json!({"spec": {"spec": {}}}),
        ("resource.k8s.io", "deviceclasses") => json!({"spec": {}}),
        ("resource.k8s.io", "resourceslices") => json!({"spec": {"driver": "d.example", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
        _ => json!({}),
    }
}

/// The name of the object, where the kind has rules about it.
pub fn name(kind: &Kind) -> &'static str {
    match &*kind.plural {
        "ipaddresses" => "10.55.0.9",
        "apiservices" => "v1.x.example",
        "customresourcedefinitions" => "things.x.example",
        _ => "one",
    }
}

/// A certificate request, base64.
fn request() -> String {
    use base64::Engine;
    let key = rcgen::KeyPair::generate().unwrap();
    let pem =
        rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}
