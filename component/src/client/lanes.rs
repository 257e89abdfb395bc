//! HTTP/2 connections that are added as streams need them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Hyper, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::Body;
use parking_lot::Mutex;
use tower::Service;

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
    /// Requests whose response body is still open.
    active: AtomicUsize,
}

/// A service that sends each request over the first connection with room for it.
#[derive(Clone)]
pub(super) struct Lanes {
    connector: Connector,
    lanes: Arc<Mutex<Vec<Arc<Lane>>>>,
}

impl Lanes {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, lanes: Arc::default() }
    }

    fn pick(&self) -> (Arc<Lane>, Ticket) {
        let mut lanes = self.lanes.lock();
        let lane = match lanes.iter().find(|lane| lane.active.load(Ordering::Relaxed) < STREAMS_A_LANE) {
            Some(lane) => lane.clone(),
            None => {
                let lane = Arc::new(Lane { client: self.hyper(), active: AtomicUsize::new(0) });
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
        Box::pin(async move {
            let response = lane.client.request(request).await?;
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
