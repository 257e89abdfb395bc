//! HTTP/2 frames that cost a server more than their sender: rapid resets, endless headers, more streams than allowed.
use crate::harness::{PATIENCE, Server};
use crate::raw::Raw;
use std::time::Duration;
use tokio::io::AsyncReadExt;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /version`, in the static table's words.
fn get() -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x41, 9];
    block.extend_from_slice(b"127.0.0.1");
    block.extend_from_slice(&[0x44, 8]);
    block.extend_from_slice(b"/version");
    block
}

async fn begun(server: &Server) -> Raw {
    let identity = server.authority.user("admin", &["system:masters"]);
    let mut raw = Raw::open(server, Some(identity), &[b"h2"]).await;
    raw.send([PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await;
    raw
}

/// Kinds and first streams of the frames that arrive until the connection ends or nothing more comes.
async fn frames(raw: &mut Raw) -> Vec<(u8, u32)> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 1 << 16];
    while let Ok(Ok(count @ 1..)) =
        tokio::time::timeout(Duration::from_secs(5), raw.stream.read(&mut piece)).await
    {
        bytes.extend_from_slice(&piece[..count]);
    }
    let mut found = Vec::new();
    let mut rest = &bytes[..];
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        found.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])));
        rest = after.get(length..).unwrap_or_default();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let mut raw = begun(&server).await;
    let block = get();
    for batch in 0..100u32 {
        let mut bytes = Vec::new();
        for nth in 0..100 {
            let stream = (batch * 100 + nth) * 2 + 1;
            bytes.extend(frame(HEADERS, 0x5, stream, &block));
            bytes.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
        }
        raw.send(bytes).await;
    }
    let found = frames(&mut raw).await;
    assert!(found.iter().any(|(kind, _)| *kind == GO_AWAY), "{} frames", found.len());
    assert_eq!(server.admin().get("/version").await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_headers() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let mut raw = begun(&server).await;
    raw.send(frame(HEADERS, 0x1, 1, &get())).await;
    // A literal that is never indexed: name `a`, 16,000 bytes of value.
    let mut block = vec![0x10, 1, b'a', 0x7f];
    let mut length = 16_000 - 127;
    while length > 127 {
        block.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    block.push(length as u8);
    block.extend(std::iter::repeat_n(b'x', 16_000));
    for _ in 0..1000 {
        raw.send(frame(CONTINUATION, 0, 1, &block)).await;
    }
    let found = frames(&mut raw).await;
    assert!(found.iter().any(|(kind, _)| matches!(*kind, GO_AWAY | RESET)) || found.len() < 4, "{found:?}");
    assert_eq!(server.admin().get("/version").await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let mut raw = begun(&server).await;
    let mut watch = vec![0x82, 0x87, 0x41, 9];
    watch.extend_from_slice(b"127.0.0.1");
    let path = b"/api/v1/nodes?watch=1";
    watch.extend_from_slice(&[0x44, path.len() as u8]);
    watch.extend_from_slice(path);
    for nth in 0..2500u32 {
        raw.send(frame(HEADERS, 0x5, nth * 2 + 1, &watch)).await;
    }
    let found = frames(&mut raw).await;
    let refused = found.iter().filter(|(kind, _)| *kind == RESET).count();
    assert!(refused > 0 || found.iter().any(|(kind, _)| *kind == GO_AWAY), "{} frames", found.len());
    assert_eq!(server.admin().get("/version").await.0, 200);
    drop(raw);
    server.stop().await;
}

/// Pings and settings are answered, but not stored up.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let mut raw = begun(&server).await;
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..100)
            .flat_map(|_| [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, b"")].concat())
            .collect();
        if tokio::time::timeout(Duration::from_secs(2), raw.send(bytes)).await.is_err() {
            // The server reads no more until its answers are read.
            break;
        }
    }
    assert_eq!(server.admin().get("/version").await.0, 200);
    drop(raw);
    server.stop().await;
}

/// Kinds and streams of the frames up to the first that is wanted.
async fn frames_until(raw: &mut Raw, wanted: (u8, u32)) -> Vec<(u8, u32)> {
    let mut found = Vec::new();
    while found.last() != Some(&wanted) {
        let mut head = [0; 9];
        let reading = raw.stream.read_exact(&mut head);
        tokio::time::timeout(PATIENCE, reading).await.expect("in time").expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        raw.stream.read_exact(&mut payload).await.expect("its payload");
        found.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])));
    }
    found
}

/// Who is answered before all of the body is sent may go on to its end: some clients take a reset for a failure.
#[tokio::test(flavor = "multi_thread")]
async fn answers_before_the_body_ends() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let mut raw = begun(&server).await;
    // POST instead of GET, which no path of the server's own takes.
    let block = [&[0x83], &get()[1..]].concat();
    raw.send([frame(HEADERS, 0x4, 1, &block), frame(DATA, 0, 1, &[b'x'; 10_000])].concat()).await;
    let answer = frames_until(&mut raw, (HEADERS, 1)).await;
    raw.send([frame(DATA, 0x1, 1, &[b'x'; 10_000]), frame(PING, 0, 0, &[0; 8])].concat()).await;
    let rest = frames_until(&mut raw, (PING, 0)).await;
    assert!(!answer.iter().chain(&rest).any(|(kind, _)| *kind == RESET), "{answer:?} {rest:?}");
    drop(raw);
    server.stop().await;
}
