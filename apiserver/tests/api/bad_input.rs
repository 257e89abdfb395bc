//! What no client should send: the code and reason of each, and nothing is stored.
use crate::harness::Server;
use http::Method;
use serde_json::Value;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn refused_and_forgotten() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let deep =
        format!("{{\"metadata\":{{\"name\":\"a\"}},\"x\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let json = "application/json";
    let yaml = "application/yaml";
    let protobuf = "application/vnd.kubernetes.protobuf";
    let map = r#"{"metadata":{"name":"a"}}"#;
    let cases: [(&str, &str, &[u8], u16, &str); 20] = [
        (MAPS, json, b"", 400, "BadRequest"),
        (MAPS, json, b"{", 400, "BadRequest"),
        (MAPS, json, b"[]", 400, "BadRequest"),
        (MAPS, json, b"\"text\"", 400, "BadRequest"),
        (MAPS, json, b"{\"metadata\":{\"name\":\"\xff\"}}", 422, "Invalid"),
        (MAPS, json, b"{\"metadata\":{\"name\":\xff}}", 400, "BadRequest"),
        (MAPS, json, deep.as_bytes(), 400, "BadRequest"),
        (MAPS, json, br#"{"metadata":{"name":1}}"#, 400, "BadRequest"),
        (MAPS, json, br#"{"metadata":{"name":"A_"}}"#, 422, "Invalid"),
        (MAPS, json, br#"{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}"#, 400, "BadRequest"),
        (MAPS, json, br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#, 400, "BadRequest"),
        (MAPS, yaml, b"a: [", 400, "BadRequest"),
        (MAPS, protobuf, b"k8s", 400, "BadRequest"),
        (MAPS, protobuf, b"k8s\0\x0a\xff\xff\xff\xff\x0f", 400, "BadRequest"),
        (MAPS, "text/plain", map.as_bytes(), 415, "UnsupportedMediaType"),
        ("/api/v1/namespaces/default/configmaps?dryRun=Some", json, map.as_bytes(), 422, "Invalid"),
        ("/api/v1/namespaces/default/configmaps?fieldValidation=Maybe", json, map.as_bytes(), 422, "Invalid"),
        ("/api/v1/namespaces/default/configmaps?timeout=soon", json, map.as_bytes(), 400, "BadRequest"),
        ("/api/v1/namespaces/none/configmaps", json, map.as_bytes(), 404, "NotFound"),
        (
            "/api/v1/namespaces/default/configmaps?fieldValidation=Strict",
            json,
            br#"{"metadata":{"name":"a","name":"a"}}"#,
            400,
            "BadRequest",
        ),
    ];
    for (path, media, body, code, reason) in cases {
        let reply = admin.raw(Method::POST, path, &[("content-type", media)], body.to_vec()).await;
        let status: Value = serde_json::from_slice(reply.body()).unwrap_or_default();
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(
            (reply.status().as_u16(), status["reason"].as_str()),
            (code, Some(reason)),
            "{path} {shown}: {status}"
        );
        assert_eq!(admin.get(&format!("{MAPS}/a")).await.0, 404, "{shown} was stored");
    }
    for (query, code) in [
        ("labelSelector=a%20b", 400),
        ("labelSelector=%3D%3D", 400),
        ("fieldSelector=nonsense", 400),
        ("fieldSelector=spec.x%3D1", 400),
    ] {
        assert_eq!(admin.get(&format!("{MAPS}?{query}")).await.0, code, "{query}");
    }
    server.stop().await;
}
