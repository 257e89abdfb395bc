//! Discovery: `/api`, `/apis`, `/apis/‹group›`, `/apis/‹group›/‹version›` and the aggregated form of the first two.
//!
//! Everything is derived from the rows of the kind table once and served as bytes from then on.
//! Source: API concepts, "API discovery"; the aggregated form is `apidiscovery.k8s.io` v2 and v2beta1.
mod aggregated;
mod documents;
mod remote;

pub use remote::RemoteVersion;

use crate::registry::negotiate::{Discovery as Form, Format};
use crate::registry::{encode, negotiate};
use crate::server::{Body, Response, body};
use http::{HeaderMap, HeaderValue, header};
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::status::Status;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// One document with its ETag.
struct Document {
    value: Value,
    json: bytes::Bytes,
    etag: String,
}

impl Document {
    fn new(value: Value) -> Self {
        let json = bytes::Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        let digest = Sha256::digest(&json);
        let hex: String = digest.iter().map(|b| format!("{b:02X}")).collect();
        Self { value, json, etag: format!("\"{hex}\"") }
    }
}

/// The discovery documents of one set of kinds.
pub struct Discovery {
    plain: HashMap<String, Document>,
    aggregated: HashMap<(String, &'static str), Document>,
}

impl Discovery {
    /// Builds all documents; `address` is the server's address for clients (`10.0.0.1:6443`).
    pub fn new(kinds: impl Iterator<Item = &'static Kind>, address: &str) -> Self {
        let groups = documents::groups(kinds);
        let mut plain = HashMap::new();
        plain.insert("/api".to_owned(), Document::new(documents::api_versions(address)));
        plain.insert("/apis".to_owned(), Document::new(documents::group_list(&groups)));
        for group in &groups {
            if !group.name.is_empty() {
                plain.insert(format!("/apis/{}", group.name), Document::new(documents::group(group)));
            }
            for version in &group.versions {
                let prefix =
                    if group.name.is_empty() { "/api".to_owned() } else { format!("/apis/{}", group.name) };
                let document = documents::resource_list(group.name, version);
                plain.insert(format!("{prefix}/{}", version.name), Document::new(document));
            }
        }
        plain.insert(String::new(), Document::new(documents::paths(plain.keys())));
        let mut aggregated = HashMap::new();
        for version in ["v2", "v2beta1"] {
            for (path, core) in [("/api", true), ("/apis", false)] {
                let document = aggregated::list(&groups, core, version);
                aggregated.insert((path.to_owned(), version), Document::new(document));
            }
        }
        Self { plain, aggregated }
    }

    /// Answers a discovery path (without a trailing slash; the root is empty); none when there is no such document.
    pub fn serve(&self, path: &str, headers: &HeaderMap, pretty: Option<&str>) -> Option<Response> {
        let plain = self.plain.get(path)?;
        if matches!(path, "/api" | "/apis") {
            match negotiate::discovery(headers) {
                Form::Aggregated(version, format) => {
                    let document = self.aggregated.get(&(path.to_owned(), version))?;
                    return Some(aggregated_response(document, version, format, headers));
                }
                Form::Plain => {}
            }
        }
        let accepted = match negotiate::accept(headers, pretty, negotiate::Scope::Plain) {
            Ok(accepted) => accepted,
            Err(status) => return Some(body::status(&status, headers)),
        };
        let mut response = if accepted == negotiate::Accepted::JSON {
            body::json(200, plain.json.clone())
        } else {
            match encode::document(&plain.value, accepted) {
                Ok(response) => response,
                Err(status) => return Some(body::status(&status, headers)),
            }
        };
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        Some(response)
    }

    /// 404 for a group or version that is not served.
    pub fn not_found() -> Status {
        Status::new(404, "NotFound", "the server could not find the requested resource")
    }
}

fn aggregated_response(document: &Document, version: &str, format: Format, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = Response::new(Body::Empty);
    if known.is_some_and(|k| k.trim_start_matches("W/") == document.etag) {
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
    } else {
        let accepted = negotiate::Accepted { format, ..negotiate::Accepted::JSON };
        response = match format {
            Format::Json => body::json(200, document.json.clone()),
            _ => match encode::document(&document.value, accepted) {
                Ok(response) => response,
                Err(status) => return body::status(&status, headers),
            },
        };
        let media =
            format!("{};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", format.media_type());
        if let Ok(value) = HeaderValue::from_str(&media) {
            response.headers_mut().insert(header::CONTENT_TYPE, value);
        }
    }
    let out = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&document.etag) {
        out.insert(header::ETAG, value);
    }
    out.insert(header::VARY, HeaderValue::from_static("Accept"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}
