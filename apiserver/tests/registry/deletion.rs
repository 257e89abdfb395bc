//! Finalizers, propagation, preconditions, collections, namespaces.
use super::harness::Server;
use http::Method;
use serde_json::json;

const PATH: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn finalizers_hold_an_object() {
    let server = Server::start().await;
    server.post(PATH, &json!({"metadata": {"name": "a", "finalizers": ["x.example/f"]}})).await.expect(201);
    let marked = server.delete(&format!("{PATH}/a")).await.expect(200);
    assert_eq!(marked["kind"], "ConfigMap");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    server.delete(&format!("{PATH}/a")).await.expect(200);
    let freed = json!({"metadata": {"finalizers": null}});
    server.patch(&format!("{PATH}/a"), "merge-patch+json", &freed).await.expect(200);
    server.get(&format!("{PATH}/a")).await.expect(404);
}

#[tokio::test]
async fn propagation_becomes_finalizers() {
    let server = Server::start().await;
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        server.post(PATH, &json!({"metadata": {"name": policy.to_lowercase()}})).await.expect(201);
        let path = format!("{PATH}/{}", policy.to_lowercase());
        let body =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}).to_string();
        let marked = server.send(Method::DELETE, &path, &[], body.into_bytes()).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
    }
}

#[tokio::test]
async fn preconditions() {
    let server = Server::start().await;
    let created = server.post(PATH, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let delete = async |uid: &str| {
        let body = json!({"preconditions": {"uid": uid}}).to_string().into_bytes();
        server.send(Method::DELETE, &format!("{PATH}/a"), &[], body).await
    };
    let refused = delete("other").await.expect(409);
    let cause = format!(
        "the UID in the precondition (other) does not match the UID in record ({uid}). The object might have been \
         deleted and then recreated"
    );
    assert_eq!(refused["message"], format!("Operation cannot be fulfilled on ConfigMap \"a\": {cause}"));
    assert_eq!(delete(uid).await.expect(200)["status"], "Success");
}

#[tokio::test]
async fn collections() {
    let server = Server::start().await;
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        server.post(PATH, &json!({"metadata": {"name": name, "labels": {"l": label}}})).await.expect(201);
    }
    let deleted = server.delete(&format!("{PATH}?labelSelector=l%3Dx")).await.expect(200);
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let left = server.get(PATH).await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn namespaces_wait_for_finalize() {
    let server = Server::start().await;
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await.expect(201);
    let marked = server.delete("/api/v1/namespaces/n").await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    server.delete("/api/v1/namespaces/n").await.expect(200);
    let mut namespace = server.get("/api/v1/namespaces/n").await.expect(200);
    namespace["spec"]["finalizers"] = json!([]);
    server.put("/api/v1/namespaces/n/finalize", &namespace).await.expect(200);
    server.get("/api/v1/namespaces/n").await.expect(404);
}
