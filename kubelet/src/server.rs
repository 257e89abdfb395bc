//! The kubelet's HTTPS server: logs, commands, port forwarding, statistics.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use kube::Client;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::manager::Manager;
use crate::metrics::{self as counters, Name};
use crate::pleg::{HEALTHY_WITHIN, Pulse};

pub mod auth;
mod cadvisor;
mod checkpoint;
mod exposition;
mod logs;
mod metrics;
mod pods;
mod process;
mod stats;
mod system_logs;
pub mod tls;
mod usage;

use auth::Access;
use knarr_component::delegation::Identity;
use knarr_component::serving::connections;

/// What all handlers share.
pub struct Server {
    /// The pods.
    pub manager: Arc<Manager>,
    /// The kubelet's settings, for `/configz`.
    pub config: serde_json::Value,
    access: Access,
    samples: stats::Samples,
    pulse: Arc<Pulse>,
}

/// Whether pods have been looked at lately.
async fn sync_loop(State(server): Shared) -> Result<&'static str, Failure> {
    if server.is_in_step() {
        return Ok("ok");
    }
    Err(Failure::internal("[-]syncloop failed: reason withheld\nhealthz check failed\n"))
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
    pub fn new(
        manager: Arc<Manager>,
        config: serde_json::Value,
        client: Option<Client>,
        pulse: Arc<Pulse>,
    ) -> Arc<Self> {
        let node = manager.context().facts.name.clone();
        Arc::new(Self {
            access: Access::new(client, node),
            manager,
            config,
            samples: Default::default(),
            pulse,
        })
    }

    /// Whether pods have been looked at lately.
    fn is_in_step(&self) -> bool {
        self.pulse.age() <= HEALTHY_WITHIN
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
            .route("/metrics/slis", get(metrics::slis))
            .route("/logs", get(system_logs::top))
            .route("/logs/", get(system_logs::top))
            .route("/logs/{*path}", get(system_logs::below))
            .route("/checkpoint/{namespace}/{pod}/{container}", axum::routing::post(checkpoint::checkpoint))
            .route("/healthz", get(sync_loop))
            .route("/healthz/", get(sync_loop))
            .route("/healthz/ping", get(|| async { "ok" }))
            .route("/healthz/log", get(|| async { "ok" }))
            .route("/healthz/syncloop", get(sync_loop))
            .fallback(|| async { Failure::not_found("404 page not found\n") })
            .layer(middleware::from_fn_with_state(Arc::clone(self), guard))
            .with_state(Arc::clone(self))
    }

    /// Serves until told to stop.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor, stop: CancellationToken) {
        let router = self.router();
        let of_connection = move |chain: &[CertificateDer<'static>]| {
            router.clone().layer(axum::Extension(chain.first().and_then(Identity::of_certificate)))
        };
        connections::serve(listener, tls, connections::STREAMS, of_connection, stop).await;
    }
}

/// Lets only those through who are known and allowed.
async fn guard(State(server): Shared, request: Request, next: Next) -> Response {
    let certificate = request.extensions().get::<Option<Identity>>().cloned().flatten();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = std::time::Instant::now();
    let answer = match server.access.check(certificate, &method, &path, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    // The first part of a path is one of a few; the rest names pods.
    let first = path.split('/').nth(1).unwrap_or_default();
    let first = if answer.status() == StatusCode::NOT_FOUND { "other" } else { first };
    let long_running = matches!(first, "exec" | "attach" | "portForward" | "run").to_string();
    let labels = [
        ("long_running", long_running.as_str()),
        ("method", method.as_str()),
        ("path", first),
        ("server_type", "readwrite"),
    ];
    counters::count(Name::HttpRequests, &labels);
    counters::observe(Name::HttpRequestSeconds, &labels, begun.elapsed());
    answer
}
