//! OpenAPI documents with those of other servers: theirs are named in the index of v3 and passed on when asked for; v2 is
//! one document, into which theirs are merged.
use super::Aggregator;
use super::proxy::{own_headers, whole};
use super::state::Remote;
use crate::outbound::Outbound;
use crate::server::{Body, Handler, Request, RequestContext, Response};
use arc_swap::ArcSwap;
use futures::future::join_all;
use http::{HeaderValue, StatusCode, header};
use knarr_api::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_DOCUMENT: usize = 64 * 1024 * 1024;
const JSON: &str = "application/json";

/// What the other servers' documents say.
#[derive(Default)]
pub struct Merged(ArcSwap<Documents>);

#[derive(Default)]
struct Documents {
    /// URL of a document by its path below `/openapi/v3/`.
    v3: BTreeMap<String, Value>,
    /// Whole documents of v2.
    v2: Vec<Value>,
}

impl Merged {
    /// Reads the documents of servers that can be reached.
    pub async fn look(&self, outbound: &Outbound, remotes: Vec<Arc<Remote>>) {
        let indexes = join_all(remotes.iter().map(|remote| fetch(outbound, remote, "/openapi/v3"))).await;
        let mut v3 = BTreeMap::new();
        for (remote, index) in remotes.iter().zip(&indexes) {
            let path = remote.path();
            let path = path.trim_start_matches('/');
            if let Some(entry) = index.as_ref().and_then(|index| index["paths"].get(path)) {
                v3.insert(path.to_owned(), entry.clone());
            }
        }
        let known = self.0.load();
        // The whole documents are large: they are read again only when a server offers something else.
        let v2 = if known.v3 == v3 && (known.v2.len() == remotes.len() || remotes.is_empty()) {
            known.v2.clone()
        } else {
            let documents = remotes.iter().map(|remote| fetch(outbound, remote, "/openapi/v2"));
            join_all(documents).await.into_iter().flatten().collect()
        };
        self.0.store(Arc::new(Documents { v3, v2 }));
    }
}

async fn fetch(outbound: &Outbound, remote: &Remote, path: &str) -> Option<Value> {
    let endpoint = remote.at(path).ok()?;
    let response = outbound.get(&endpoint, own_headers(JSON), TIMEOUT, MAX_DOCUMENT).await.ok()?;
    serde_json::from_slice(response.body()).ok().filter(|_| response.status().is_success())
}

impl Aggregator {
    /// Answers a path below `/openapi/` with what the other servers say added.
    pub(super) async fn merged_openapi(&self, context: RequestContext, mut request: Request) -> Response {
        let documents = self.openapi.0.load_full();
        let path = context.info.path().trim_end_matches('/').to_owned();
        let merges = match path.as_str() {
            "/openapi/v3" => !documents.v3.is_empty(),
            "/openapi/v2" => !documents.v2.is_empty(),
            _ => false,
        };
        if !merges {
            return self.registry.handle(context, request).await;
        }
        let binary = wants_protobuf(request.headers());
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
        // The answer of the registry is not the whole: it must come, and as text.
        for taken in [header::IF_NONE_MATCH, header::ACCEPT_ENCODING] {
            headers.remove(taken);
        }
        let response = self.registry.handle(context, request).await;
        if response.status() != StatusCode::OK {
            return response;
        }
        let Ok((mut parts, bytes)) = whole(response).await else { return Response::default() };
        let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if path == "/openapi/v3" {
            for (path, entry) in &documents.v3 {
                document["paths"][path.as_str()] = entry.clone();
            }
        } else {
            documents.v2.iter().for_each(|more| merge_v2(&mut document, more));
        }
        parts.headers.remove(header::ETAG);
        parts.headers.remove(header::CONTENT_LENGTH);
        let bytes = if binary && path == "/openapi/v2" {
            let media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
            knarr_api::openapi::v2_protobuf(&document)
        } else {
            document.to_string().into_bytes()
        };
        Response::from_parts(parts, Body::Full(bytes.into()))
    }
}

fn wants_protobuf(headers: &http::HeaderMap) -> bool {
    let first = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    first.split(',').next().unwrap_or_default().contains("proto-openapi.spec.v2")
}

/// Adds paths and definitions that the document does not have.
fn merge_v2(document: &mut Value, more: &Value) {
    for member in ["paths", "definitions"] {
        let Some(added) = more[member].as_object() else { continue };
        let Some(present) = document[member].as_object_mut() else { continue };
        for (name, value) in added {
            present.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_there_stays() {
        let mut document = json!({"paths": {"/a": 1}, "definitions": {"x": 1}});
        merge_v2(&mut document, &json!({"paths": {"/a": 2, "/b": 2}, "definitions": {"y": 2}}));
        assert_eq!(document, json!({"paths": {"/a": 1, "/b": 2}, "definitions": {"x": 1, "y": 2}}));
    }
}
