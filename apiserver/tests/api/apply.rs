//! Who may create by apply.
use crate::harness::{Server, eventually};
use http::Method;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";

#[tokio::test(flavor = "multi_thread")]
async fn apply_that_creates_needs_create() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let (admin, ann) = (server.admin(), server.user("ann", &[]));
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]});
    admin.create(&format!("{RBAC}/roles"), &json!({"metadata": {"name": "r"}, "rules": [rule]})).await;
    let binding = json!({
        "metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
    });
    admin.create(&format!("{RBAC}/rolebindings"), &binding).await;
    let path = "/api/v1/namespaces/default/configmaps/a";
    eventually(async || ann.get(path).await.0 == 404).await;
    let apply = async |client: &crate::harness::Client| {
        let headers = [("content-type", "application/apply-patch+yaml")];
        let body = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1'}}";
        let reply = client.raw(Method::PATCH, &format!("{path}?fieldManager=m"), &headers, body).await;
        let value: Value = serde_json::from_slice(reply.body()).expect("an object");
        (reply.status().as_u16(), value)
    };
    let (code, status) = apply(&ann).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")), "{status}");
    assert!(
        status["message"].as_str().expect("text").contains("cannot create resource \"configmaps\""),
        "{status}"
    );
    assert_eq!(apply(&admin).await.0, 201);
    assert_eq!(apply(&ann).await.0, 200);
    server.stop().await;
}
