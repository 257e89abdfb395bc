//! Access reviews: selectors in both forms, what is refused, what authorizers cannot list, and failures of one.
use crate::harness::{Client, Server};
use crate::remote::Remote;
use crate::tokens::kubeconfig;
use http::Method;
use knarr_api::Value;
use serde_json::json;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";

async fn asked(client: &Client, resource: Value) -> Value {
    let spec = json!({"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": resource});
    client.create(REVIEWS, &json!({"spec": spec})).await["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let pods = |selector: Value| json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
    let requirement = |operator: &str, value: &str| json!({"key": "spec.nodeName", "operator": operator, "values": [value]});
    for (selector, allowed) in [
        (json!({"rawSelector": "spec.nodeName=n"}), true),
        (json!({"rawSelector": "spec.nodeName=m"}), false),
        (json!({"requirements": [requirement("In", "n")]}), true),
        (json!({"requirements": [requirement("NotIn", "n")]}), false),
        (json!({"requirements": [requirement("In", "m")]}), false),
    ] {
        let status = asked(&admin, pods(selector.clone())).await;
        assert_eq!(status["allowed"], allowed, "{selector}: {status}");
        let reason = "can only list/watch pods with spec.nodeName field selector";
        assert!(allowed || status["reason"] == reason, "{status}");
    }
    let newer = json!([requirement("In", "n"), {"key": "a", "operator": "Newer"}]);
    let status = asked(&admin, pods(json!({"requirements": newer}))).await;
    let partly = "spec.resourceAttributes.fieldSelector partially ignored due to parse error";
    assert_eq!((&status["allowed"], &status["evaluationError"]), (&json!(true), &json!(partly)));
    let both = json!({"rawSelector": "a=b", "requirements": [requirement("In", "n")]});
    let (code, refusal) =
        admin.post(REVIEWS, &json!({"spec": {"user": "u", "resourceAttributes": pods(both)}})).await;
    assert_eq!(code, 422, "{refusal}");
    let text = "spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements";
    assert!(refusal["message"].as_str().unwrap().ends_with(text), "{refusal}");
    let named =
        json!({"metadata": {"name": "x"}, "spec": {"user": "u", "resourceAttributes": {"verb": "get"}}});
    let (code, refusal) = admin.post(REVIEWS, &named).await;
    assert!(code == 422 && refusal["message"].as_str().unwrap().ends_with("must be empty"), "{refusal}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubelets_select() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let node = server.user("system:node:n", &["system:nodes"]);
    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    for (path, code) in [
        ("/api/v1/pods", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn%2Cstatus.phase%21%3DFailed", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName%21%3Dn", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dm", 403),
        ("/api/v1/pods?fieldSelector=status.phase%3Dx%5C%2Cspec.nodeName%5C%3Dn", 403),
        ("/api/v1/watch/pods?fieldSelector=spec.nodeName%3Dn", 403),
        ("/api/v1/nodes", 403),
        ("/api/v1/nodes?fieldSelector=metadata.name%3Dn", 200),
        (slices, 403),
        (&format!("{slices}?fieldSelector=spec.nodeName%3Dn"), 200),
        (&format!("{slices}/other"), 403),
        ("/api/v1/serviceaccounts", 403),
    ] {
        assert_eq!(node.get(path).await.0, code, "{path}");
    }
    let (_, refusal) = node.get("/api/v1/nodes").await;
    let text = "node 'n' cannot read all nodes, only its own Node object";
    assert!(refusal["message"].as_str().unwrap().ends_with(text), "{refusal}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_listed_or_asked() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody answers there by the time it is asked.
    let remote = Remote::start(|_| json!({})).await;
    let config = kubeconfig(directory.path(), "webhook", &remote, "/decide");
    drop(remote);
    let more = [
        "--authorization-mode=RBAC,Webhook",
        "--authorization-webhook-config-file",
        &config,
        "--authorization-webhook-version=v1",
    ];
    let server = Server::start_bare(directory.path(), &more).await;
    let ann = server.user("ann", &[]);
    let answer = ann.create(RULES, &json!({"spec": {"namespace": "default"}})).await;
    let text = "webhook authorizer does not support user rule resolution";
    assert_eq!(answer["status"]["incomplete"], true);
    assert_eq!(answer["status"]["evaluationError"], text);
    assert!(answer["status"]["resourceRules"].as_array().is_some_and(|rules| !rules.is_empty()));
    let path = "/api/v1/namespaces/default/configmaps?limit=1&labelSelector=a";
    let answer = ann.raw(Method::GET, path, &[], "").await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let begins =
        "Internal Server Error: \"/api/v1/namespaces/default/configmaps?limit=1&amp;labelSelector=a\": ";
    assert!(text.starts_with(begins) && text.ends_with('\n'), "{text}");
    server.stop().await;
}
