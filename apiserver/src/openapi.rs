//! OpenAPI documents: `/openapi/v3`, `/openapi/v3/‹group version›` and `/openapi/v2`.
//!
//! A document is built when it is first asked for and kept compressed: a cluster that nobody explains anything to
//! pays nothing, and one that everybody does pays a tenth of the text. ETags come from the table's digest, so that
//! a client that knows the document costs no more than the comparison.
use crate::server::{Body, Response, body};
use arc_swap::ArcSwap;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::openapi::{self, Source};
use knarr_api::status::Status;
use knarr_api::table::Api;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use tokio::sync::OnceCell;

const JSON: &str = "application/json";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The older spelling, which clients still send.
const V2_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The documents of one API table.
pub struct OpenApi {
    kinds: Arc<[&'static Kind]>,
    /// By path below `/openapi/v3/`.
    v3: BTreeMap<String, Document>,
    v2: OnceCell<Bytes>,
    v2_protobuf: OnceCell<Bytes>,
    v2_etag: String,
    /// Documents of the group versions of custom resources, exchanged as a whole.
    custom: ArcSwap<BTreeMap<String, Arc<Custom>>>,
}

/// One document of v3 made from the tables of CustomResourceDefinitions.
struct Custom {
    /// The tables with their served kinds of the group version.
    tables: Vec<(&'static Api, Vec<&'static Kind>)>,
    document: Document,
}

impl Custom {
    fn build(&self) -> Value {
        let (group, version) = (&self.document.group, &self.document.version);
        let mut documents = self
            .tables
            .iter()
            .map(|(api, kinds)| openapi::v3(&Source::custom(api, kinds.clone()), group, version));
        let mut whole = documents.next().unwrap_or_default();
        documents.for_each(|document| openapi::v3_merge(&mut whole, document));
        whole
    }
}

/// One document of v3.
struct Document {
    group: Arc<str>,
    version: Arc<str>,
    hash: String,
    /// Compressed.
    built: OnceCell<Bytes>,
}

impl OpenApi {
    /// Nothing is built before it is asked for.
    pub fn new(kinds: impl Iterator<Item = &'static Kind>) -> Self {
        let kinds: Arc<[&'static Kind]> = kinds.collect();
        let source = Source::builtin(kinds.iter().copied());
        let mut v3 = BTreeMap::new();
        for kind in kinds.iter() {
            let (group, version) = (&kind.gvk.group, &kind.gvk.version);
            v3.entry(openapi::v3_path(group, version)).or_insert_with(|| Document {
                group: group.clone(),
                version: version.clone(),
                hash: openapi::v3_hash(&source, group, version),
                built: OnceCell::new(),
            });
        }
        let v2_etag = format!("\"{}\"", knarr_api::table::digest().to_uppercase());
        Self {
            kinds,
            v3,
            v2: OnceCell::new(),
            v2_protobuf: OnceCell::new(),
            v2_etag,
            custom: ArcSwap::default(),
        }
    }

    /// Exchanges the documents of custom resources; those whose schemas are the same stay built. A group version that
    /// the built-in table has keeps its document.
    pub fn set_custom(&self, kinds: &[(&'static Api, &'static Kind)]) {
        let mut tables: BTreeMap<String, Vec<(&'static Api, Vec<&'static Kind>)>> = BTreeMap::new();
        for (api, kind) in kinds {
            let found = tables.entry(openapi::v3_path(&kind.gvk.group, &kind.gvk.version)).or_default();
            match found.iter_mut().find(|(known, _)| std::ptr::eq(*known, *api)) {
                Some((_, kinds)) => kinds.push(kind),
                None => found.push((api, vec![kind])),
            }
        }
        tables.retain(|path, _| !self.v3.contains_key(path));
        let before = self.custom.load();
        let documents = tables.into_iter().filter_map(|(path, mut tables)| {
            tables.sort_by_key(|(_, kinds)| kinds.first().map(|kind| &kind.plural));
            let first = *tables.first()?.1.first()?;
            let (group, version) = (first.gvk.group.clone(), first.gvk.version.clone());
            let hashes = tables
                .iter()
                .map(|(api, kinds)| openapi::v3_hash(&Source::custom(api, kinds.clone()), &group, &version));
            let hash = digest(hashes);
            let kept = before.get(&path).filter(|custom| custom.document.hash == hash).cloned();
            let document = Document { group, version, hash, built: OnceCell::new() };
            Some((path, kept.unwrap_or_else(|| Arc::new(Custom { tables, document }))))
        });
        self.custom.store(Arc::new(documents.collect()));
    }

    /// Answers a path below `/openapi/`; none when there is no such document.
    pub async fn serve(&self, path: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Response> {
        let response = match path.strip_prefix("/openapi/")? {
            "v2" => self.serve_v2(headers).await,
            "v3" => Ok(self.index()),
            rest => {
                let path = rest.strip_prefix("v3/")?;
                let custom = self.custom.load().get(path).cloned();
                match (self.v3.get(path), custom) {
                    (Some(document), _) => {
                        let (kinds, group, version) =
                            (self.kinds.clone(), document.group.clone(), document.version.clone());
                        let build =
                            move || openapi::v3(&Source::builtin(kinds.iter().copied()), &group, &version);
                        serve_v3(path, document, build, query, headers).await
                    }
                    (None, Some(custom)) => {
                        let built = custom.clone();
                        serve_v3(path, &custom.document, move || built.build(), query, headers).await
                    }
                    (None, None) => return None,
                }
            }
        };
        Some(response.unwrap_or_else(|status| body::status(&status, headers)))
    }

    fn index(&self) -> Response {
        let custom = self.custom.load();
        let documents = self.v3.iter().map(|(path, document)| (path.as_str(), document.hash.as_str()));
        let custom = custom.iter().map(|(path, custom)| (path.as_str(), custom.document.hash.as_str()));
        let documents = documents.chain(custom);
        body::json(200, serde_json::to_vec(&openapi::v3_index(documents)).unwrap_or_default())
    }

    async fn serve_v2(&self, headers: &HeaderMap) -> Result<Response, Status> {
        let forms = [JSON, V2_PROTOBUF, V2_PROTOBUF_OLD];
        let form = accepted(headers, &forms).ok_or_else(|| Status::not_acceptable(&forms[..2].join(", ")))?;
        if let Some(response) = unchanged(headers, &self.v2_etag) {
            return Ok(response);
        }
        let kinds = self.kinds.clone();
        if form == JSON {
            let build = || blocking(move || text(&openapi::v2(&Source::builtin(kinds.iter().copied()))));
            return packed(self.v2.get_or_try_init(build).await?, JSON, &self.v2_etag, headers);
        }
        let build =
            || blocking(move || openapi::v2_protobuf(&openapi::v2(&Source::builtin(kinds.iter().copied()))));
        packed(self.v2_protobuf.get_or_try_init(build).await?, V2_PROTOBUF, &self.v2_etag, headers)
    }
}

/// Serves a document, which `build` makes when it is asked for the first time.
async fn serve_v3(
    path: &str,
    document: &Document,
    build: impl FnOnce() -> Value + Send + 'static,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    if accepted(headers, &[JSON]).is_none() {
        return Err(Status::not_acceptable(JSON));
    }
    let asked = query.and_then(|q| q.split('&').find_map(|p| p.strip_prefix("hash=")));
    if let Some(asked) = asked.filter(|asked| *asked != document.hash) {
        tracing::debug!(asked, path, "another version of an OpenAPI document was asked for");
        return Ok(moved(&format!("/openapi/v3/{path}?hash={}", document.hash)));
    }
    let etag = format!("\"{}\"", document.hash);
    if let Some(response) = unchanged(headers, &etag) {
        return Ok(response);
    }
    let bytes = document.built.get_or_try_init(|| blocking(move || text(&build()))).await?;
    let mut response = packed(bytes, JSON, &etag, headers)?;
    if asked.is_some() {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}

/// One hash of several.
fn digest(hashes: impl Iterator<Item = String>) -> String {
    let digest = Sha256::digest(hashes.collect::<Vec<_>>().join(","));
    digest.iter().map(|b| format!("{b:02X}")).collect()
}

fn text(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

/// Builds off the threads that serve requests, and compresses.
async fn blocking(build: impl FnOnce() -> Vec<u8> + Send + 'static) -> Result<Bytes, Status> {
    let compressed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&build())?;
        encoder.finish()
    });
    Ok(compressed.await.map_err(Status::internal)?.map_err(Status::internal)?.into())
}

/// The first form that the client accepts; the first of all when it accepts anything.
fn accepted(headers: &HeaderMap, forms: &[&'static str]) -> Option<&'static str> {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    if values.is_empty() {
        return forms.first().copied();
    }
    values.iter().flat_map(|v| v.split(',')).find_map(|clause| {
        let media = clause.split(';').next().unwrap_or_default().trim();
        match media {
            "*/*" | "application/*" | "" => forms.first().copied(),
            media => forms.iter().find(|f| **f == media).copied(),
        }
    })
}

/// 304 when the client has the document.
fn unchanged(headers: &HeaderMap, etag: &str) -> Option<Response> {
    let known = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
    if !known.split(',').any(|k| k.trim().trim_start_matches("W/") == etag) {
        return None;
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    insert(&mut response, header::ETAG, etag);
    Some(response)
}

fn moved(location: &str) -> Response {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    insert(&mut response, header::LOCATION, location);
    response
}

fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A compressed document, unpacked for clients that cannot.
fn packed(
    compressed: &Bytes,
    media: &'static str,
    etag: &str,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let gzip = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    let gzip = gzip.is_some_and(|v| v.split(',').any(|e| e.trim().starts_with("gzip")));
    let mut response = if gzip {
        let mut response = Response::new(Body::Full(compressed.clone()));
        insert(&mut response, header::CONTENT_ENCODING, "gzip");
        response
    } else {
        let mut plain = Vec::new();
        GzDecoder::new(&compressed[..]).read_to_end(&mut plain).map_err(Status::internal)?;
        Response::new(Body::Full(plain.into()))
    };
    insert(&mut response, header::CONTENT_TYPE, media);
    insert(&mut response, header::ETAG, etag);
    insert(&mut response, header::VARY, "Accept, Accept-Encoding");
    Ok(response)
}
