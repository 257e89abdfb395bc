//! Priority and fairness, as clients meet it.
use crate::harness::{Server, eventually};
use http::Method;
use serde_json::{Value, json};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A level for one user, with one seat.
async fn tight(server: &Server, response: Value) {
    let admin = server.admin();
    let level = json!({"metadata": {"name": "tight"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": response}}});
    admin.create(&format!("{GROUP}/prioritylevelconfigurations"), &level).await;
    let schema = json!({"metadata": {"name": "ann"}, "spec": {
        "priorityLevelConfiguration": {"name": "tight"}, "matchingPrecedence": 50, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "ann"}}], "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}});
    let schema = admin.create(&format!("{GROUP}/flowschemas"), &schema).await;
    let ann = server.user("ann", &[]);
    eventually(async || {
        let reply = ann.raw(Method::GET, MAPS, &[], "").await;
        reply
            .headers()
            .get("x-kubernetes-pf-flowschema-uid")
            .is_some_and(|uid| uid == schema["metadata"]["uid"].as_str().expect("a uid"))
    })
    .await;
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    admin.create(&format!("{rbac}/roles"), &json!({"metadata": {"name": "r"}, "rules": [rule]})).await;
    let binding = json!({
        "metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
    });
    admin.create(&format!("{rbac}/rolebindings"), &binding).await;
    eventually(async || ann.get(MAPS).await.0 == 200).await;
}

/// A list that waits for a revision that does not come, and holds its seat meanwhile.
async fn slow(server: &Server) -> tokio::task::JoinHandle<u16> {
    let ann = server.user("ann", &[]);
    let task = tokio::spawn(async move { ann.get(&format!("{MAPS}?resourceVersion=99999999")).await.0 });
    let admin = server.admin();
    eventually(async || {
        let text = admin.raw(Method::GET, "/metrics", &[], "").await;
        let text = String::from_utf8_lossy(text.body()).into_owned();
        text.contains("apiserver_flowcontrol_current_executing_requests{flow_schema=\"ann\",priority_level=\"tight\"} 1")
    })
    .await;
    task
}

const SMALL: [&str; 2] = ["--max-requests-inflight=10", "--max-mutating-requests-inflight=10"];

#[tokio::test(flavor = "multi_thread")]
async fn born_with_levels_and_schemas() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let names = async |resource: &str| {
        let (_, list) = admin.get(&format!("{GROUP}/{resource}")).await;
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let levels = [
        "catch-all",
        "exempt",
        "global-default",
        "leader-election",
        "node-high",
        "system",
        "workload-high",
        "workload-low",
    ];
    assert_eq!(names("prioritylevelconfigurations").await, levels);
    assert_eq!(names("flowschemas").await.len(), 13);
    eventually(async || {
        let (_, list) = admin.get(&format!("{GROUP}/flowschemas")).await;
        let items = list["items"].as_array().expect("items");
        items.iter().all(|s| s["status"]["conditions"][0]["reason"] == "Found")
    })
    .await;
    let uid = async |path: &str| admin.get(&format!("{GROUP}/{path}")).await.1["metadata"]["uid"].clone();
    let (schema, level) = (uid("flowschemas/exempt").await, uid("prioritylevelconfigurations/exempt").await);
    eventually(async || {
        let reply = admin.raw(Method::GET, MAPS, &[], "").await;
        let header = |name: &str| reply.headers().get(name).and_then(|v| v.to_str().ok()).map(Value::from);
        header("x-kubernetes-pf-flowschema-uid") == Some(schema.clone())
            && header("x-kubernetes-pf-prioritylevel-uid") == Some(level.clone())
    })
    .await;
    let metrics = admin.raw(Method::GET, "/metrics", &[], "").await;
    let text = String::from_utf8_lossy(metrics.body()).into_owned();
    for name in [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_current_inflight_requests{",
        "apiserver_flowcontrol_dispatched_requests_total{",
        "apiserver_flowcontrol_nominal_limit_seats{",
        "apiserver_flowcontrol_request_wait_duration_seconds_bucket{",
        "apiserver_storage_objects{",
        "apiserver_resource_objects{group=\"apps\"",
        "process_resident_memory_bytes ",
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ",
        "# TYPE apiserver_request_total counter\n",
        "kubernetes_build_info{",
        "kubernetes_feature_enabled{",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    // What nobody may do without comes back, here with the next server; while one runs, within a minute.
    let path = format!("{GROUP}/prioritylevelconfigurations/exempt");
    assert_eq!(admin.send(Method::DELETE, &path, "").await.0, 200);
    assert_eq!(admin.get(&path).await.0, 404);
    server.stop().await;
    let server = Server::start(directory.path(), &[]).await;
    assert_eq!(server.admin().get(&path).await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_level_refuses() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &SMALL).await;
    tight(&server, json!({"type": "Reject"})).await;
    let first = slow(&server).await;
    let refused = server.user("ann", &[]).raw(Method::GET, MAPS, &[], "").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (429, &b"1"[..]));
    assert_eq!(&refused.body()[..], b"Too many requests, please try again later.\n");
    assert!(refused.headers().contains_key("x-kubernetes-pf-flowschema-uid"));
    assert_eq!(server.admin().get(MAPS).await.0, 200, "others are not concerned");
    assert_eq!(first.await.expect("an answer"), 504);
    assert_eq!(server.user("ann", &[]).get(MAPS).await.0, 200, "the seat is free again");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_level_queues() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &SMALL).await;
    let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": 1});
    tight(&server, json!({"type": "Queue", "queuing": queuing})).await;
    let first = slow(&server).await;
    let both = async {
        let (one, two) = (server.user("ann", &[]), server.user("ann", &[]));
        futures::join!(one.get(MAPS), two.get(MAPS))
    };
    let (one, two) = both.await;
    let mut codes = [one.0, two.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 429], "one waits, the other finds the queue full");
    assert_eq!(first.await.expect("an answer"), 504);
    server.stop().await;
}
