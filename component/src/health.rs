//! The HTTP server for health checks and metrics of a component.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use knarr_reload::exposition::classic;
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::flags::Serving;

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Named checks and metrics of a process; clones share them.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    live: RwLock<BTreeMap<String, Check>>,
    ready: RwLock<BTreeMap<String, Check>>,
    metrics: Mutex<Registry>,
    /// The process's settings, by the group of their kind.
    settings: Mutex<serde_json::Map<String, serde_json::Value>>,
}

impl Health {
    /// No checks yet: healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check to `/healthz`, `/livez` and `/readyz`: an error is a reason to restart.
    pub fn live(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.live.write().insert(name.to_string(), Arc::new(check));
    }

    /// Adds a check to `/readyz` only: an error means that the work has not begun yet.
    pub fn ready(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.ready.write().insert(name.to_string(), Arc::new(check));
    }

    /// Registers metrics.
    pub fn metrics(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.0.metrics.lock());
    }

    /// Tells the process's settings at `/configz`, by the group of their kind.
    pub fn settings(&self, group: &str, settings: serde_json::Value) {
        self.0.settings.lock().insert(group.to_owned(), settings);
    }

    /// Binds as the flags say and serves until `stop`. Returns the bound address, or `None` when
    /// the port is 0.
    pub async fn start(
        &self,
        flags: &Serving,
        default_port: u16,
        stop: CancellationToken,
    ) -> std::io::Result<Option<SocketAddr>> {
        let port = flags.secure_port.unwrap_or(default_port);
        if port == 0 {
            return Ok(None);
        }
        let listener = TcpListener::bind((flags.bind_address, port)).await?;
        let address = listener.local_addr()?;
        let health = self.clone();
        tokio::spawn(async move {
            if let Err(error) = health.serve(listener, stop).await {
                tracing::error!(%error, "health server ended");
            }
        });
        Ok(Some(address))
    }

    /// Serves on a listener until `stop`.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        axum::serve(listener, self.router()).with_graceful_shutdown(stop.cancelled_owned()).await
    }

    /// What is served.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/configz", get(configz))
            .route("/{endpoint}", get(report))
            .route("/{endpoint}/{check}", get(report_one))
            .with_state(self.clone())
    }

    fn checks(&self, endpoint: &str) -> Option<BTreeMap<String, Check>> {
        let mut checks = BTreeMap::from([("ping".to_string(), Arc::new(|| Ok(())) as Check)]);
        match endpoint {
            "healthz" | "livez" => {}
            "readyz" => checks.extend(self.0.ready.read().clone()),
            _ => return None,
        }
        checks.extend(self.0.live.read().clone());
        Some(checks)
    }
}

async fn report(
    State(health): State<Health>,
    Path(endpoint): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let Some(checks) = health.checks(&endpoint) else { return StatusCode::NOT_FOUND.into_response() };
    let (mut lines, mut failed) = (String::new(), false);
    for (name, check) in checks {
        let line = match check() {
            Ok(()) => format!("[+]{name} ok"),
            Err(reason) => {
                failed = true;
                format!("[-]{name} failed: {reason}")
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{line}");
    }
    if failed {
        let _ = write!(lines, "{endpoint} check failed");
        return (StatusCode::INTERNAL_SERVER_ERROR, lines).into_response();
    }
    if query.contains_key("verbose") {
        let _ = write!(lines, "{endpoint} check passed");
        return lines.into_response();
    }
    "ok".into_response()
}

async fn report_one(
    State(health): State<Health>,
    Path((endpoint, name)): Path<(String, String)>,
) -> Response {
    match health.checks(&endpoint).and_then(|checks| checks.get(&name).cloned()) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(check) => match check() {
            Ok(()) => "ok".into_response(),
            Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response(),
        },
    }
}

async fn configz(State(health): State<Health>) -> Response {
    let settings = health.0.settings.lock().clone();
    axum::Json(settings).into_response()
}

/// The form of metrics that a client asks for; the older one where it does not say.
const OPEN_METRICS: &str = "application/openmetrics-text";

async fn metrics(State(health): State<Health>, headers: HeaderMap) -> Response {
    let text = match crate::metrics::text(&health.0.metrics.lock()) {
        Ok(text) => text,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepted.contains(OPEN_METRICS) {
        let form = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
        return ([(CONTENT_TYPE, form)], text).into_response();
    }
    let form = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    ([(CONTENT_TYPE, form)], classic(&text, &[])).into_response()
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("listening");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn readiness_is_stricter_than_liveness() {
        let (health, stop) = (Health::new(), CancellationToken::new());
        health.ready("informers", || Err("not synced".into()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn({
            let (health, stop) = (health.clone(), stop.clone());
            async move { health.serve(listener, stop).await }
        });
        let check = async |path: &str, status: &str, text: &str| {
            let answer = get(address, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            assert!(answer.contains(text), "{path}: {answer}");
        };
        check("/healthz", "200", "ok").await;
        check("/livez?verbose", "200", "[+]ping ok").await;
        check("/readyz", "500", "[-]informers failed: not synced").await;
        check("/readyz/ping", "200", "ok").await;
        check("/nothing", "404", "").await;
        health.metrics(|registry| registry.register("made", "Things", Counter::<u64>::default()));
        check("/metrics", "200", "# TYPE made_total counter").await;
        health.settings("a.k8s.io", serde_json::json!({"b": 1}));
        check("/configz", "200", r#"{"a.k8s.io":{"b":1}}"#).await;
        stop.cancel();
        server.await.expect("no panic").expect("served");
    }
}
