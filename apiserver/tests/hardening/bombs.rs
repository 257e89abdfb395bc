//! Small requests that would make much work: each is refused at little cost, and the server goes on.
use crate::harness::Server;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Memory of this process, in bytes: the server runs in it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn laughs() -> String {
    let mut text = "metadata: {name: a}\ndata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let before = format!("*a{}", level - 1);
        text += &format!("  a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
    }
    text
}

/// Messages within messages of a schema, deeper than any object is.
fn nested_protobuf() -> Vec<u8> {
    let mut inner: Vec<u8> = Vec::new();
    while inner.len() < 100_000 {
        let mut outer = vec![0x0a];
        let mut length = inner.len();
        while length > 127 {
            outer.push((length & 127) as u8 | 128);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend_from_slice(&inner);
        inner = outer;
        if inner.len() > 2000 {
            break;
        }
    }
    [b"k8s\0".to_vec(), inner].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let (json_type, yaml, protobuf) =
        ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf");
    let deep = |open: &str, close: &str, depth: usize| {
        format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{}1{}}}", open.repeat(depth), close.repeat(depth))
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..100 {
        gzip.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let gzip = gzip.finish().unwrap();
    let many_keys = format!(
        "{{\"metadata\":{{\"name\":\"a\"}},{}\"x\":1}}",
        (0..200_000).map(|n| format!("\"k{n}\":1,")).collect::<String>()
    );
    let flows = format!("metadata: {{name: a}}\ndata: {}", "{a: ".repeat(50_000));
    let large = format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(3 << 20));
    let before = resident();
    let began = Instant::now();
    for (what, media, body, codes) in [
        ("arrays", json_type, deep("[", "]", 1_000_000).into_bytes(), &[400][..]),
        ("objects", json_type, deep("{\"a\":", "}", 300_000).into_bytes(), &[400]),
        ("blocks of YAML", yaml, deep("[", "]", 500_000).into_bytes(), &[400]),
        ("flows of YAML", yaml, flows.into_bytes(), &[400]),
        ("aliases", yaml, laughs().into_bytes(), &[400]),
        ("messages", protobuf, nested_protobuf(), &[400]),
        ("unknown fields", json_type, many_keys.into_bytes(), &[201, 400]),
        (
            "a number",
            json_type,
            format!("{{\"metadata\":{{\"name\":\"b\",\"generation\":{}}}}}", "9".repeat(1 << 20))
                .into_bytes(),
            &[400],
        ),
        ("too many bytes", json_type, large.into_bytes(), &[413]),
        ("CBOR", "application/cbor", vec![0x9f; 1 << 20], &[400, 415]),
    ] {
        let answer = admin.raw(Method::POST, MAPS, &[("content-type", media)], body).await;
        assert!(codes.contains(&answer.status().as_u16()), "{what}: {} {:?}", answer.status(), answer.body());
        if answer.status() == 413 {
            let status: Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(status["message"], "Request entity too large: limit is 3145728");
        }
    }
    // Request bodies are not decompressed.
    let headers = [("content-type", json_type), ("content-encoding", "gzip")];
    assert_eq!(admin.raw(Method::POST, MAPS, &headers, gzip).await.status(), 400);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let grown = resident().saturating_sub(before);
    assert!(grown < 512 << 20, "{grown} bytes more");
    assert_eq!(admin.get("/readyz").await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    admin.create(MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(500_000)}})).await;
    let path = format!("{MAPS}/a");
    let tests = |count: usize| vec![json!({"op": "test", "path": "/metadata/name", "value": "a"}); count];
    let copies: Vec<Value> =
        (0..100).map(|n| json!({"op": "copy", "from": "/data/k", "path": format!("/data/k{n}")})).collect();
    let doubling: Vec<Value> =
        (0..40).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/d{n}")})).collect();
    let deep = format!("{}1{}", "{\"data\":".repeat(100_000), "}".repeat(100_000));
    let pointer = format!("[{{\"op\":\"remove\",\"path\":\"{}\"}}]", "/a".repeat(500_000));
    let (list, merge, strategic) = (
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    );
    for (what, media, body, code) in [
        ("10,000 operations", list, Value::from(tests(10_000)).to_string(), 200),
        ("10,001 operations", list, Value::from(tests(10_001)).to_string(), 413),
        ("copies", list, Value::from(copies).to_string(), 422),
        ("doubling copies", list, Value::from(doubling).to_string(), 422),
        ("a deep merge", merge, deep.clone(), 400),
        ("a deep strategic merge", strategic, deep.clone(), 400),
        ("a deep apply", "application/apply-patch+yaml", deep, 400),
        ("a long pointer", list, pointer, 422),
    ] {
        let began = Instant::now();
        let path = if media.ends_with("yaml") { format!("{path}?fieldManager=m") } else { path.clone() };
        let answer = admin.raw(Method::PATCH, &path, &[("content-type", media)], Bytes::from(body)).await;
        assert_eq!(
            answer.status(),
            code,
            "{what}: {:?}",
            answer.body().slice(..answer.body().len().min(300))
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", began.elapsed());
    }
    assert_eq!(admin.get(&path).await.1["data"].as_object().unwrap().len(), 1);
    server.stop().await;
}
