//! Quotas: charged with the object, never exceeded, whoever races.
use super::harness::Server;
use knarr_api::Value;
use knarr_apiserver::admission::config::Configurations;
use knarr_apiserver::admission::{Chain, resource_quota::ResourceQuota};
use knarr_apiserver::registry::Settings;
use knarr_apiserver::storage::Options;
use serde_json::json;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

/// A server with a quota whose status is known.
async fn start(hard: Value) -> Server {
    let chain = |objects| {
        Chain::new(vec![std::sync::Arc::new(
            ResourceQuota::new(objects, &Configurations::default()).expect("a plugin"),
        )])
    };
    let server = Server::start_admitting(Options::default(), Settings::default(), chain).await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    let mut quota = server.post(QUOTAS, &quota).await.expect(201);
    let unused = hard.as_object().unwrap().keys().map(|name| (name.clone(), json!("0")));
    quota["status"] = json!({"hard": hard, "used": Value::Object(unused.collect())});
    server.put(&format!("{QUOTAS}/q/status"), &quota).await.expect(200);
    server
}

async fn used(server: &Server) -> Value {
    server.get(&format!("{QUOTAS}/q")).await.expect(200)["status"]["used"].clone()
}

#[tokio::test]
async fn parallel_creates_never_exceed() {
    let server = start(json!({"configmaps": "20"})).await;
    let creates = (0..60).map(|n| {
        let server = &server;
        async move {
            let object = json!({"metadata": {"name": format!("c{n}")}});
            server.post("/api/v1/namespaces/default/configmaps", &object).await
        }
    });
    let replies = futures::future::join_all(creates).await;
    assert_eq!(replies.iter().filter(|reply| reply.code == 201).count(), 20);
    assert!(replies.iter().all(|reply| matches!(reply.code, 201 | 403)));
    let refusal = replies.iter().find(|reply| reply.code == 403).unwrap().json();
    let text = refusal["message"].as_str().unwrap();
    let cause = "exceeded quota: q, requested: configmaps=1, used: configmaps=20, limited: configmaps=20";
    assert!(text.ends_with(&format!("is forbidden: {cause}")), "{text}");
    assert_eq!(used(&server).await, json!({"configmaps": "20"}));
    let stored = server.get("/api/v1/namespaces/default/configmaps").await.expect(200);
    assert_eq!(stored["items"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn what_is_not_stored_is_not_charged() {
    let server = start(json!({"configmaps": "2"})).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object = json!({"metadata": {"name": "c"}});
    server.post(&format!("{path}?dryRun=All"), &object).await.expect(201);
    assert_eq!(used(&server).await, json!({"configmaps": "0"}));
    server.post(path, &object).await.expect(201);
    server.post(path, &object).await.expect(409);
    assert_eq!(used(&server).await, json!({"configmaps": "1"}));
}

#[tokio::test]
async fn updates_are_charged() {
    let server = start(json!({"services": "1", "services.nodeports": "1"})).await;
    let path = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    server.post(path, &service).await.expect(201);
    assert_eq!(used(&server).await, json!({"services": "1", "services.nodeports": "0"}));
    let one = format!("{path}/s");
    server.patch(&one, "merge-patch+json", &json!({"spec": {"type": "NodePort"}})).await.expect(200);
    assert_eq!(used(&server).await, json!({"services": "1", "services.nodeports": "1"}));
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    server.patch(&one, "merge-patch+json", &json!({"spec": {"ports": ports}})).await.expect(403);
    server.patch(&one, "merge-patch+json", &json!({"spec": {"type": "ClusterIP"}})).await.expect(200);
    assert_eq!(used(&server).await, json!({"services": "1", "services.nodeports": "0"}));
}

/// Whoever counts for the first time must notice what is stored meanwhile.
#[tokio::test]
async fn a_first_count_that_an_object_overtakes_is_refused() {
    let server = start(json!({"pods": "1"})).await;
    let mut quota = server.get(&format!("{QUOTAS}/q")).await.expect(200);
    quota["spec"]["hard"]["configmaps"] = json!("3");
    let mut counted = server.put(&format!("{QUOTAS}/q"), &quota).await.expect(200);
    let object = |name: &str| json!({"metadata": {"name": name}});
    server.post("/api/v1/namespaces/default/configmaps", &object("one")).await.expect(201);
    counted["status"] = json!({"hard": quota["spec"]["hard"], "used": {"pods": "0", "configmaps": "0"}});
    server.put(&format!("{QUOTAS}/q/status"), &counted).await.expect(409);
    // What the quota does not count leaves it alone.
    let quota = server.get(&format!("{QUOTAS}/q")).await.expect(200);
    server.post("/api/v1/namespaces/default/secrets", &object("one")).await.expect(201);
    assert_eq!(server.get(&format!("{QUOTAS}/q")).await.expect(200), quota);
}
