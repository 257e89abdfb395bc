//! Server-side apply over HTTP: what `kubectl apply --server-side` and controllers send.
use super::harness::{Reply, Server};
use http::Method;
use serde_json::{Value, json};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

async fn apply(server: &Server, path: &str, query: &str, body: &str) -> Reply {
    let headers = [("content-type", "application/apply-patch+yaml")];
    server.send(Method::PATCH, &format!("{path}?{query}"), &headers, body.as_bytes().to_vec()).await
}

fn fields<'v>(object: &'v Value, manager: &str) -> &'v Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().find(|e| e["manager"] == manager).map_or(&Value::Null, |e| &e["fieldsV1"])
}

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx
        resources: {requests: {cpu: 0.5}}
        ports: [{containerPort: 80}]
";

#[tokio::test]
async fn a_deployment_is_made_changed_and_shared() {
    let server = Server::start().await;
    let made = apply(&server, DEPLOYMENT, "fieldManager=one", WEB).await.expect(201);
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"], "500m");
    assert_eq!(made["spec"]["strategy"]["type"], "RollingUpdate");
    let owned = &fields(&made, "one")["f:spec"];
    assert_eq!(owned.get("f:strategy"), None, "defaults belong to nobody: {owned}");
    let again = apply(&server, DEPLOYMENT, "fieldManager=one", WEB).await.expect(200);
    assert_eq!(again, made);

    // Another manager with another value is refused, unless it insists.
    let three = WEB.replace("replicas: 2", "replicas: 3");
    let refused = apply(&server, DEPLOYMENT, "fieldManager=two", &three).await.expect(409);
    assert_eq!(refused["message"], "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = apply(&server, DEPLOYMENT, "fieldManager=two&force=true", &three).await.expect(200);
    assert_eq!(forced["spec"]["replicas"], 3);
    assert_eq!(fields(&forced, "one")["f:spec"].get("f:replicas"), None);

    // What nobody applies any more is gone.
    let bare = WEB.replace("        ports: [{containerPort: 80}]\n", "");
    let kept = apply(&server, DEPLOYMENT, "fieldManager=one", &bare.replace("  replicas: 2\n", ""))
        .await
        .expect(200);
    assert!(kept["spec"]["template"]["spec"]["containers"][0]["ports"].is_array(), "two still applies it");
    let gone =
        apply(&server, DEPLOYMENT, "fieldManager=two", &bare.replace("replicas: 2", "replicas: 3")).await;
    assert_eq!(gone.expect(200)["spec"]["template"]["spec"]["containers"][0].get("ports"), None);
}

#[tokio::test]
async fn refusals_and_dry_runs() {
    let server = Server::start().await;
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1'}}";
    for (query, body, code) in [
        ("", map, 422),
        ("fieldManager=one", "{kind: ConfigMap}", 400),
        ("fieldManager=one", "{apiVersion: v1, metadata: {name: a}}", 400),
        ("fieldManager=one", "{apiVersion: v1, kind: Secret, metadata: {name: a}}", 400),
        ("fieldManager=one", "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}", 400),
        ("fieldManager=one", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u}}", 409),
        ("fieldManager=one", "{apiVersion: v1, kind: ConfigMap, metadata: {managedFields: []}}", 400),
        ("fieldManager=one", "{apiVersion: v1, kind: ConfigMap, dada: {}}", 500),
        ("fieldManager=one", "a: [", 400),
        ("fieldManager=one&dryRun=All", map, 201),
    ] {
        apply(&server, MAP, query, body).await.expect(code);
        server.get(MAP).await.expect(404);
    }
    apply(&server, MAP, "fieldManager=one", map).await.expect(201);
    let stale =
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, resourceVersion: '1'}, data: {x: '2'}}";
    apply(&server, MAP, "fieldManager=one", stale).await.expect(409);
    let live = server.get(MAP).await.expect(200);
    assert_eq!(live["data"], json!({"x": "1"}));
}
