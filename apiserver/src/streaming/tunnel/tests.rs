use super::*;
use hyper::body::Incoming;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

/// The node's end: sends back what comes for `echo:1`, refuses anything else.
async fn node(stream: DuplexStream) {
    let service = service_fn(|request: http::Request<Incoming>| async move {
        if request.uri().authority().is_none_or(|authority| authority != "echo:1") {
            let mut refusal = http::Response::new("not one of this node's".to_owned());
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return Ok::<_, Infallible>(refusal);
        }
        tokio::spawn(async move {
            let mut upgraded = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut upgraded);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        Ok(http::Response::new(String::new()))
    });
    let _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn connect(tunnels: &Arc<Tunnels>, name: &'static str) -> (JoinHandle<()>, JoinHandle<hyper::Result<()>>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let tunnels = tunnels.clone();
    let carried = async move { tunnels.carry(name, false, TokioIo::new(ours)).await };
    (tokio::spawn(node(theirs)), tokio::spawn(carried))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), met).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn connections_go_to_the_node() {
    let tunnels = Arc::new(Tunnels::default());
    let (there, carried) = connect(&tunnels, "a");
    until("the tunnel is there", || tunnels.of("a").is_some()).await;
    assert!(tunnels.of("b").is_none());
    let tunnel = tunnels.of("a").unwrap();
    for text in ["one", "another"] {
        let mut stream = tunnel.open("echo:1").await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
    let refused = tunnel.open("other:1").await.unwrap_err();
    assert_eq!(refused, "dial other:1 through the node's tunnel: not one of this node's");
    there.abort();
    let _ = carried.await.unwrap();
    assert!(tunnels.of("a").is_none(), "it ended");
}

#[tokio::test]
async fn the_newest_tunnel_is_used() {
    let tunnels = Arc::new(Tunnels::default());
    let (_first, _) = connect(&tunnels, "a");
    until("the first is there", || tunnels.of("a").is_some()).await;
    let first = tunnels.of("a").unwrap();
    let (second, carried) = connect(&tunnels, "a");
    let is_first = || tunnels.of("a").is_some_and(|now| Arc::ptr_eq(&now, &first));
    until("the second is used", || !is_first()).await;
    second.abort();
    let _ = carried.await.unwrap();
    assert!(is_first(), "the first is used again");
}

#[tokio::test]
async fn what_did_not_work_is_not_tried_first() {
    let tunnels = Arc::new(Tunnels::default());
    let (_there, _) = connect(&tunnels, "a");
    until("the tunnel is there", || tunnels.of("a").is_some()).await;
    let tunnel = tunnels.of("a").unwrap();
    assert!(!tunnel.comes_first());
    tunnel.is_needed();
    assert!(tunnel.comes_first());
}
