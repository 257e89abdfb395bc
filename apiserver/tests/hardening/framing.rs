//! Requests whose end can be read in two ways, malformed and oversized headers.
use crate::harness::Server;
use crate::raw::Raw;
use http::Method;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What an attacker hides behind a request.
fn hidden() -> String {
    format!("DELETE {MAPS}/kept HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_in_one_place() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    admin.create(MAPS, &json!({"metadata": {"name": "kept"}})).await;
    let hidden = hidden();
    let head = format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    let length = hidden.len();
    let refused = [
        ("two lengths", format!("Content-Length: 2\r\nContent-Length: {length}\r\n\r\n{{}}{hidden}")),
        ("a list of lengths", format!("Content-Length: 2, {length}\r\n\r\n{{}}{hidden}")),
        ("a signed length", format!("Content-Length: +2\r\n\r\n{{}}{hidden}")),
        ("a length with letters", format!("Content-Length: 2x\r\n\r\n{{}}{hidden}")),
        ("a huge length", format!("Content-Length: 99999999999999999999\r\n\r\n{{}}{hidden}")),
        (
            "an unknown coding",
            format!("Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{{}}{hidden}"),
        ),
        ("a coding after chunked", format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}")),
        (
            "a folded header",
            format!("X-A: 1\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{{}}{hidden}"),
        ),
        (
            "a blank before the colon",
            format!("Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{{}}{hidden}"),
        ),
        ("a NUL in a header", format!("X-A: a\0b\r\nContent-Length: 2\r\n\r\n{{}}{hidden}")),
        ("a bare CR in a header", format!("X-A: a\rb: c\r\nContent-Length: 2\r\n\r\n{{}}{hidden}")),
        ("a second host", "Host: y\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}".to_owned()),
        (
            "a chunk that is too long",
            format!("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nfffffffffffffffff\r\n{hidden}"),
        ),
        (
            "a chunk length with a sign",
            format!("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n+2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
        ),
    ];
    for (what, rest) in refused {
        let codes = Raw::admin(&server).await.codes(format!("{head}{rest}")).await;
        assert!(matches!(*codes, [] | [400 | 413 | 501]), "{what}: {codes:?}");
        assert_eq!(admin.get(&format!("{MAPS}/kept")).await.0, 200, "{what}");
    }
    server.stop().await;
}

/// Chunks win over a length, and the connection is not used again: whoever forwarded the request by its length reads
/// nothing of what follows as another's answer.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_and_a_length() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    admin.create(MAPS, &json!({"metadata": {"name": "kept"}})).await;
    let hidden = hidden();
    let request = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    let codes = Raw::admin(&server).await.codes(request).await;
    assert_eq!(codes, [400]);
    assert_eq!(admin.get(&format!("{MAPS}/kept")).await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let begin = "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let large = |bytes: usize| format!("X-A: {}\r\n", "a".repeat(bytes));
    for (what, headers, code) in [
        ("a few", many(10), 200),
        ("a few hundred", many(500), 200),
        ("tens of thousands", many(50_000), 431),
        ("one of 200 kB", large(200 << 10), 200),
        ("one of 3 MB", large(3 << 20), 431),
    ] {
        let codes = Raw::admin(&server).await.codes(format!("{begin}{headers}\r\n")).await;
        assert!(*codes == [code] || (code == 431 && codes.is_empty()), "{what}: {codes:?}");
    }
    let codes = Raw::admin(&server).await.codes("GET /version HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(codes, [400], "no host");
    // With HTTP/2 a refused stream leaves the others of the connection alone.
    let admin = server.admin();
    let (fits, does_not) = ("a".repeat(100 << 10), "a".repeat(3 << 20));
    assert_eq!(admin.raw(Method::GET, "/version", &[("x-a", &fits)], "").await.status(), 200);
    assert_eq!(admin.get("/version").await.0, 200);
    let mut request = http::Request::get(format!("https://127.0.0.1:{}/version", server.port));
    request = request.header("x-a", &does_not);
    drop(request);
    let path = format!("/version?{}", "a".repeat(60_000));
    assert_eq!(admin.get(&path).await.0, 200);
    let line = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(100_000));
    assert_eq!(Raw::admin(&server).await.codes(line).await, [414]);
    server.stop().await;
}
