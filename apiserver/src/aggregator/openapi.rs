//! OpenAPI documents with those of other servers: theirs are named in the index of v3 and passed on when asked for; v2 is
//! one document, into which theirs are merged.
use super::Aggregator;
use super::proxy::{own_headers, whole};
use super::state::Remote;
use crate::openapi::{compress, digest, packed, unchanged};
use crate::outbound::Outbound;
use crate::server::{Body, Handler, Request, RequestContext, Response, body};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use knarr_api::Value;
use knarr_api::status::Status;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_DOCUMENT: usize = 64 * 1024 * 1024;
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What the other servers' documents say.
#[derive(Default)]
pub struct Merged(ArcSwap<Documents>);

#[derive(Default)]
struct Documents {
    /// URL of a document by its path below `/openapi/v3/`.
    v3: BTreeMap<String, Value>,
    /// Documents of v2 by name of the APIService.
    v2: BTreeMap<String, Arc<Whole>>,
    /// Those with this server's own, as JSON and in protobuf, as they were asked for last.
    joined: [Mutex<Option<Joined>>; 2],
}

/// A server's document of v2.
struct Whole {
    document: Value,
    hash: String,
}

/// All documents of v2 as one.
#[derive(Clone)]
struct Joined {
    /// The tag of this server's own document in it.
    own: HeaderValue,
    etag: String,
    compressed: Bytes,
}

impl Documents {
    /// A server's document of v2: read again only when what it offers in v3 has changed, as it is large.
    async fn whole(&self, new: &Self, outbound: &Outbound, remote: &Remote) -> Option<(String, Arc<Whole>)> {
        let path = remote.path();
        let path = path.trim_start_matches('/');
        let kept = self.v2.get(&remote.name).filter(|_| self.v3.get(path) == new.v3.get(path));
        let whole = match kept {
            Some(kept) => kept.clone(),
            None => {
                let document = fetch(outbound, remote, "/openapi/v2").await?;
                let hash = digest(std::iter::once(document.to_string()));
                Arc::new(Whole { document, hash })
            }
        };
        Some((remote.name.clone(), whole))
    }

    fn is_like(&self, other: &Self) -> bool {
        let hashes = |of: &Self| -> Vec<(String, String)> {
            of.v2.iter().map(|(name, whole)| (name.clone(), whole.hash.clone())).collect()
        };
        self.v3 == other.v3 && hashes(self) == hashes(other)
    }

    /// All documents as one.
    ///
    /// # Errors
    /// 500 for an own document that cannot be read.
    fn join(&self, own: &Bytes, tag: HeaderValue, binary: bool) -> Result<Joined, Status> {
        let mut document: Value = serde_json::from_slice(own).map_err(Status::internal)?;
        self.v2.values().for_each(|more| merge_v2(&mut document, &more.document));
        let bytes = match binary {
            true => knarr_api::openapi::v2_protobuf(&document),
            false => document.to_string().into_bytes(),
        };
        let own_tag = String::from_utf8_lossy(tag.as_bytes()).into_owned();
        let hashes = self.v2.values().map(|whole| whole.hash.clone());
        let etag = format!("\"{}\"", digest(std::iter::once(own_tag).chain(hashes)));
        Ok(Joined { own: tag, etag, compressed: compress(&bytes).map_err(Status::internal)? })
    }
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
        let known = self.0.load_full();
        let mut new = Documents { v3, ..Documents::default() };
        let documents = remotes.iter().map(|remote| known.whole(&new, outbound, remote));
        let documents = join_all(documents).await;
        new.v2 = documents.into_iter().flatten().collect();
        if !known.is_like(&new) {
            self.0.store(Arc::new(new));
        }
    }
}

async fn fetch(outbound: &Outbound, remote: &Remote, path: &str) -> Option<Value> {
    let endpoint = remote.at(path).ok()?;
    let response = outbound.get(&endpoint, own_headers(JSON), TIMEOUT, MAX_DOCUMENT).await.ok()?;
    serde_json::from_slice(response.body()).ok().filter(|_| response.status().is_success())
}

impl Aggregator {
    /// Answers a path below `/openapi/` with what the other servers say added.
    pub(super) async fn merged_openapi(&self, context: RequestContext, request: Request) -> Response {
        let documents = self.openapi.0.load_full();
        let given = request.headers().clone();
        let answer = match context.info.path().trim_end_matches('/') {
            "/openapi/v3" if !documents.v3.is_empty() => {
                self.merged_index(&documents, context, request).await
            }
            "/openapi/v2" if !documents.v2.is_empty() => self.merged_v2(documents, context, request).await,
            _ => Ok(self.registry.handle(context, request).await),
        };
        answer.unwrap_or_else(|status| body::status(&status, &given))
    }

    async fn merged_index(
        &self,
        documents: &Documents,
        context: RequestContext,
        mut request: Request,
    ) -> Result<Response, Status> {
        want_text(request.headers_mut(), None);
        let response = self.registry.handle(context, request).await;
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let (mut parts, bytes) = whole(response).await.map_err(Status::internal)?;
        let mut document: Value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
        for (path, entry) in &documents.v3 {
            document["paths"][path.as_str()] = entry.clone();
        }
        parts.headers.remove(header::ETAG);
        parts.headers.remove(header::CONTENT_LENGTH);
        Ok(Response::from_parts(parts, Body::Full(document.to_string().into())))
    }

    async fn merged_v2(
        &self,
        documents: Arc<Documents>,
        context: RequestContext,
        mut request: Request,
    ) -> Result<Response, Status> {
        let given = request.headers().clone();
        let binary = wants_protobuf(&given);
        let known = documents.joined[usize::from(binary)].lock().clone();
        want_text(request.headers_mut(), known.as_ref().map(|known| &known.own));
        let response = self.registry.handle(context, request).await;
        let joined = match (response.status(), known) {
            (StatusCode::NOT_MODIFIED, Some(known)) => known,
            (StatusCode::OK, _) => {
                let (parts, own) = whole(response).await.map_err(Status::internal)?;
                let tag = parts.headers.get(header::ETAG).cloned();
                let tag = tag.ok_or_else(|| Status::internal("a document without a tag"))?;
                let join = move || -> Result<Joined, Status> {
                    let joined = documents.join(&own, tag, binary)?;
                    *documents.joined[usize::from(binary)].lock() = Some(joined.clone());
                    Ok(joined)
                };
                tokio::task::spawn_blocking(join).await.map_err(Status::internal)??
            }
            _ => return Ok(response),
        };
        match unchanged(&given, &joined.etag) {
            Some(response) => Ok(response),
            None => packed(&joined.compressed, if binary { PROTOBUF } else { JSON }, &joined.etag, &given),
        }
    }
}

/// Makes a request one for text that can be read, unless that is `known` by its tag.
fn want_text(headers: &mut HeaderMap, known: Option<&HeaderValue>) {
    headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
    for taken in [header::IF_NONE_MATCH, header::ACCEPT_ENCODING] {
        headers.remove(taken);
    }
    if let Some(known) = known {
        headers.insert(header::IF_NONE_MATCH, known.clone());
    }
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
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
