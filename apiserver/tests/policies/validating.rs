//! ValidatingAdmissionPolicy.
use crate::{MAPS, bound, create, map, start, warnings};
use http::Method;
use serde_json::{Value, json};

const KIND: &str = "ValidatingAdmissionPolicy";

fn refusal(name: &str, text: &str) -> (u16, String, String) {
    let message = format!(
        "configmaps \"{name}\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {text}"
    );
    (422, "Invalid".to_owned(), message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_refuses_what_its_expressions_do_not_allow() {
    let (_directory, _server, admin) = start().await;
    let mut constraints = crate::config_maps();
    constraints["resourceRules"][0]["operations"] = json!(["*"]);
    let spec = json!({
        "matchConstraints": constraints,
        "matchConditions": [{"name": "not-mine", "expression": "!object.metadata.name.startsWith('free')"}],
        "variables": [
            {"name": "size", "expression": "object.?data.orValue({}).size()"},
            {"name": "large", "expression": "variables.size > 2"}],
        "validations": [
            {"expression": "!variables.large", "messageExpression": "'%d entries are too many'.format([variables.size])"},
            {"expression": "!has(object.data.forbidden)", "reason": "Forbidden", "message": "no such entry"},
            {"expression": "!has(object.data.secret)"},
            {"expression": "request.operation != 'UPDATE' || object.data == oldObject.data", "message": "data stays"},
            {"expression": "namespaceObject.metadata.name == 'default' && request.userInfo.username == 'admin'"}],
    });
    bound(&admin, KIND, spec, json!({})).await;
    assert_eq!(create(&admin, "a", json!({"x": "1"})).await.0, 201);
    let many = json!({"a": "1", "b": "1", "c": "1"});
    assert_eq!(create(&admin, "b", many.clone()).await, refusal("b", "3 entries are too many"));
    assert_eq!(create(&admin, "free", many).await.0, 201);
    let (code, reason, message) = create(&admin, "c", json!({"forbidden": ""})).await;
    assert_eq!((code, reason.as_str()), (403, "Forbidden"), "{message}");
    assert!(message.ends_with("denied request: no such entry"), "{message}");
    let failed = refusal("d", "failed expression: !has(object.data.secret)");
    assert_eq!(create(&admin, "d", json!({"secret": ""})).await, failed);
    let metrics = admin.raw(Method::GET, "/metrics", &[], "").await;
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    let counted = "apiserver_validating_admission_policy_check_total{policy=\"p\",policy_binding=\"b\",error_type=\"no_error\",enforcement_action=\"deny\"} 3";
    let found: Vec<&str> =
        metrics.lines().filter(|line| line.contains("validating_admission_policy_check_total")).collect();
    assert!(found.contains(&counted), "{found:?}");
    let changed = map("a", json!({"x": "2"})).to_string();
    let (code, answer) = admin.send(Method::PUT, &format!("{MAPS}/a"), changed).await;
    assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")), "{answer}");
    let cause = answer["details"]["causes"][0]["message"].as_str().unwrap();
    assert_eq!(cause, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: data stays");
    let (code, answer) = admin.get(&format!("{MAPS}/a")).await;
    assert_eq!((code, &answer["data"]), (200, &json!({"x": "1"})));
    // What is deleted has no object, and the first condition cannot be told.
    let (code, answer) = admin.send(Method::DELETE, &format!("{MAPS}/a"), "").await;
    assert_eq!(code, 422, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("resulted in error: no such overload"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_instead_of_refusals() {
    let (_directory, _server, admin) = start().await;
    let spec = json!({"validations": [{"expression": "false", "message": "beware"}]});
    bound(&admin, KIND, spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let told = warnings(&admin, "a", json!({})).await;
    let text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': beware";
    assert_eq!(told, [format!("299 - \"{text}\"")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_what_the_binding_says() {
    let (_directory, _server, admin) = start().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "others", "expression": "object.metadata.name != params.metadata.name"}],
        "validations": [{"expression": "object.data.size() <= int(params.data.max)",
            "messageExpression": "'at most ' + params.data.max"}],
    });
    bound(&admin, KIND, spec, json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}}))
        .await;
    let missing =
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(create(&admin, "limits", json!({"max": "1"})).await, refusal("limits", missing));
    let binding = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/b";
    let patch = json!({"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    assert_eq!(admin.raw(Method::PATCH, binding, &merge, patch).await.status(), 200);
    assert_eq!(create(&admin, "limits", json!({"max": "1"})).await.0, 201);
    assert_eq!(create(&admin, "a", json!({"x": "1"})).await.0, 201);
    assert_eq!(create(&admin, "b", json!({"x": "1", "y": "2"})).await, refusal("b", "at most 1"));
    let selector =
        json!({"spec": {"paramRef": {"name": null, "selector": {"matchLabels": {"limits": "yes"}}}}});
    assert_eq!(admin.raw(Method::PATCH, binding, &merge, selector.to_string()).await.status(), 200);
    assert_eq!(create(&admin, "b", json!({"x": "1", "y": "2"})).await.0, 201);
    let mut two = map("two", json!({"max": "2"}));
    two["metadata"]["labels"] = json!({"limits": "yes"});
    admin.create(MAPS, &two).await;
    let three = json!({"x": "1", "y": "2", "z": "3"});
    assert_eq!(create(&admin, "c", three).await, refusal("c", "at most 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_follow_the_policy() {
    for (policy, code) in [("Fail", 422), ("Ignore", 201)] {
        let (_directory, _server, admin) = start().await;
        let spec = json!({"failurePolicy": policy, "validations": [{"expression": "object.nope == 1"}]});
        bound(&admin, KIND, spec, json!({})).await;
        let (found, _, message) = create(&admin, "a", json!({})).await;
        assert_eq!(found, code, "{message}");
        if code == 422 {
            let text = "expression 'object.nope == 1' resulted in error: no such key: nope";
            assert!(message.ends_with(text), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_may_ask_the_authorizer() {
    let (_directory, _server, admin) = start().await;
    let spec = json!({"validations": [{"expression":
        "authorizer.group('').resource('secrets').namespace('default').check('delete').allowed() && \
         !authorizer.serviceAccount('default', 'nobody').requestResource.check('get').allowed()"}]});
    let (code, answer) = admin
        .post("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &json!({
            "metadata": {"name": "wrong"}, "spec": {"matchConstraints": crate::config_maps(), "validations": spec["validations"]}}))
        .await;
    assert_eq!(code, 422, "{answer}");
    let spec = json!({"validations": [
        {"expression": "authorizer.requestResource.check('delete').allowed()", "message": "may not delete"},
        {"expression": "!authorizer.serviceAccount('default', 'nobody').path('/x').check('get').allowed()"}]});
    bound(&admin, KIND, spec, json!({})).await;
    assert_eq!(create(&admin, "a", json!({})).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runaway_expression_is_stopped() {
    let (_directory, _server, admin) = start().await;
    let all = "object.data.all(a, object.data.all(b, object.data.all(c, a != b || b != c || c == a)))";
    let spec = json!({"validations": [{"expression": all}]});
    bound(&admin, KIND, spec, json!({})).await;
    let data: serde_json::Map<String, Value> = (0..300).map(|n| (format!("k{n}"), json!("v"))).collect();
    let text = "validation failed due to running out of cost budget, no further validation rules will be run";
    assert_eq!(create(&admin, "a", Value::Object(data)).await, refusal("a", text));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_compile_is_refused() {
    let (_directory, _server, admin) = start().await;
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": crate::config_maps(),
        "matchConditions": [{"name": "c", "expression": "1"}],
        "variables": [{"name": "v", "expression": "nope"}],
        "validations": [{"expression": "object.a +", "messageExpression": "1"}, {"expression": "variables.w"}]}});
    let (code, answer) =
        admin.post("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &policy).await;
    assert_eq!(code, 422, "{answer}");
    let causes = answer["details"]["causes"].as_array().unwrap();
    let found: Vec<(&str, &str)> =
        causes.iter().map(|c| (c["field"].as_str().unwrap(), c["message"].as_str().unwrap())).collect();
    let fields: Vec<&str> = found.iter().map(|(field, _)| *field).collect();
    let wanted = [
        "spec.matchConditions[0].expression",
        "spec.variables[0].expression",
        "spec.validations[0].expression",
        "spec.validations[0].messageExpression",
        "spec.validations[1].expression",
    ];
    assert_eq!(fields, wanted, "{found:?}");
    assert_eq!(found[0].1, "Invalid value: \"1\": must evaluate to bool");
    assert!(found[1].1.contains("undeclared reference to 'nope' (in container '')"), "{found:?}");
    assert!(found[2].1.contains("Syntax error"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_checked() {
    let (_directory, _server, admin) = start().await;
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"],
            "resources": ["deployments", "statefulsets"]}]},
        "variables": [{"name": "spec", "expression": "object.spec"}],
        "validations": [{"expression": "object.spec.replicas <= 5"}, {"expression": "variables.spec.replica > 1"},
            {"expression": "object.spec.paused || object.metadata.labels.size() > 0"}]}});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let made = admin.create(path, &policy).await;
    assert_eq!(made["status"]["observedGeneration"], 1);
    let warnings = made["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    let fields: Vec<&str> = warnings.iter().map(|warning| warning["fieldRef"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.validations[1].expression", "spec.validations[2].expression"], "{warnings:?}");
    let text = "apps/v1, Kind=StatefulSet: ERROR: <input>:1:12: undefined field 'paused'\n | object.spec.paused || \
                object.metadata.labels.size() > 0\n | ...........^\n";
    assert_eq!(warnings[1]["warning"], text);
    let patch = json!({"spec": {"validations": [{"expression": "true"}]}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let answer = admin.raw(Method::PATCH, &format!("{path}/p"), &merge, patch).await;
    let changed: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(changed["status"], json!({"observedGeneration": 2, "typeChecking": {}}), "{changed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_parameters_must_be_able_to_read_them() {
    let (_directory, server, admin) = start().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([{"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]}]);
    let role = json!({"metadata": {"name": "author"}, "rules": rules});
    admin.create(&format!("{rbac}/clusterroles"), &role).await;
    let grant = |role: &str| {
        json!({"metadata": {"name": role}, "subjects": [{"kind": "User", "name": "author", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    };
    admin.create(&format!("{rbac}/clusterrolebindings"), &grant("author")).await;
    let author = server.user("author", &[]);
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    crate::harness::eventually(async || author.get(policies).await.0 == 200).await;
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": crate::config_maps(),
        "paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "has(params.data.x)"}]}});
    let (code, answer) = author.post(policies, &policy).await;
    assert_eq!(code, 422, "{answer}");
    assert_eq!(
        answer["details"]["causes"][0]["message"],
        "Forbidden: user author must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, \
         apiVersion=v1)"
    );
    admin.create(policies, &policy).await;
    let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"],
        "paramRef": {"name": "s", "namespace": "default", "parameterNotFoundAction": "Deny"}}});
    let (code, answer) = author.post(bindings, &binding).await;
    assert_eq!((code, &answer["details"]["causes"][0]["field"]), (422, &json!("spec.paramRef")), "{answer}");
    let reader = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    admin.create(&format!("{rbac}/clusterroles"), &reader).await;
    admin.create(&format!("{rbac}/clusterrolebindings"), &grant("reader")).await;
    crate::harness::eventually(async || author.post(bindings, &binding).await.0 == 201).await;
}
