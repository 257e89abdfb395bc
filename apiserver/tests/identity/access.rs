//! Webhooks that decide who may do what.
use crate::harness::{Server, eventually};
use crate::remote::{Asked, Remote};
use crate::tokens::kubeconfig;
use knarr_api::Value;
use serde_json::json;

fn decide(asked: &Asked) -> Value {
    let spec = &asked.body["spec"];
    let status = match spec["resourceAttributes"]["resource"].as_str().unwrap_or_default() {
        "secrets" => json!({"allowed": false, "denied": true, "reason": "never"}),
        "configmaps" => json!({"allowed": spec["user"] == "ann"}),
        _ => json!({"allowed": false}),
    };
    json!({"apiVersion": asked.body["apiVersion"], "kind": "SubjectAccessReview", "status": status})
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_webhooks() {
    let directory = tempfile::tempdir().unwrap();
    let remote = Remote::start(decide).await;
    let kubeconfig = kubeconfig(directory.path(), "webhook", &remote, "/decide");
    let path = directory.path().join("authorization.json");
    let write = |condition: &str, kubeconfig: &str, policy: &str| {
        let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
            "authorizers": [{"type": "RBAC", "name": "rbac"}, {"type": "Webhook", "name": "w", "webhook": {
                "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": policy,
                "matchConditionSubjectAccessReviewVersion": "v1",
                "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig},
                "matchConditions": [{"expression": condition}]}}]});
        std::fs::write(&path, file.to_string()).unwrap();
    };
    write("has(request.resourceAttributes)", &kubeconfig, "NoOpinion");
    let config = path.display().to_string();
    let server = Server::start_bare(directory.path(), &["--authorization-config", &config]).await;
    let (ann, bob) = (server.user("ann", &[]), server.user("bob", &[]));
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!((ann.get(maps).await.0, bob.get(maps).await.0), (200, 403));
    let selected = format!("{maps}?labelSelector=a%3Db");
    assert_eq!(ann.get(&selected).await.0, 200);
    let asked = remote.asked();
    let requirements = json!([{"key": "a", "operator": "In", "values": ["b"]}]);
    let attributes = &asked.last().unwrap().body["spec"]["resourceAttributes"];
    assert_eq!(attributes["labelSelector"]["requirements"], requirements);
    assert_eq!(
        (ann.get(maps).await.0, remote.asked().len()),
        (200, asked.len()),
        "verdicts hold for a while"
    );
    let (code, status) = ann.get("/api/v1/namespaces/default/secrets").await;
    assert!(code == 403 && status["message"].as_str().unwrap().ends_with(": never"), "{status}");
    // Paths do not concern the webhook.
    let before = remote.asked().len();
    assert_eq!((ann.get("/metrics").await.0, remote.asked().len()), (403, before));
    // The file is read again; what cannot be asked is an error and not a yes.
    write("request.user != 'ann'", &kubeconfig, "NoOpinion");
    eventually(async || ann.get(maps).await.0 == 403).await;
    drop(remote);
    write("true", &kubeconfig, "Deny");
    eventually(async || ann.get(maps).await.0 == 500).await;
    assert_eq!(server.admin().get(maps).await.0, 200);
    server.stop().await;
}
