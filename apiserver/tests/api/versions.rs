//! Versions beside the defaults: what `--runtime-config` and `--feature-gates` switch.
use crate::harness::Server;
use http::Method;
use knarr_apiserver::storage::postgres::Postgres;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{Backend, Group, Key};
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn versions_on_request() {
    let directory = tempfile::tempdir().expect("directory");
    let flags = ["--runtime-config=api/beta=true,autoscaling/v1=false"];
    let server = Server::start(directory.path(), &flags).await;
    let admin = server.admin();
    assert_eq!(admin.get("/apis/scheduling.k8s.io/v1alpha2").await.0, 404, "alpha stays off");
    assert_eq!(admin.get("/apis/autoscaling/v1/horizontalpodautoscalers").await.0, 404);
    let (_, group) = admin.get("/apis/resource.k8s.io").await;
    let versions: Vec<&str> =
        group["versions"].as_array().expect("a list").iter().filter_map(|v| v["version"].as_str()).collect();
    assert_eq!(versions, ["v1", "v1beta2", "v1beta1"]);
    // One object in all versions, each with its own fields and name.
    let claim = json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [
        {"name": "r", "deviceClassName": "c"}]}}});
    let path = |version: &str| format!("/apis/resource.k8s.io/{version}/namespaces/default/resourceclaims");
    let made = admin.create(&path("v1beta1"), &claim).await;
    assert_eq!(made["apiVersion"], "resource.k8s.io/v1beta1");
    assert_eq!(made["spec"]["devices"]["requests"][0]["deviceClassName"], "c", "{made}");
    for version in ["v1", "v1beta2"] {
        let (code, claim) = admin.get(&format!("{}/a", path(version))).await;
        assert_eq!((code, &claim["apiVersion"]), (200, &json!(format!("resource.k8s.io/{version}"))));
        assert_eq!(claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"], "c", "{claim}");
        let (_, list) = admin.get(&path(version)).await;
        assert_eq!(list["items"][0]["spec"]["devices"], claim["spec"]["devices"]);
    }
    // What is deprecated says so.
    let reply = admin.raw(Method::GET, "/apis/storage.k8s.io/v1beta1/volumeattributesclasses", &[], "").await;
    let warning = reply.headers()["warning"].to_str().expect("text");
    assert!(
        warning.contains("storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+"),
        "{warning}"
    );
    assert!(warning.contains("use storage.k8s.io/v1 VolumeAttributesClass"), "{warning}");
    let reply = admin.raw(Method::GET, "/apis/storage.k8s.io/v1/volumeattributesclasses", &[], "").await;
    assert!(!reply.headers().contains_key("warning"));
    // OpenAPI follows.
    let (_, index) = admin.get("/openapi/v3").await;
    let paths = index["paths"].as_object().expect("paths");
    assert!(paths.contains_key("apis/resource.k8s.io/v1beta1") && !paths.contains_key("apis/autoscaling/v1"));
    server.stop().await;
}

/// Fields of gates that are off go on create, and on update unless the object has them already.
#[tokio::test(flavor = "multi_thread")]
async fn fields_of_gates() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let set = |extra: Value| {
        json!({"metadata": {"name": "s"}, "spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": extra}}})
    };
    let path = "/apis/apps/v1/namespaces/default/statefulsets";
    let made = admin.create(path, &set(json!({"partition": 1, "maxUnavailable": 2}))).await;
    assert_eq!(made["spec"]["updateStrategy"]["rollingUpdate"], json!({"partition": 1}));
    server.stop().await;

    // An object from a time when the gate was on: gates belong to the process, so it is put into the database.
    let both = json!({"partition": 1, "maxUnavailable": 2});
    let database: Arc<dyn Backend> = match std::fs::read_to_string(directory.path().join("database")) {
        Ok(url) => Arc::new(Postgres::open(&url).await.expect("the database")),
        Err(_) => Arc::new(Sqlite::open(&directory.path().join("db")).await.expect("the database")),
    };
    let key = Key::new("apps/statefulsets", "default", "s");
    let row = database.get(&key).await.expect("a read").expect("a row");
    let mut old: Value = serde_json::from_slice(&row.value).expect("JSON");
    old["spec"]["updateStrategy"]["rollingUpdate"] = both.clone();
    let written = database.commit(&[Group::update(key, row.revision, old.to_string().into())]).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    database.close().await;
    drop(database);
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let one = format!("{path}/s");
    let update = async |extra: Value| {
        let mut object = admin.get(&one).await.1;
        object["spec"]["updateStrategy"]["rollingUpdate"] = extra;
        let headers = [("content-type", "application/json")];
        let reply = admin.raw(Method::PUT, &one, &headers, object.to_string()).await;
        let object: Value = serde_json::from_slice(reply.body()).expect("an object");
        assert_eq!(reply.status(), 200, "{object}");
        object["spec"]["updateStrategy"]["rollingUpdate"].clone()
    };
    assert_eq!(admin.get(&one).await.1["spec"]["updateStrategy"]["rollingUpdate"], both);
    let changed = json!({"partition": 2, "maxUnavailable": 3});
    assert_eq!(update(changed.clone()).await, changed);
    assert_eq!(update(json!({"partition": 2})).await, json!({"partition": 2}));
    assert_eq!(update(changed).await, json!({"partition": 2}));
    server.stop().await;
}
