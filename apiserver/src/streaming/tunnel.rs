//! Ways to nodes that cannot be dialled: a kubelet behind address translation keeps a connection to this server, over which
//! it is reached.
//!
//! A kubelet asks for [`TUNNEL`](crate::request_info::TUNNEL) with its client certificate and is upgraded. From then on the roles are swapped: this
//! server speaks HTTP/2 as a client, and each CONNECT is one connection that the kubelet opens on its node, either to
//! itself (the host [`KUBELET`]) or to one of its pods. What goes through is what would go over TCP, so the kubelet's
//! TLS and its authentication are between the same ends as without a tunnel. A node can only give a way to itself: its
//! name is that of the user who asked.
use crate::server::{Body, Request, Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http2;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use knarr_api::status::Status;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The protocol that the connection is upgraded to.
pub const PROTOCOL: &str = "knarr-tunnel/1";
/// The host by which the kubelet itself is meant.
pub const KUBELET: &str = "kubelet";
/// A silent node is asked whether it is there, and given up when it does not answer in time.
const PING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(15));
/// Time that a kubelet has to open a connection.
const OPEN: Duration = Duration::from_secs(10);
/// How long a node that could not be dialled is reached by its tunnel at once.
const REMEMBERED: Duration = Duration::from_secs(60);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// The longest refusal that is passed on, in bytes.
const MAX_ERROR: usize = 1024;

/// The tunnels that nodes keep to this server.
#[derive(Default)]
pub struct Tunnels {
    /// Newest last; a node has several for a moment when it connects anew.
    of_nodes: Mutex<HashMap<String, Vec<Arc<Tunnel>>>>,
}

/// One node's connection.
pub struct Tunnel {
    /// The node wants to be reached by it even where its address can be dialled.
    always: bool,
    sender: http2::SendRequest<Empty<Bytes>>,
    /// When the node's address was last seen not to lead to it.
    needed: Mutex<Option<Instant>>,
}

impl Tunnels {
    /// The newest tunnel of a node.
    pub fn of(&self, node: &str) -> Option<Arc<Tunnel>> {
        self.of_nodes.lock().get(node)?.last().cloned()
    }

    /// Answers a node's request for a tunnel, and keeps what comes of it until either side ends it.
    ///
    /// # Errors
    /// 400 for a request that does not ask for the protocol.
    pub fn accept(
        self: &Arc<Self>,
        node: &str,
        always: bool,
        mut request: Request,
        stop: CancellationToken,
    ) -> Result<Response, Status> {
        if *request.method() != Method::GET
            || request.headers().get(header::UPGRADE).is_none_or(|wanted| wanted != PROTOCOL)
        {
            return Err(Status::bad_request(format!("an upgrade to {PROTOCOL} is required")));
        }
        let client = hyper::upgrade::on(&mut request);
        let (tunnels, node) = (self.clone(), node.to_owned());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let kept = async { tunnels.carry(&node, always, client.await?).await };
            match kept.await {
                Ok(()) => tracing::info!(node, "tunnel ended"),
                Err(error) => tracing::warn!(node, %error, "tunnel broken"),
            }
        }));
        let mut answer = http::Response::new(Body::Empty);
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        Ok(answer)
    }

    /// Uses a connection as a node's tunnel until it ends.
    async fn carry<I>(self: Arc<Self>, node: &str, always: bool, io: I) -> hyper::Result<()>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .keep_alive_while_idle(true)
            .handshake(io)
            .await?;
        let tunnel = Arc::new(Tunnel { always, sender, needed: Mutex::default() });
        let _entry = Entry::new(self, node, tunnel);
        tracing::info!(node, "tunnel opened");
        connection.await
    }
}

/// A tunnel in the list of its node, as long as it lasts.
struct Entry {
    tunnels: Arc<Tunnels>,
    node: String,
    tunnel: Arc<Tunnel>,
}

impl Entry {
    fn new(tunnels: Arc<Tunnels>, node: &str, tunnel: Arc<Tunnel>) -> Self {
        tunnels.of_nodes.lock().entry(node.to_owned()).or_default().push(tunnel.clone());
        Self { tunnels, node: node.to_owned(), tunnel }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut of_nodes = self.tunnels.of_nodes.lock();
        if let Some(of_node) = of_nodes.get_mut(&self.node) {
            of_node.retain(|tunnel| !Arc::ptr_eq(tunnel, &self.tunnel));
            if of_node.is_empty() {
                of_nodes.remove(&self.node);
            }
        }
    }
}

impl Tunnel {
    /// Whether the node's address need not be tried.
    pub fn comes_first(&self) -> bool {
        self.always || self.needed.lock().is_some_and(|seen| seen.elapsed() < REMEMBERED)
    }

    /// Remembers that the node's address does not lead to it.
    pub fn is_needed(&self) {
        *self.needed.lock() = Some(Instant::now());
    }

    /// Has the node open a connection.
    ///
    /// # Errors
    /// What kept it from that.
    pub async fn open(&self, authority: &str) -> Result<TokioIo<Upgraded>, String> {
        let opened = tokio::time::timeout(OPEN, self.connect(authority)).await;
        let opened = opened.unwrap_or_else(|_| Err("i/o timeout".to_owned()));
        opened.map_err(|text| format!("dial {authority} through the node's tunnel: {text}"))
    }

    async fn connect(&self, authority: &str) -> Result<TokioIo<Upgraded>, String> {
        let request = http::Request::builder().method(Method::CONNECT).uri(authority).body(Empty::new());
        let request = request.map_err(|error| error.to_string())?;
        let response = self.sender.clone().send_request(request).await.map_err(|error| error.to_string())?;
        if response.status().is_success() {
            let upgraded = hyper::upgrade::on(response).await;
            return upgraded.map(TokioIo::new).map_err(|error| error.to_string());
        }
        let why = Limited::new(response.into_body(), MAX_ERROR).collect().await;
        Err(why.map_or_else(
            |error| error.to_string(),
            |text| String::from_utf8_lossy(&text.to_bytes()).into_owned(),
        ))
    }
}

#[cfg(test)]
mod tests;
