//! What the proxy tells of itself over HTTP: whether it keeps up and whether load balancers should send anything to this node
//! (`/healthz`, `/livez`), its metrics, and its mode (`/proxyMode`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use knarr_component::health::Health;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::flags::{Args, ProxyMode};

/// How long a change may wait to be carried out before the proxy is unhealthy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before a port that is taken is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Taint by which the cluster autoscaler announces that it removes a node.
const GOING: &str = "ToBeDeletedByClusterAutoscaler";

/// Whether the proxy keeps up; clones share it.
#[derive(Debug, Clone, Default)]
pub struct ProxyHealth(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Since when something waits to be carried out.
    pending: Mutex<Option<Instant>>,
    /// When all was carried out last.
    updated: Mutex<Option<Timestamp>>,
    /// The node is about to go.
    is_leaving: AtomicBool,
}

impl ProxyHealth {
    /// Notes that something is to be carried out.
    pub fn queued(&self) {
        self.0.pending.lock().get_or_insert_with(Instant::now);
    }

    /// Notes that all is carried out.
    pub fn updated(&self) {
        *self.0.pending.lock() = None;
        *self.0.updated.lock() = Some(Timestamp::now());
    }

    /// Takes the node's object as it is now.
    pub fn node(&self, node: &Node) {
        let taints = node.spec.iter().filter_map(|spec| spec.taints.as_ref()).flatten();
        let is_leaving =
            node.metadata.deletion_timestamp.is_some() || taints.into_iter().any(|taint| taint.key == GOING);
        self.0.is_leaving.store(is_leaving, Ordering::Relaxed);
    }

    fn is_healthy(&self, now: Instant) -> bool {
        self.0.pending.lock().is_none_or(|since| now.saturating_duration_since(since) < PATIENCE)
    }

    /// The answer's body. The time of the last update is now where nothing waits, as it has always been told.
    fn report(&self, healthy: bool) -> Value {
        let now = Timestamp::now();
        let updated = if healthy { Some(now) } else { *self.0.updated.lock() };
        json!({"lastUpdated": updated.unwrap_or_default().to_string(), "currentTime": now.to_string(), "healthy": healthy})
    }
}

/// Whether the proxy keeps up and the node stays.
async fn healthz(State(health): State<ProxyHealth>) -> Response {
    let (healthy, stays) = (health.is_healthy(Instant::now()), !health.0.is_leaving.load(Ordering::Relaxed));
    let mut report = health.report(healthy);
    report["nodeEligible"] = stays.into();
    answer(healthy && stays, report)
}

/// Whether the proxy keeps up.
async fn livez(State(health): State<ProxyHealth>) -> Response {
    let healthy = health.is_healthy(Instant::now());
    answer(healthy, health.report(healthy))
}

fn answer(good: bool, report: Value) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(NO_SNIFF, "nosniff")], Json(report)).into_response()
}

const NO_SNIFF: HeaderName = header::X_CONTENT_TYPE_OPTIONS;

/// The paths of the server that load balancers ask.
fn for_balancers(health: &ProxyHealth, process: &Health) -> Router {
    let process = process.router();
    let readyz = async move |request: Request| process.clone().oneshot(request).await;
    Router::new()
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .with_state(health.clone())
        .route("/readyz", get(readyz))
}

/// The paths of the server of metrics.
fn for_metrics(mode: ProxyMode, process: &Health) -> Router {
    let text = async move || ([(NO_SNIFF, "nosniff")], mode.name());
    Router::new().route("/proxyMode", get(text)).merge(process.router())
}

/// Serves as the flags say, both at one address where they name it twice.
///
/// # Errors
/// A port is taken, and that is to be an error.
pub async fn start(
    args: &Args,
    health: &ProxyHealth,
    process: &Health,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let balancers = || for_balancers(health, process);
    let metrics = || for_metrics(args.proxy_mode, process);
    let (at, other) = (args.healthz_bind_address, args.metrics_bind_address);
    let servers = match other {
        Some(other) if other == at => vec![(at, metrics_below(balancers(), metrics()))],
        other => [(Some(at), balancers()), (other, metrics())]
            .into_iter()
            .filter_map(|(at, router)| Some((at?, router)))
            .collect(),
    };
    for (at, router) in servers.into_iter().filter(|(at, _)| at.port() != 0) {
        match TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}")) {
            Ok(listener) => drop(tokio::spawn(serve(listener, router, stop.clone()))),
            Err(error) if args.bind_address_hard_fail => return Err(error),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "health or metrics are not served yet");
                tokio::spawn(stop.clone().run_until_cancelled_owned(again(at, router, stop.clone())));
            }
        }
    }
    Ok(())
}

/// One server's paths, with another's where it has none.
fn metrics_below(above: Router, below: Router) -> Router {
    above.fallback_service(below)
}

/// Serves once the port is free.
async fn again(at: SocketAddr, router: Router, stop: CancellationToken) {
    loop {
        tokio::time::sleep(RETRY).await; // nothing tells that a port is free
        if let Ok(listener) = TcpListener::bind(at).await {
            tracing::info!(%at, "serving");
            return serve(listener, router, stop).await;
        }
    }
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "a server ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    async fn get(router: Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).expect("request");
        let answer = router.oneshot(request).await.expect("answer");
        let code = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("body");
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    fn node(fields: Value) -> Node {
        let mut object = json!({"metadata": {"name": "n"}});
        object.as_object_mut().expect("object").extend(fields.as_object().cloned().unwrap_or_default());
        serde_json::from_value(object).expect("node")
    }

    #[tokio::test]
    async fn balancers_hear_whether_the_node_can_take_anything() {
        let (health, process) = (ProxyHealth::default(), Health::new());
        let codes = async || {
            let of = async |path| get(for_balancers(&health, &process), path).await.0;
            (of("/healthz").await, of("/livez").await)
        };
        assert_eq!(codes().await, (200, 200), "it is about to begin");
        health.node(&node(json!({"spec": {"taints": [{"key": GOING, "effect": "NoSchedule"}]}})));
        assert_eq!(codes().await, (503, 200));
        let (_, text) = get(for_balancers(&health, &process), "/healthz").await;
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&report["nodeEligible"], &report["healthy"]), (&json!(false), &json!(true)));
        health.node(&node(json!({})));
        assert_eq!(codes().await, (200, 200));
        *health.0.pending.lock() = Instant::now().checked_sub(PATIENCE);
        health.queued();
        assert_eq!(codes().await, (503, 503), "what waits first counts");
        health.updated();
        assert_eq!(codes().await, (200, 200));
        assert_eq!(get(for_balancers(&health, &process), "/metrics").await.0, 404);
        assert_eq!(get(for_balancers(&health, &process), "/readyz").await, (200, "ok".to_owned()));
    }

    #[tokio::test]
    async fn metrics_have_a_server_of_their_own() {
        let process = Health::new();
        let metrics = || for_metrics(ProxyMode::Iptables, &process);
        assert_eq!(get(metrics(), "/proxyMode").await, (200, "iptables".to_owned()));
        assert_eq!(get(metrics(), "/healthz").await, (200, "ok".to_owned()));
        assert_eq!(get(metrics(), "/metrics").await.0, 200);
        let both = || metrics_below(for_balancers(&ProxyHealth::default(), &process), metrics());
        assert!(get(both(), "/healthz").await.1.contains("nodeEligible"));
        assert_eq!(get(both(), "/metrics").await.0, 200);
        assert_eq!(get(both(), "/proxyMode").await.0, 200);
    }
}
