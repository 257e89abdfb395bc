//! Watches over WebSocket, compression, and bodies that are too large.
use crate::harness::{PATIENCE, Server, client_tls};
use futures::StreamExt;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

/// Opens a WebSocket as an admin, with more headers.
async fn socket(server: &Server, path: &str, more: &[(&'static str, &str)]) -> (Socket, HeaderMap) {
    let admin = server.authority.user("admin", &["system:masters"]);
    let mut tls = client_tls(&server.authority.pem, Some(admin));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.expect("connection");
    let name = rustls::pki_types::ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.expect("TLS");
    let mut request =
        format!("wss://127.0.0.1:{}{path}", server.port).into_client_request().expect("a request");
    for (name, value) in more {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.expect("upgrade");
    (socket, response.headers().clone())
}

async fn next(socket: &mut Socket) -> Message {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a message in time");
    message.expect("a message").expect("no error")
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_over_web_socket() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    for name in ["a", "b"] {
        admin.create(MAPS, &json!({"metadata": {"name": name, "labels": {"l": "x"}}})).await;
    }
    let path = format!("{MAPS}?watch=1&labelSelector=l%3Dx");
    let (mut events, headers) = socket(&server, &path, &[("sec-websocket-protocol", "any")]).await;
    assert_eq!(headers["sec-websocket-protocol"], "any");
    for name in ["a", "b"] {
        let Message::Text(text) = next(&mut events).await else { panic!("a text message") };
        let event: Value = serde_json::from_str(&text).expect("one event a message");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    let patch = json!({"metadata": {"labels": {"l": null}}});
    let headers = [("content-type", "application/merge-patch+json")];
    admin.raw(Method::PATCH, &format!("{MAPS}/a"), &headers, patch.to_string()).await;
    let Message::Text(text) = next(&mut events).await else { panic!("a text message") };
    assert!(text.starts_with("{\"type\":\"DELETED\""), "{text}");
    drop(events);

    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let (mut events, _) = socket(&server, &format!("{path}&timeoutSeconds=1"), &accept).await;
    let Message::Binary(bytes) = next(&mut events).await else { panic!("a binary message") };
    assert!(bytes.starts_with(b"\x0a\x05ADDED\x12"), "{bytes:?}");
    assert!(matches!(next(&mut events).await, Message::Close(_)), "the watch ends in time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_what_has_none() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}).to_string();
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, code) in [(TABLE.to_owned(), 406), (format!("{TABLE},application/json"), 201)] {
        let headers = [("accept", accept.as_str()), ("content-type", "application/json")];
        let reply = admin.raw(Method::POST, path, &headers, review.clone()).await;
        assert_eq!(reply.status(), code, "{accept}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let filler = "x".repeat(300_000);
    admin.create(MAPS, &json!({"metadata": {"name": "large"}, "data": {"x": filler}})).await;
    let unzip = |bytes: &[u8]| {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
        serde_json::from_slice::<Value>(&plain).expect("JSON")
    };
    let gzip = [("accept-encoding", "gzip")];
    let object = admin.raw(Method::GET, &format!("{MAPS}/large"), &gzip, "").await;
    assert_eq!(object.headers()["content-encoding"], "gzip");
    assert_eq!(unzip(object.body())["data"]["x"].as_str().map(str::len), Some(filler.len()));
    // A streamed list as well.
    let list = admin.raw(Method::GET, MAPS, &gzip, "").await;
    assert_eq!(list.headers()["content-encoding"], "gzip");
    assert!(unzip(list.body())["items"] == admin.get(MAPS).await.1["items"]);
    let small = admin.raw(Method::GET, "/api/v1/namespaces/default", &gzip, "").await;
    assert!(!small.headers().contains_key("content-encoding"));

    let json = [("content-type", "application/json")];
    let body = json!({"metadata": {"name": "b"}, "data": {"x": "x".repeat(3 << 20)}}).to_string();
    let refused = admin.raw(Method::POST, MAPS, &json, body).await;
    let status: Value = serde_json::from_slice(refused.body()).expect("a status");
    assert_eq!((refused.status().as_u16(), &status["reason"]), (413, &json!("RequestEntityTooLarge")));
    let operations: Vec<Value> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
    let headers = [("content-type", "application/json-patch+json")];
    let patch = json!(operations).to_string();
    let refused = admin.raw(Method::PATCH, &format!("{MAPS}/large"), &headers, patch).await;
    let status: Value = serde_json::from_slice(refused.body()).expect("a status");
    let text = "The allowed maximum operations in a JSON patch is 10000, got 10001";
    assert_eq!(refused.status(), 413);
    assert!(status["message"].as_str().is_some_and(|message| message.contains(text)), "{status}");
    server.stop().await;
}
