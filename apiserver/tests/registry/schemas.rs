//! Custom resources whose schemas say little, or say it in other words than most.
use super::custom::CRDS;
use super::harness::Server;
use knarr_api::Value;
use serde_json::json;

const ODDS: &str = "/apis/odd.io/v1/namespaces/default/odds";

fn definition(schema: &Value) -> Value {
    let version = |name: &str, schema: &Value| json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}});
    let other = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "string"}, "old": {"type": "string"}}}}});
    json!({"metadata": {"name": "odds.odd.io"}, "spec": {"group": "odd.io", "scope": "Namespaced",
        "names": {"plural": "odds", "kind": "Odd"}, "versions": [version("v1", schema), version("v1beta1", &other)]}})
}

async fn serving(schema: &Value) -> Server {
    let server = Server::start().await;
    server.post(CRDS, &definition(schema)).await.expect(201);
    server
}

fn odd(members: Value) -> Value {
    let mut object = json!({"apiVersion": "odd.io/v1", "kind": "Odd", "metadata": {"name": "a"}});
    object.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    object
}

#[tokio::test]
async fn undeclared_members_are_applied() {
    let keeps = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"spec": {"type": "object", "properties": {"inner": {"type": "object",
            "x-kubernetes-embedded-resource": true, "properties": {"data": {"type": "string"}}}}}}});
    let server = serving(&keeps).await;
    let path = format!("{ODDS}/a");
    let apply = async |manager: &str, members: Value| {
        let config = odd(members);
        server.patch(&format!("{path}?fieldManager={manager}"), "apply-patch+yaml", &config).await
    };
    let inner = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "data": "d"});
    let sent = json!({"extra": {"deep": [1]}, "spec": {"inner": inner}});
    let applied = apply("one", sent.clone()).await.expect(201);
    assert_eq!((&applied["extra"], &applied["spec"]), (&sent["extra"], &sent["spec"]));
    let fields = &applied["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(fields["f:extra"], json!({".": {}, "f:deep": {}}));
    assert_eq!(fields["f:spec"]["f:inner"]["f:kind"], json!({}));
    let refused = apply("two", json!({"extra": {"deep": [2]}})).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("conflict with \"one\": .extra.deep"), "{refused}");
    let unknown = apply("one", json!({"spec": {"inner": {"apiVersion": "v1", "kind": "X", "dta": 1}}})).await;
    assert!(
        unknown.expect(500)["message"]
            .as_str()
            .unwrap()
            .ends_with(".spec.inner.dta: field not declared in schema")
    );
    // What is not applied again goes.
    let fewer = apply("one", json!({"spec": {"inner": inner}})).await.expect(200);
    assert_eq!(fewer["extra"], Value::Null);
}

#[tokio::test]
async fn stored_defaults_count_for_every_version() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "string"}, "new": {"type": "string", "default": "given"}}}}});
    let server = serving(&schema).await;
    let old = json!({"apiVersion": "odd.io/v1beta1", "kind": "Odd", "metadata": {"name": "a"}, "spec": {"a": "y", "old": "x"}});
    let old_path = "/apis/odd.io/v1beta1/namespaces/default/odds";
    let made = server.post(old_path, &old).await.expect(201);
    assert_eq!(made["spec"], json!({"a": "y"}), "what the stored version lacks is not kept");
    let read = server.get(&format!("{ODDS}/a")).await.expect(200);
    assert_eq!(read["spec"], json!({"a": "y", "new": "given"}));
}

#[tokio::test]
async fn patterns_are_those_of_re2() {
    let text = |pattern: &str| {
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string", "pattern": pattern, "maxLength": 1000}}}}})
    };
    let server = serving(&text("^[\\w][\\w.-]{0,127}[[]$")).await;
    server.post(ODDS, &odd(json!({"spec": {"a": "v1.2["}}))).await.expect(201);
    let refused =
        server.post(ODDS, &odd(json!({"metadata": {"name": "b"}, "spec": {"a": "é["}}))).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("should match '^[\\w]"), "{refused}");
    let mut wrong = definition(&text("a**"));
    wrong["metadata"]["name"] = "evens.odd.io".into();
    wrong["spec"]["names"] = json!({"plural": "evens", "kind": "Even"});
    let refused = server.post(CRDS, &wrong).await.expect(422);
    let said = "must be a valid regular expression, but isn't: error parsing regexp: invalid nested repetition operator: `**`";
    assert!(refused["message"].as_str().unwrap().contains(said), "{refused}");
}

#[tokio::test]
async fn a_bundle_of_nobody_keeps_a_definition_from_being_served() {
    let server = Server::start().await;
    let mut odd =
        definition(&json!({"type": "object", "properties": {"a": {"type": "string", "format": "odd"}}}));
    odd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://example.com/", "caBundle": "Cg=="}}});
    let created = server.post(CRDS, &odd).await;
    assert_eq!(created.headers["warning"], "299 - \"unrecognized format \\\"odd\\\"\"");
    let created = created.expect(201);
    let established = |crd: &Value| {
        let conditions = crd["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == "Established").unwrap();
        (found["status"].clone(), found["reason"].clone())
    };
    assert_eq!(established(&created), (json!("False"), json!("InvalidCABundle")));
    assert_eq!(server.get(ODDS).await.code, 404);
    let path = format!("{CRDS}/odds.odd.io");
    let bundle = async |bundle: &str| {
        let patch = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}}});
        server.patch(&path, "merge-patch+json", &patch).await
    };
    assert_eq!(established(&bundle("").await.expect(200)).0, "True");
    let refused = bundle("Cg==").await.expect(422);
    let said = "spec.conversion.webhookClientConfig.caBundle: Invalid value: \"Cg==\": unable to load root certificates: \
                unable to parse bytes as PEM block";
    assert!(refused["message"].as_str().unwrap().ends_with(said), "{refused}");
    let crd = server.get(&path).await.expect(200);
    assert_eq!(crd["spec"]["conversion"]["webhook"]["clientConfig"].get("caBundle"), None);
}
