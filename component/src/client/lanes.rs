//! HTTP/2 connections that are added as streams need them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Hyper, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use knarr_reload::identity::Shown;
use kube::client::Body;
use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use tower::Service;

use crate::metrics;

/// TLS (or plain TCP) to the API server.
pub(super) type Connector = hyper_rustls::HttpsConnector<HttpConnector>;

/// Streams of one connection. Go servers allow 250 by default and hyper's 200: stay below both,
/// since a request beyond the limit would wait for another one to end, and watches do not.
const STREAMS_A_LANE: usize = 90;
/// What one slow watch may leave unread before the server stops sending to it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// All unread data of a connection. Many slow watches must not stop the others.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

struct Lane {
    client: Hyper<Connector, Body>,
    /// What it was opened with.
    identity: Option<Arc<CertifiedKey>>,
    /// Requests whose response body is still open.
    active: AtomicUsize,
}

/// A service that sends each request over the first connection with room for it.
#[derive(Clone)]
pub(super) struct Lanes {
    connector: Connector,
    /// The client certificate of the connector, where it has one.
    shown: Option<Arc<Shown>>,
    lanes: Arc<Mutex<Vec<Arc<Lane>>>>,
}

impl Lanes {
    pub(super) fn new(connector: Connector, shown: Option<Arc<Shown>>) -> Self {
        Self { connector, shown, lanes: Arc::default() }
    }

    fn pick(&self) -> (Arc<Lane>, Ticket) {
        let identity = self.shown.as_ref().map(|shown| shown.now());
        let mut lanes = self.lanes.lock();
        // A server refuses requests over a connection whose certificate has expired since. What is open ends by itself.
        lanes.retain(|lane| match (&lane.identity, &identity) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => true,
        });
        let lane = match lanes.iter().find(|lane| lane.active.load(Ordering::Relaxed) < STREAMS_A_LANE) {
            Some(lane) => lane.clone(),
            None => {
                let lane = Arc::new(Lane { client: self.hyper(), identity, active: AtomicUsize::new(0) });
                lanes.push(lane.clone());
                lane
            }
        };
        lane.active.fetch_add(1, Ordering::Relaxed);
        (lane.clone(), Ticket(lane))
    }

    fn hyper(&self) -> Hyper<Connector, Body> {
        Hyper::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_only(true)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            // As client-go: a dead peer is noticed within 45 s even when no request is sent.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(15))
            .http2_keep_alive_while_idle(true)
            .build(self.connector.clone())
    }
}

impl Service<Request<Body>> for Lanes {
    type Response = Response<Tracked>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (lane, ticket) = self.pick();
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let (method, started) = (request.method().clone(), Instant::now());
        Box::pin(async move {
            let response = lane.client.request(request).await;
            metrics::REQUEST_TIME.took(&[method.as_str(), &host], started.elapsed());
            // The original's word for a request without an answer.
            let status = response.as_ref().map(Response::status);
            let code = status.as_ref().map_or("<error>", |status| status.as_str());
            metrics::REQUESTS.one(&[code, method.as_str(), &host]);
            let response = response?;
            Ok(response.map(|body| Tracked { body, _ticket: ticket }))
        })
    }
}

/// Counts one request of a lane until it is dropped.
struct Ticket(Arc<Lane>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that holds its lane's stream until it is dropped.
pub(super) struct Tracked {
    body: Incoming,
    _ticket: Ticket,
}

impl HttpBody for Tracked {
    type Data = hyper::body::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::{self, StreamExt};
    use http_body_util::{BodyExt, StreamBody};
    use hyper::{body::Bytes, service::service_fn};
    use hyper_util::{rt::TokioIo, server::conn::auto};
    use kube::{Client, Config};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each request with one line and leaves the response open.
    async fn endless_server() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = service_fn(|request: Request<Incoming>| async move {
                    let agent = request.headers().get("user-agent").cloned();
                    let line = format!("{:?} {agent:?}\n", request.version());
                    let frame = Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(line)));
                    Ok::<_, std::convert::Infallible>(Response::new(StreamBody::new(
                        stream::iter([frame]).chain(stream::pending()),
                    )))
                });
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        (address, connections)
    }

    async fn watch(client: &Client) -> (String, Body) {
        let request = Request::get("/watch").body(Body::empty()).expect("a request");
        let mut body = client.send(request).await.expect("a response").into_body();
        let frame = body.frame().await.expect("a frame").expect("no error");
        let line = frame.into_data().expect("data");
        (String::from_utf8_lossy(&line).into_owned(), body)
    }

    #[tokio::test]
    async fn open_watches_share_connections() {
        let (address, connections) = endless_server().await;
        let config = Config::new(address.parse().expect("an address"));
        let client = super::super::from_config(config, None, "test").expect("a client");
        let mut open = Vec::new();
        for _ in 0..STREAMS_A_LANE {
            open.push(watch(&client).await);
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        let agent = concat!("HTTP/2.0 Some(\"knarr-test/v", env!("CARGO_PKG_VERSION"), "\")\n");
        assert_eq!(open[0].0, agent);
        open.push(watch(&client).await);
        assert_eq!(connections.load(Ordering::SeqCst), 2, "the first connection is full");
        open.clear();
        open.push(watch(&client).await);
        assert_eq!(connections.load(Ordering::SeqCst), 2, "it has room again");
    }

    #[tokio::test]
    async fn a_renewed_certificate_gets_a_connection() {
        let (address, connections) = endless_server().await;
        let shown = || {
            let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("a certificate");
            let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
            let identity = knarr_reload::identity::from_pem(certificate.as_bytes(), key.as_bytes());
            Some(Arc::new(Shown::fixed(identity.expect("an identity")).expect("its key")))
        };
        super::super::ensure_crypto_provider();
        let config = Config::new(address.parse().expect("an address"));
        let connector = super::super::connector(&config, None).expect("a connector");
        let mut lanes = Lanes::new(connector, shown());
        let mut open = Vec::new();
        for expected in [1, 1, 2, 2] {
            if expected == 2 && open.len() == 2 {
                lanes.shown = shown();
            }
            let request = Request::get(format!("{address}/watch")).body(Body::empty()).expect("a request");
            open.push(lanes.call(request).await.expect("a response"));
            assert_eq!(connections.load(Ordering::SeqCst), expected);
        }
    }
}
