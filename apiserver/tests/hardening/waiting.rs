//! Clients that are slow or say nothing: each is given up in time, and nobody waits for them.
use crate::harness::Server;
use crate::raw::{Raw, codes};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Time that the server grants here, and the most that a test takes until it has seen the end of it.
const GRANTED: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn the_slow_are_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--request-timeout=2s"]).await;
    let began = Instant::now();
    let silent = async {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
        let _ = tokio::time::timeout(LATEST, tcp.read(&mut [0; 64])).await.expect("closed in time");
    };
    let half_a_head = async {
        let mut raw = Raw::admin(&server).await;
        raw.send("GET /version HTTP/1.1\r\nHost: x\r\nX-").await;
        let answer = codes(&raw.rest().await);
        assert!(matches!(*answer, [] | [408]), "{answer:?}");
    };
    let nothing_asked = async {
        for protocol in [&b"http/1.1"[..], b"h2"] {
            let mut raw = Raw::open(&server, None, &[protocol]).await;
            raw.rest().await;
        }
    };
    let only_a_preface = async {
        let mut raw = Raw::open(&server, None, &[b"h2"]).await;
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        raw.rest().await;
    };
    let half_a_body = async {
        let mut raw = Raw::admin(&server).await;
        let path = "/api/v1/namespaces/default/configmaps";
        raw.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"metadata\""))
            .await;
        let mut answer = vec![0; 4096];
        let read =
            tokio::time::timeout(LATEST, raw.stream.read(&mut answer)).await.expect("in time").unwrap();
        assert_eq!(codes(&answer[..read]), [504]);
    };
    tokio::join!(silent, half_a_head, nothing_asked, only_a_preface, half_a_body);
    assert!(began.elapsed() >= GRANTED && began.elapsed() < LATEST * 2, "{:?}", began.elapsed());
    assert_eq!(server.admin().get("/version").await.0, 200);
    server.stop().await;
}

/// Many at once who say nothing keep nobody out.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_silent_clients() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap());
    }
    let began = Instant::now();
    assert_eq!(server.admin().get("/version").await.0, 200);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(crowd);
    server.stop().await;
}
