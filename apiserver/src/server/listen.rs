//! Connections: TLS, then HTTP/1.1 or HTTP/2 as negotiated, each connection a task; all end with the shutdown token,
//! idle ones at once, busy ones when their requests are done or the grace is over.
use super::batched::Batched;
use super::chain::Chain;
use super::cors::{self, Cors};
use super::{Body, RequestBody, Response, Upload, body};
use crate::authn::Peer;
use crate::request_info::RequestInfo;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection without a request for so long is given up. A shorter `--request-timeout` holds for this and the next.
const SILENCE: Duration = Duration::from_secs(32);
/// An HTTP/1.1 connection is kept so long between two requests: as long as Go's clients keep theirs.
const IDLE: Duration = Duration::from_secs(90);
/// Bytes of a request's headers at most, as in the original.
const HEADER_BYTES: u32 = 1 << 20;
/// Headers of a request over HTTP/1.1 at most: impersonation sends one a group.
const HEADERS: usize = 1000;
/// Requests that still run so long after shutdown are cut off.
const GRACE: Duration = Duration::from_secs(5);
/// Streams of one HTTP/2 connection: a client process has all its watches on one.
const STREAMS: u32 = 2000;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// What holds of all connections.
#[derive(Debug, Default)]
pub struct Manners {
    /// Streams of one HTTP/2 connection; 0: as many as a client process needs.
    pub streams: u32,
    /// Told to browsers with every answer.
    pub strict_transport_security: Option<HeaderValue>,
    /// Pages that may read answers.
    pub cors: Cors,
    /// How likely a request that ends soon is the last to begin on its HTTP/2 connection, 0 to 1: clients then connect
    /// again, maybe to another server behind the same address.
    pub goaway_chance: f64,
}

/// Serves until the chain's shutdown token is cancelled, then until the open requests are done.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    chain: Arc<Chain>,
    manners: Arc<Manners>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = chain.shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                tracker.spawn(connection(stream, address, acceptor.clone(), chain.clone(), manners.clone()));
            }
            // Out of descriptors, or the peer went away: neither is a reason to stop, but not to spin either.
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                // Nothing tells when descriptors are free again.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
        tracing::info!("connections still open at shutdown were cut off");
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    chain: Arc<Chain>,
    manners: Arc<Manners>,
) {
    let _ = stream.set_nodelay(true);
    let (patience, idle) = (SILENCE.min(chain.timeout), IDLE.min(chain.timeout));
    let handshake = tokio::time::timeout(HANDSHAKE.min(patience), acceptor.accept(stream)).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake failed");
            chain.metrics.handshakes.inc();
            return;
        }
        Err(_) => {
            chain.metrics.handshakes.inc();
            return;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let certificates = certificates.into_iter().map(rustls::pki_types::CertificateDer::into_owned).collect();
    let peer = Arc::new(Peer::new(certificates));
    // No more requests than those that have begun.
    let last = chain.shutdown.child_token();
    let asked = Arc::new(AtomicBool::new(false));
    let (was_asked, retiring) = (asked.clone(), last.clone());
    let builder = builder(idle, manners.streams);
    let service = service_fn(move |request: http::Request<Incoming>| {
        was_asked.store(true, Ordering::Relaxed);
        if manners.is_last(&request) {
            retiring.cancel();
        }
        let (chain, peer, manners) = (chain.clone(), peer.clone(), manners.clone());
        async move { Ok::<Response, Infallible>(manners.answer(&chain, &peer, address, request).await) }
    });
    let silent = async {
        // The time that a client has.
        tokio::time::sleep(patience).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let serving = async {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            drive(builder.http2_only(), TokioIo::new(Batched::new(stream)), service, address, &last).await;
        } else {
            drive(builder.http1_only(), TokioIo::new(stream), service, address, &last).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = silent => tracing::debug!(%address, "a connection without a request was given up"),
    }
}

/// Serves one connection to its end.
async fn drive<I, S>(
    builder: auto::Builder<TokioExecutor>,
    io: I,
    service: S,
    address: SocketAddr,
    last: &CancellationToken,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send,
    S::Future: Send + 'static,
{
    let serving = builder.serve_connection_with_upgrades(io, service);
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = last.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%address, error, "connection ended");
    }
}

impl Manners {
    /// Is the connection to take no request after this one? Long-running ones end when they please.
    fn is_last(&self, request: &http::Request<Incoming>) -> bool {
        let is_short =
            || RequestInfo::new(request.method(), request.uri()).is_ok_and(|info| !info.is_long_running());
        self.goaway_chance > 0.0
            && request.version() == http::Version::HTTP_2
            && rand::random_bool(self.goaway_chance)
            && is_short()
    }

    async fn answer(
        &self,
        chain: &Chain,
        peer: &Peer,
        address: SocketAddr,
        request: http::Request<Incoming>,
    ) -> Response {
        if let Some(fault) = host_fault(&request) {
            return body::text(400, fault);
        }
        let origin = self.cors.origin(request.headers());
        let head = request.method() == Method::HEAD;
        let mut response = if origin.is_some() && request.method() == Method::OPTIONS {
            // Browsers ask whether they may ask, without credentials.
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else {
            let version = request.version();
            let request = request.map(|incoming| RequestBody::Incoming(Upload::new(incoming, version)));
            chain.serve(peer, address, request).await
        };
        if let Some(origin) = origin {
            cors::allow(response.headers_mut(), origin);
        }
        if let Some(directives) = &self.strict_transport_security {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, directives.clone());
        }
        if head { response.map(|_| Body::Empty) } else { response }
    }
}

/// What is wrong with the way an HTTP/1.1 request names its host: proxies before this server may have read it otherwise.
fn host_fault(request: &http::Request<Incoming>) -> Option<&'static str> {
    if request.version() != http::Version::HTTP_11 {
        return None;
    }
    match request.headers().get_all(header::HOST).iter().count() {
        0 if request.uri().authority().is_none() => Some("400 Bad Request: missing required Host header"),
        0 | 1 => None,
        _ => Some("400 Bad Request: too many Host headers"),
    }
}

fn builder(idle: Duration, streams: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES as usize)
        .keep_alive(true)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(if streams == 0 { STREAMS } else { streams })
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(1 << 20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
