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

const SCALER: &str = "autoscaling/%/namespaces/default/horizontalpodautoscalers/a";

fn scaler(version: &str, spec: &str) -> (String, String) {
    let path = format!("/apis/{}", SCALER.replace('%', version));
    let object = format!(
        "{{apiVersion: autoscaling/{version}, kind: HorizontalPodAutoscaler, metadata: {{name: a}}, spec: \
         {{maxReplicas: 3, scaleTargetRef: {{kind: Deployment, name: d, apiVersion: apps/v1}}, {spec}}}}}"
    );
    (path, object)
}

/// Entries keep speaking of the version they were written in, and are judged in it.
#[tokio::test]
async fn versions_with_other_fields() {
    let server = Server::start().await;
    let (v1, one) = scaler("v1", "targetCPUUtilizationPercentage: 50");
    apply(&server, &v1, "fieldManager=one", &one).await.expect(201);
    // The same wish in v2: nothing changes, and the entry speaks of v2 now.
    let metric = |n| {
        format!(
            "metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: \
             {n}}}}}}}]"
        )
    };
    let (v2, two) = scaler("v2", &metric(60));
    let refused = apply(&server, &v2, "fieldManager=two", &two).await.expect(409);
    let text = refused["message"].as_str().unwrap();
    assert!(text.contains("\"one\"") && text.contains("targetCPUUtilizationPercentage"), "{text}");
    let forced = apply(&server, &v2, "fieldManager=two&force=true", &two).await.expect(200);
    assert_eq!(fields(&forced, "one")["f:spec"].get("f:targetCPUUtilizationPercentage"), None);
    assert_eq!(forced["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v1");
    assert!(fields(&forced, "two")["f:spec"].get("f:metrics").is_some(), "{forced}");
    // Moving to another version removes what the old one's configuration set and the new one leaves out.
    let (_, bare) = scaler("v1", "minReplicas: 2");
    let bare = apply(&server, &v1, "fieldManager=two&force=true", &bare).await.expect(200);
    assert_eq!(bare["spec"]["targetCPUUtilizationPercentage"], 80, "the default: {bare}");
    assert_eq!(bare["spec"]["minReplicas"], 2);
}

#[tokio::test]
async fn kubectl_from_client_side_to_server_side() {
    let server = Server::start().await;
    let note = r#"{"apiVersion":"v1","data":{"x":"1"},"kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}"#;
    let map = json!({
        "metadata": {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": note}},
        "data": {"x": "1"},
    });
    let path = "/api/v1/namespaces/default/configmaps?fieldManager=kubectl-client-side-apply";
    server.post(path, &map).await.expect(201);
    let next = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}, data: {x: '2'}}";
    apply(&server, MAP, "fieldManager=other", next).await.expect(409);
    let taken = apply(&server, MAP, "fieldManager=kubectl", next).await.expect(200);
    let noted = &taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(noted.as_str().unwrap(), format!("{}\n", note.replace("\"1\"", "\"2\"")));
    assert_eq!(fields(&taken, "kubectl"), &json!({"f:data": {"f:x": {}}}));
}

#[tokio::test]
async fn subresources_reset_what_is_not_theirs() {
    let server = Server::start().await;
    apply(&server, DEPLOYMENT, "fieldManager=one", WEB).await.expect(201);
    let status = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, labels: {l: x}}, spec: {replicas: \
                  9}, status: {replicas: 2}}";
    let path = format!("{DEPLOYMENT}/status");
    let applied = apply(&server, &path, "fieldManager=controller", status).await.expect(200);
    assert_eq!((&applied["spec"]["replicas"], &applied["status"]["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(fields(&applied, "controller"), &json!({"f:status": {"f:replicas": {}}}));
    let main = WEB.to_owned() + "status: {replicas: 7}\n";
    let applied = apply(&server, DEPLOYMENT, "fieldManager=one", &main).await.expect(200);
    assert_eq!(applied["status"]["replicas"], 2);
    assert_eq!(fields(&applied, "one").get("f:status"), None);
}

#[tokio::test]
async fn owners_named_twice_count_once() {
    let server = Server::start().await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    let map = json!({"metadata": {"name": "a", "ownerReferences": [owner, owner]}});
    let reply = server.post("/api/v1/namespaces/default/configmaps", &map).await;
    assert_eq!(reply.expect(201)["metadata"]["ownerReferences"], json!([owner]));
    let warning = reply.headers["warning"].to_str().unwrap();
    assert!(warning.contains("duplicate UID(s) observed: u"), "{warning}");
}

#[tokio::test]
async fn scales_are_applied_too() {
    let server = Server::start().await;
    apply(&server, DEPLOYMENT, "fieldManager=one", WEB).await.expect(201);
    let path = format!("{DEPLOYMENT}/scale");
    let scale = |n: i64| {
        format!(
            "{{apiVersion: autoscaling/v1, kind: Scale, metadata: {{name: web}}, spec: {{replicas: {n}}}}}"
        )
    };
    let refused = apply(&server, &path, "fieldManager=scaler", &scale(5)).await.expect(409);
    assert!(
        refused["message"].as_str().unwrap().contains("conflict with \"one\": .spec.replicas"),
        "{refused}"
    );
    let scaled = apply(&server, &path, "fieldManager=scaler&force=true", &scale(5)).await.expect(200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    let web = server.get(DEPLOYMENT).await.expect(200);
    assert_eq!(web["spec"]["replicas"], 5);
    assert_eq!(fields(&web, "scaler"), &json!({"f:spec": {"f:replicas": {}}}));
    let entries = web["metadata"]["managedFields"].as_array().unwrap();
    assert!(entries.iter().any(|e| e["manager"] == "scaler" && e["subresource"] == "scale"));
    assert_eq!(fields(&web, "one")["f:spec"].get("f:replicas"), None);
    let table = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = server.send(Method::GET, &path, &table, Vec::new()).await.expect(200);
    let names: Vec<&Value> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("web"), json!(5), json!(0)]);
    apply(&server, &path, "fieldManager=scaler", "{apiVersion: v1, kind: Scale}").await.expect(400);
    apply(&server, &path, "fieldManager=scaler", &scale(-1)).await.expect(422);
}
