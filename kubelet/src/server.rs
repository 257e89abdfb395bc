//! The kubelet's HTTPS server: logs, commands, port forwarding, statistics.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::manager::Manager;

pub mod auth;
mod cadvisor;
mod exposition;
mod logs;
mod metrics;
mod pods;
mod stats;
pub mod tls;
mod usage;

use auth::{Access, Identity};

/// What all handlers share.
pub struct Server {
    /// The pods.
    pub manager: Arc<Manager>,
    /// The kubelet's settings, for `/configz`.
    pub config: serde_json::Value,
    access: Access,
    samples: stats::Samples,
}

/// State of the handlers.
type Shared = State<Arc<Server>>;

/// An answer in plain text, as the original's server gives it.
#[derive(Debug)]
pub struct Failure(pub StatusCode, pub String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.1).into_response()
    }
}

impl Failure {
    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, message.into())
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    /// 500.
    pub fn internal(message: impl ToString) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, message.to_string())
    }
}

impl Server {
    /// A server of these pods. Without `client` no one but holders of a certificate is let in.
    pub fn new(manager: Arc<Manager>, config: serde_json::Value, client: Option<Client>) -> Arc<Self> {
        let node = manager.context().facts.name.clone();
        Arc::new(Self { access: Access::new(client, node), manager, config, samples: Default::default() })
    }

    fn router(self: &Arc<Self>) -> Router {
        use crate::streaming::handlers as streaming;
        Router::new()
            .route("/pods", get(pods::pods))
            .route("/pods/", get(pods::pods))
            .route("/runningpods/", get(pods::running))
            .route("/configz", get(pods::config))
            .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::logs))
            .route("/exec/{namespace}/{pod}/{container}", any(streaming::exec))
            .route("/exec/{namespace}/{pod}/{uid}/{container}", any(streaming::exec))
            .route("/attach/{namespace}/{pod}/{container}", any(streaming::attach))
            .route("/attach/{namespace}/{pod}/{uid}/{container}", any(streaming::attach))
            .route("/portForward/{namespace}/{pod}", any(streaming::port_forward))
            .route("/portForward/{namespace}/{pod}/{uid}", any(streaming::port_forward))
            .route("/run/{namespace}/{pod}/{container}", axum::routing::post(streaming::run))
            .route("/stats/summary", get(stats::summary))
            .route("/metrics", get(metrics::own))
            .route("/metrics/resource", get(metrics::resource))
            .route("/metrics/cadvisor", get(cadvisor::cadvisor))
            .route("/metrics/probes", get(metrics::probes))
            .layer(middleware::from_fn_with_state(Arc::clone(self), guard))
            .route("/healthz", get(|| async { "ok" }))
            .route("/healthz/ping", get(|| async { "ok" }))
            .with_state(Arc::clone(self))
    }

    /// Serves until told to stop.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor, stop: CancellationToken) {
        let router = self.router();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let work = connection(stream, peer, tls.clone(), router.clone());
                    tokio::spawn(stop.clone().run_until_cancelled_owned(work));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    // Nothing tells when descriptors are free again.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: TlsAcceptor, router: Router) {
    let _ = stream.set_nodelay(true);
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%peer, %error, "TLS handshake");
            return;
        }
    };
    let identity =
        stream.get_ref().1.peer_certificates().and_then(|chain| auth::of_certificate(chain.first()?));
    let router = router.layer(axum::Extension(identity));
    let service = TowerToHyperService::new(router);
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%peer, %error, "connection");
    }
}

/// Lets only those through who are known and allowed.
async fn guard(State(server): Shared, request: Request, next: Next) -> Response {
    let certificate = request.extensions().get::<Option<Identity>>().cloned().flatten();
    match server.access.check(certificate, request.method(), request.uri().path(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}
