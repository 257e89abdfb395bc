//! Tunnels to API servers, by which they reach a node whose address they cannot dial.
//!
//! The kubelet keeps one connection to each server, known there by its client certificate, and serves HTTP/2 on it: each
//! CONNECT asks for one connection on the node, to the kubelet itself, to the node's own addresses or to its pods. Who
//! may do what is found out by whom the connection leads to, as if it had come over the network.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use knarr_component::backoff::Backoff;
use knarr_component::client;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::manager::Manager;

/// Where API servers take tunnels.
const PATH: &str = "/knarr/tunnel";
/// What the connection is upgraded to.
const PROTOCOL: &str = "knarr-tunnel/1";
/// The host that means the kubelet itself.
const KUBELET: &str = "kubelet";
/// A silent server is asked whether it is there, and given up when it does not answer in time.
const PING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(15));
/// Time for a connection on the node.
const DIAL: Duration = Duration::from_secs(5);
/// Pauses between attempts.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Connections through one tunnel at a time.
const STREAMS: u32 = 2000;

/// When API servers shall use tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Wish {
    /// None is kept
    #[default]
    No,
    /// Where the node's address cannot be dialled
    Auto,
    /// For all that concerns the node
    Always,
}

/// Keeps the tunnels that the flags ask for, until `stop`.
pub(crate) fn start(args: &Args, manager: &Arc<Manager>, own: SocketAddr, stop: &CancellationToken) {
    let Some(kubeconfig) = args.kubeconfig.clone().filter(|_| args.api_server_tunnel != Wish::No) else {
        return;
    };
    let always = args.api_server_tunnel == Wish::Always;
    let servers: Vec<Option<Uri>> = match &args.api_server_tunnel_servers[..] {
        [] => vec![None],
        given => given.iter().cloned().map(Some).collect(),
    };
    for server in servers {
        let tunnel = Tunnel {
            kubeconfig: kubeconfig.clone(),
            server,
            path: if always { format!("{PATH}?always=true") } else { PATH.to_owned() },
            node: Arc::new(Node { manager: Arc::clone(manager), own: reachable(own) }),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(tunnel.keep()));
    }
}

/// The way to one API server.
struct Tunnel {
    kubeconfig: PathBuf,
    server: Option<Uri>,
    path: String,
    node: Arc<Node>,
}

impl Tunnel {
    /// Connects, again and again.
    async fn keep(self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        let server = self.server.as_ref().map(ToString::to_string).unwrap_or_default();
        loop {
            let began = Instant::now();
            match self.once().await {
                Ok(()) => tracing::info!(server, "the API server ended the tunnel"),
                Err(error) => tracing::warn!(server, error = format!("{error:#}"), "no tunnel"),
            }
            // One that was good for a while is made again at once.
            if began.elapsed() > LONGEST_RETRY {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn once(&self) -> Result<()> {
        let server = self.server.as_ref();
        let upgraded = client::upgraded(&self.kubeconfig, server, &self.path, PROTOCOL, "kubelet").await?;
        tracing::info!(server = server.map(ToString::to_string), "the API server has a tunnel to this node");
        let node = Arc::clone(&self.node);
        let service = service_fn(move |request| {
            let node = Arc::clone(&node);
            async move { Ok::<_, Infallible>(node.answer(request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        Ok(builder.serve_connection(upgraded, service).await?)
    }
}

/// What connections lead to.
struct Node {
    manager: Arc<Manager>,
    /// Where the kubelet's own server is reached.
    own: SocketAddr,
}

impl Node {
    async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        let Some(authority) = request.uri().authority().filter(|_| request.method() == Method::CONNECT)
        else {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only connections are made".to_owned());
        };
        let Some(to) = destination(authority, self.own, &self.addresses()) else {
            return refusal(StatusCode::FORBIDDEN, "not an address of this node or its pods".to_owned());
        };
        let mut stream = match tokio::time::timeout(DIAL, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return refusal(StatusCode::BAD_GATEWAY, error.to_string()),
            Err(_) => return refusal(StatusCode::GATEWAY_TIMEOUT, "i/o timeout".to_owned()),
        };
        let _ = stream.set_nodelay(true); // only a matter of speed
        tokio::spawn(async move {
            let ended = match hyper::upgrade::on(request).await {
                Ok(upgraded) => tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await,
                Err(error) => Err(std::io::Error::other(error)),
            };
            tracing::debug!(%to, ?ended, "connection of a tunnel ended");
        });
        Response::new(String::new())
    }

    /// The node's own addresses and those of its pods.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let pods = self.manager.pods();
        let of_pods = pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ips.as_ref()).flatten();
        let of_pods = of_pods.map(|address| &address.ip);
        let own = &self.manager.context().facts.ips;
        own.iter().chain(of_pods).filter_map(|address| address.parse().ok()).collect()
    }
}

fn refusal(code: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = code;
    response
}

/// Where a connection is to lead; nowhere but to the node and its pods.
fn destination(authority: &Authority, own: SocketAddr, addresses: &BTreeSet<IpAddr>) -> Option<SocketAddr> {
    let (host, port) = (authority.host(), authority.port_u16()?);
    if host == KUBELET {
        return Some(own);
    }
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    addresses.contains(&address).then_some(SocketAddr::new(address, port))
}

/// A bound address as one can dial it.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_lead_to_the_node_and_its_pods() {
        let own: SocketAddr = "127.0.0.1:10250".parse().unwrap();
        let addresses = ["192.168.0.2", "10.42.1.5", "fd42::5"].map(|ip| ip.parse().unwrap()).into();
        let check = |authority: &str, expected: Option<&str>| {
            let found = destination(&authority.parse().unwrap(), own, &addresses);
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{authority}");
        };
        check("kubelet:10250", Some("127.0.0.1:10250"));
        check("10.42.1.5:8080", Some("10.42.1.5:8080"));
        check("[fd42::5]:80", Some("[fd42::5]:80"));
        check("192.168.0.2:9100", Some("192.168.0.2:9100"));
        for other in ["127.0.0.1:22", "10.42.2.5:8080", "[::1]:80", "example.com:80", "10.42.1.5"] {
            check(other, None);
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_dialled_on_one() {
        let check = |bound: &str, expected: &str| {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:10250", "127.0.0.1:10250");
        check("[::]:10250", "[::1]:10250");
        check("192.0.2.1:1", "192.0.2.1:1");
    }
}
