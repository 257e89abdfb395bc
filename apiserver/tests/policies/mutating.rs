//! MutatingAdmissionPolicy.
use crate::{MAPS, bound, create, map, start};
use http::Method;
use serde_json::{Value, json};

const KIND: &str = "MutatingAdmissionPolicy";

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_change_the_object_in_order() {
    let (_directory, _server, admin) = start().await;
    let spec = json!({
        "matchConditions": [{"name": "c", "expression": "request.operation == 'CREATE'"}],
        "variables": [{"name": "who", "expression": "request.userInfo.username"}],
        "mutations": [
            apply("Object{metadata: Object.metadata{labels: {'by': variables.who}}, data: {'a': '1'}}"),
            patch("has(object.data.a) ? [JSONPatch{op: 'add', path: '/data/b', value: object.data.a + '2'}, \
                   JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: 'z'}] : []"),
        ],
    });
    bound(&admin, KIND, spec, json!({})).await;
    let made = admin.create(MAPS, &map("m", json!({"own": "0"}))).await;
    assert_eq!(made["data"], json!({"own": "0", "a": "1", "b": "12"}));
    assert_eq!(made["metadata"]["labels"], json!({"by": "admin", "x/y": "z"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_merged_by_their_keys() {
    let (_directory, _server, admin) = start().await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["deployments"]}]},
        "mutations": [apply(
            "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{\
             containers: [Object.spec.template.spec.containers{name: 'side', image: 'side:1'}, \
             Object.spec.template.spec.containers{name: 'main', imagePullPolicy: 'Always'}]}}}}")],
    });
    bound(&admin, KIND, spec, json!({})).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": "main:1"}]}}}});
    let made = admin.create("/apis/apps/v1/namespaces/default/deployments", &deployment).await;
    let containers = made["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let mut seen: Vec<(&Value, &Value, &Value)> =
        containers.iter().map(|c| (&c["name"], &c["image"], &c["imagePullPolicy"])).collect();
    seen.sort_by_key(|(name, ..)| name.to_string());
    let (main, side) = (
        (json!("main"), json!("main:1"), json!("Always")),
        (json!("side"), json!("side:1"), json!("IfNotPresent")),
    );
    assert_eq!(seen, [(&main.0, &main.1, &main.2), (&side.0, &side.1, &side.2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_follow_the_policy() {
    for (expression, text) in [
        (
            "Object{data: {'a': object.nope}}",
            "expression 'Object{data: {'a': object.nope}}' resulted in error: no such key: nope",
        ),
        ("Object{nope: 1}", "error applying patch: .nope: field not declared in schema"),
        (
            "Object{metadata: Object.spec{name: 'x'}}",
            "unexpected type name \"Object.spec\", expected \"Object.metadata\"",
        ),
    ] {
        for (policy, wanted) in [("Fail", 422), ("Ignore", 201)] {
            let (_directory, _server, admin) = start().await;
            let spec = json!({"failurePolicy": policy, "mutations": [apply(expression)]});
            bound(&admin, KIND, spec, json!({})).await;
            let (code, _, message) = create(&admin, "m", json!({})).await;
            assert_eq!(code, wanted, "{message}");
            if code == 422 {
                let with = "is forbidden: policy 'p' with binding 'b' denied request: ";
                assert!(message.contains(with) && message.contains(text), "{message}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_policy_sees_what_a_later_one_changed() {
    let (_directory, _server, admin) = start().await;
    let first = json!({"reinvocationPolicy": "IfNeeded", "mutations": [
        apply("Object{data: {'seen': string(has(object.data) && 'late' in object.data)}}")]});
    bound(&admin, KIND, first, json!({})).await;
    let late = json!({"metadata": {"name": "q"}, "spec": {"matchConstraints": crate::config_maps(),
        "reinvocationPolicy": "Never", "mutations": [apply("Object{data: {'late': 'yes'}}")]}});
    admin.create("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies", &late).await;
    let binding = json!({"metadata": {"name": "q"}, "spec": {"policyName": "q"}});
    admin.create("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings", &binding).await;
    let made = admin.create(MAPS, &map("m", json!({}))).await;
    assert_eq!(made["data"], json!({"seen": "true", "late": "yes"}));
    let (code, _) = admin.send(Method::DELETE, &format!("{MAPS}/m"), "").await;
    assert_eq!(code, 200);
}
