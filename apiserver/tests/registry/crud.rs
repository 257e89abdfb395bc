//! Create, read, list, watch, update, patch and delete of every stored resource.
use super::harness::Server;
use super::kinds;
use knarr_api::Value;
use knarr_api::kind::Kind;
use serde_json::json;

pub(super) fn collection(kind: &Kind) -> String {
    let prefix = if kind.gvk.group.is_empty() { "/api" } else { "/apis" };
    let base = format!("{prefix}/{}", kind.gvk.api_version());
    if kind.namespaced {
        format!("{base}/namespaces/default/{}", kind.plural)
    } else {
        format!("{base}/{}", kind.plural)
    }
}

fn stored_kinds() -> impl Iterator<Item = &'static Kind> {
    let api = knarr_api::table::builtin();
    api.kinds.iter().filter(|k| k.served_by_default && !k.external && k.storage.is_some())
}

#[tokio::test]
async fn every_kind_lives_and_dies() {
    let server = Server::start().await;
    let mut count = 0;
    for kind in stored_kinds() {
        life(&server, kind).await;
        count += 1;
    }
    assert!(count > 50, "{count} kinds");
}

async fn life(server: &Server, kind: &'static Kind) {
    let path = collection(kind);
    let name = kinds::name(kind);
    let one = format!("{path}/{name}");
    let mut object = kinds::minimal(kind);
    object["metadata"] = json!({"name": name, "labels": {"l": "1"}});
    object["kind"] = (*kind.gvk.kind).into();
    object["apiVersion"] = kind.gvk.api_version().into();

    let mut events = server.watch(&format!("{path}?watch=1&fieldSelector=metadata.name%3D{name}")).await;
    let created = server.post(&path, &object).await.expect(201);
    assert_eq!(created["kind"], *kind.gvk.kind, "{path}");
    assert_eq!(created["apiVersion"], kind.gvk.api_version());
    assert!(created["metadata"]["uid"].is_string() && created["metadata"]["resourceVersion"].is_string());
    assert!(created["metadata"]["managedFields"].is_array(), "{created}");
    assert_eq!(events.seen().await, ("ADDED".to_owned(), name.to_owned()), "{path}");

    let read = server.get(&one).await.expect(200);
    assert_eq!(read, created, "{path}");
    let list = server.get(&format!("{path}?labelSelector=l%3D1")).await.expect(200);
    assert_eq!(list["kind"], format!("{}List", kind.gvk.kind));
    let found =
        list["items"].as_array().unwrap().iter().any(|i| i["metadata"]["uid"] == created["metadata"]["uid"]);
    assert!(found, "{path}: {list}");

    // The same again changes nothing.
    let same = server.put(&one, &read).await.expect(200);
    assert_eq!(same, created, "{path}");

    let patch = json!({"metadata": {"annotations": {"a": "b"}}});
    let patched = server.patch(&one, "merge-patch+json", &patch).await.expect(200);
    assert_eq!(patched["metadata"]["annotations"]["a"], "b", "{path}");
    assert_eq!(events.seen().await.0, "MODIFIED", "{path}");
    let mut stale = read.clone();
    stale["metadata"]["labels"]["l"] = "2".into();
    let conflict = server.put(&one, &stale).await;
    assert_eq!(conflict.expect(409)["reason"], "Conflict", "{path}");
    if &*kind.gvk.group != "autoscaling" && &*kind.gvk.group != "events.k8s.io" {
        let patched = server
            .patch(&one, "strategic-merge-patch+json", &json!({"metadata": {"labels": {"m": "n"}}}))
            .await;
        assert_eq!(patched.expect(200)["metadata"]["labels"], expected_labels(kind, name), "{path}");
        assert_eq!(events.seen().await.0, "MODIFIED", "{path}");
    }

    table(server, &path, kind, name).await;
    let deleted = server.delete(&format!("{one}?propagationPolicy=Background")).await.expect(200);
    assert!(deleted["kind"] == "Status" || deleted["kind"] == *kind.gvk.kind, "{deleted}");
    // These wait for what is in them to be gone.
    if matches!(&*kind.plural, "namespaces" | "customresourcedefinitions") {
        assert_eq!(events.seen().await.0, "MODIFIED");
        return;
    }
    assert_eq!(events.seen().await.0, "DELETED", "{path}");
    assert_eq!(server.get(&one).await.expect(404)["reason"], "NotFound", "{path}");
}

fn expected_labels(kind: &Kind, name: &str) -> Value {
    if &*kind.plural == "namespaces" {
        json!({"l": "1", "m": "n", "kubernetes.io/metadata.name": name})
    } else {
        json!({"l": "1", "m": "n"})
    }
}

/// The table has the columns of the stored kind (what is in the cells, `knarr_api` tests kind by kind), and a row for
/// the object.
async fn table(server: &Server, path: &str, kind: &Kind, name: &str) {
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = server.send(http::Method::GET, path, &accept, Vec::new()).await.expect(200);
    assert_eq!(table["kind"], "Table", "{path}");
    let columns = table["columnDefinitions"].as_array().unwrap();
    let stored = kind.storage.as_ref().unwrap();
    assert_eq!(*columns, knarr_api::columns::of_kind(&stored.group, &stored.kind).definitions(), "{path}");
    let named = columns.iter().position(|c| c["format"] == "name" || c["name"] == "Name").unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["cells"][named].as_str() == Some(name)), "{path}: {table}");
    // The age of an address stands in no column.
    let beside = usize::from(&*kind.plural == "ipaddresses");
    for row in rows {
        assert_eq!(row["cells"].as_array().unwrap().len(), columns.len() + beside, "{path} {}", kind.plural);
        assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    }
}

#[tokio::test]
async fn forms_of_an_answer() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    server.post(path, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.expect(201);
    for (accept, begin) in [
        ("application/yaml", &b"apiVersion: v1\n"[..]),
        ("application/vnd.kubernetes.protobuf", b"k8s\0"),
        ("application/json", b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\""),
    ] {
        let reply =
            server.send(http::Method::GET, &format!("{path}/a"), &[("accept", accept)], Vec::new()).await;
        assert_eq!(reply.code, 200);
        assert_eq!(reply.headers["content-type"], accept);
        assert!(reply.bytes.starts_with(begin), "{:?}", reply.bytes);
        if accept == "application/json" {
            continue;
        }
        // What was read can be written.
        let headers = [("content-type", accept), ("accept", "application/json")];
        let put = server.send(http::Method::PUT, &format!("{path}/a"), &headers, reply.bytes.to_vec()).await;
        put.expect(200);
    }
}

#[tokio::test]
async fn dry_run_writes_nothing() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object = json!({"metadata": {"name": "a"}});
    server.post(&format!("{path}?dryRun=All"), &object).await.expect(201);
    server.get(&format!("{path}/a")).await.expect(404);
    server.post(path, &object).await.expect(201);
    server.post(&format!("{path}?dryRun=All"), &object).await.expect(409);
    let patch = json!({"data": {"x": "y"}});
    let shown = server.patch(&format!("{path}/a?dryRun=All"), "merge-patch+json", &patch).await.expect(200);
    assert_eq!(shown["data"]["x"], "y");
    server.delete(&format!("{path}/a?dryRun=All")).await.expect(200);
    assert!(server.get(&format!("{path}/a")).await.expect(200).get("data").is_none());
}

#[tokio::test]
async fn events_are_one_resource_in_two_versions() {
    let server = Server::start().await;
    let event = json!({"metadata": {"name": "e"}, "message": "hello", "reason": "R", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    server.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    let list =
        server.get("/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dp");
    let list = list.await.expect(200);
    assert_eq!(list["items"][0]["note"], "hello");
    assert_eq!(list["items"][0]["regarding"]["name"], "p");
    let none = server.get("/api/v1/events?fieldSelector=involvedObject.name%3Dq").await.expect(200);
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn names_are_generated() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object = json!({"metadata": {"generateName": "a-"}});
    let creations = futures::future::join_all((0..50).map(|_| server.post(path, &object))).await;
    let names: std::collections::BTreeSet<String> =
        creations.iter().map(|c| c.expect(201)["metadata"]["name"].to_string()).collect();
    assert_eq!(names.len(), 50);
    assert!(names.iter().all(|n| n.starts_with("\"a-") && n.len() == 2 + 2 + 5));
}

#[tokio::test]
async fn concurrent_patches_all_count() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    server.post(path, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let patches = (0..40).map(|n| {
        let server = &server;
        async move {
            let patch = json!({"data": {format!("k{n}"): "v"}});
            server.patch(&format!("{path}/a"), "merge-patch+json", &patch).await.expect(200)
        }
    });
    futures::future::join_all(patches).await;
    let read = server.get(&format!("{path}/a")).await.expect(200);
    assert_eq!(read["data"].as_object().unwrap().len(), 40);
}
