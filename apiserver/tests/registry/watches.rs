//! Watches: initial events, bookmarks, resuming, selectors, ends.
use super::harness::Server;
use knarr_apiserver::registry::Settings;
use knarr_apiserver::storage::Options;
use serde_json::json;
use std::time::Duration;

const PATH: &str = "/api/v1/namespaces/default/configmaps";

async fn create(server: &Server, name: &str, label: &str) -> serde_json::Value {
    server.post(PATH, &json!({"metadata": {"name": name, "labels": {"l": label}}})).await.expect(201)
}

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn begins_with_what_is_there() {
    let server = Server::start().await;
    create(&server, "a", "x").await;
    let query = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut events = server.watch(&format!("{PATH}?{query}")).await;
    assert_eq!(events.seen().await, pair("ADDED", "a"));
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    create(&server, "b", "x").await;
    assert_eq!(events.seen().await, pair("ADDED", "b"));
}

#[tokio::test]
async fn resumes_without_loss() {
    let server = Server::start().await;
    let first = create(&server, "a", "x").await;
    create(&server, "b", "x").await;
    server.delete(&format!("{PATH}/a")).await.expect(200);
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = server.watch(&format!("{PATH}?watch=1&resourceVersion={revision}")).await;
    assert_eq!(events.seen().await, pair("ADDED", "b"));
    let deleted = events.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    // The deletion carries its own revision, so that a client can resume after it.
    assert_ne!(deleted["object"]["metadata"]["resourceVersion"], revision);
}

#[tokio::test]
async fn selectors_add_and_delete() {
    let server = Server::start().await;
    let mut events = server.watch(&format!("{PATH}?watch=1&labelSelector=l%3Dx")).await;
    create(&server, "a", "y").await;
    create(&server, "b", "x").await;
    assert_eq!(events.seen().await, pair("ADDED", "b"));
    let relabel = |l: &'static str| json!({"metadata": {"labels": {"l": l}}});
    server.patch(&format!("{PATH}/a"), "merge-patch+json", &relabel("x")).await.expect(200);
    assert_eq!(events.seen().await, pair("ADDED", "a"));
    server.patch(&format!("{PATH}/b"), "merge-patch+json", &relabel("z")).await.expect(200);
    assert_eq!(events.seen().await, pair("DELETED", "b"));
}

#[tokio::test]
async fn ends_in_time() {
    let server = Server::start().await;
    let mut events = server.watch(&format!("{PATH}?watch=1&timeoutSeconds=1")).await;
    assert!(events.next().await.is_none());
    let query = "watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=1";
    let path = "/api/v1/namespaces/default/secrets";
    let mut events = server.watch(&format!("{path}?{query}")).await;
    let bookmark = events.next().await.unwrap();
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("Secret")));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn metadata_and_tables() {
    let server = Server::start().await;
    create(&server, "a", "x").await;
    for (form, kind) in [("PartialObjectMetadata", "PartialObjectMetadata"), ("Table", "Table")] {
        let accept = format!("application/json;as={form};v=v1;g=meta.k8s.io");
        let path = format!("{PATH}?watch=1&timeoutSeconds=1");
        let reply = server.send(http::Method::GET, &path, &[("accept", &accept)], Vec::new()).await;
        let event: serde_json::Value = serde_json::from_slice(&reply.bytes).unwrap();
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!(kind)));
    }
}

#[tokio::test]
async fn protobuf_frames() {
    let server = Server::start().await;
    create(&server, "a", "x").await;
    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let path = format!("{PATH}?watch=1&timeoutSeconds=1");
    let reply = server.send(http::Method::GET, &path, &accept, Vec::new()).await;
    assert_eq!(reply.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let length = u32::from_be_bytes(reply.bytes[..4].try_into().unwrap()) as usize;
    let event = &reply.bytes[4..];
    assert_eq!(event.len(), length);
    // Field 1 is the type; field 2 an extension whose field 1 is the object in its envelope.
    assert!(event.starts_with(b"\x0a\x05ADDED\x12"), "{event:?}");
    let envelope = event.windows(4).position(|w| w == b"k8s\0").unwrap();
    let decoded = knarr_api::protobuf::decode(knarr_api::table::builtin(), &event[envelope..]).unwrap();
    assert_eq!(decoded.value["metadata"]["name"], "a");
}

#[tokio::test]
async fn bookmarks_tell_how_far_the_cluster_is() {
    let settings = Settings { bookmarks: Duration::from_millis(20), ..Settings::default() };
    let server = Server::start_with(Options::default(), settings).await;
    let made = create(&server, "a", "x").await;
    let path = "/api/v1/namespaces/default/secrets?watch=1&resourceVersion=1";
    let mut silent = server.watch(&format!("{path}&timeoutSeconds=1")).await;
    let mut events = server.watch(&format!("{path}&allowWatchBookmarks=true")).await;
    for _ in 0..2 {
        let bookmark = events.next().await.unwrap();
        assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("Secret")));
        assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
        assert_eq!(bookmark["object"]["metadata"].get("annotations"), None);
    }
    assert!(silent.next().await.is_none(), "no bookmarks unless asked for");
}
