//! Paths of the server's own that are no resources: `/version`, `/metrics`, `/metrics/slis`, the discovery of token keys.
use crate::metrics::{self, Metrics, SliMetrics};
use crate::request_info::{RequestInfo, Verb};
use crate::server::{Response, body};
use crate::zpages::Pages;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use knarr_api::Value;
use knarr_api::status::Status;
use serde::Serialize;

/// The Kubernetes version whose API is served.
const MINOR: &str = "36";

/// Documents that never change while the server runs.
pub struct OwnPaths {
    version: Bytes,
    keys: Bytes,
    configuration: Option<Bytes>,
    pages: Pages,
}

impl OwnPaths {
    /// The version and the token documents.
    pub fn new(keys: &Value, configuration: Option<&Value>, pages: Pages) -> Self {
        let bytes = |value: &Value| Bytes::from(value.to_string());
        let pretty = serde_json::to_vec_pretty(&Version::current()).unwrap_or_default();
        Self { version: pretty.into(), keys: bytes(keys), configuration: configuration.map(bytes), pages }
    }

    /// Answers a request for one of the paths; none for any other.
    pub fn answer(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        metrics: &Metrics,
        slis: &SliMetrics,
    ) -> Option<Response> {
        let path = info.path();
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let document = match path {
            "/version" => body::json(200, self.version.clone()),
            "/metrics" => metrics_text(metrics.encode(), headers),
            "/metrics/slis" => metrics_text(slis.encode(), headers),
            "/openid/v1/jwks" => {
                let mut response = body::json(200, self.keys.clone());
                let media_type = HeaderValue::from_static("application/jwk-set+json");
                response.headers_mut().insert(header::CONTENT_TYPE, media_type);
                cached(response)
            }
            "/.well-known/openid-configuration" => match &self.configuration {
                Some(bytes) => cached(body::json(200, bytes.clone())),
                None => body::text(404, "404 page not found\n"),
            },
            other => self.pages.answer(other, headers)?,
        };
        if !matches!(info.verb, Verb::Get | Verb::Head) {
            let status = Status::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            );
            return Some(body::json(405, status.to_json()));
        }
        Some(document)
    }
}

/// The metrics in the text format of Prometheus, or in OpenMetrics where the client asks for it.
fn metrics_text(metrics: String, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (text, media_type) = if accept.contains("application/openmetrics-text") {
        (metrics, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (metrics::classic(&metrics), "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
    };
    let mut response = body::text(200, text);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn cached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// `/version`, members in the original's order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub(crate) major: &'static str,
    pub(crate) minor: &'static str,
    pub(crate) emulation_major: &'static str,
    pub(crate) emulation_minor: &'static str,
    pub(crate) min_compatibility_major: &'static str,
    pub(crate) min_compatibility_minor: &'static str,
    pub(crate) git_version: String,
    pub(crate) git_commit: &'static str,
    pub(crate) git_tree_state: &'static str,
    pub(crate) build_date: &'static str,
    pub(crate) go_version: &'static str,
    pub(crate) compiler: &'static str,
    pub(crate) platform: String,
}

impl Version {
    /// What the program is made with.
    pub fn runtime(&self) -> &'static str {
        self.go_version
    }

    /// The version without the letter.
    pub fn bare(&self) -> String {
        self.git_version.trim_start_matches('v').to_owned()
    }

    /// The version whose behaviour is shown.
    pub fn emulated(&self) -> String {
        format!("{}.{}", self.emulation_major, self.emulation_minor)
    }

    /// Of this build.
    pub fn current() -> Self {
        Self {
            major: "1",
            minor: MINOR,
            emulation_major: "1",
            emulation_minor: MINOR,
            min_compatibility_major: "1",
            min_compatibility_minor: "35",
            git_version: format!("{}+knarr-{}", knarr_api::openapi::VERSION, env!("CARGO_PKG_VERSION")),
            git_commit: option_env!("KNARR_COMMIT").unwrap_or_default(),
            git_tree_state: "clean",
            build_date: option_env!("KNARR_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
            go_version: "none (rust)",
            compiler: "rustc",
            platform: format!("{}/{}", std::env::consts::OS, go_architecture()),
        }
    }
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
