//! OpenAPI documents: `/openapi/v3`, `/openapi/v3/‹group version›` and `/openapi/v2`.
//!
//! A document is built when it is first asked for and kept compressed: a cluster that nobody explains anything to
//! pays nothing, and one that everybody does pays a tenth of the text. ETags come from the table's digest, so that
//! a client that knows the document costs no more than the comparison.
//!
//! Custom resources come and go: their documents are exchanged as a whole, those whose tables are the same stay built,
//! and v2 is put together anew from the built-in part and theirs ([`v2`]) when it is next asked for.
mod v2;

use crate::server::{Body, Response, body};
use arc_swap::ArcSwap;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use knarr_api::Value;
use knarr_api::openapi::{self, Form, Source};
use knarr_api::status::Status;
use knarr_api::table::{ApiRef, KindRef};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;

const JSON: &str = "application/json";
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
/// The same by the name that clients used first.
const V3_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

/// The documents of the built-in kinds and of custom resources.
pub struct OpenApi {
    kinds: Arc<[KindRef]>,
    /// By path below `/openapi/v3/`.
    v3: BTreeMap<String, Document>,
    v2: v2::Builtin,
    added: ArcSwap<Added>,
}

/// What custom resources add, exchanged as a whole.
#[derive(Default)]
struct Added {
    /// Documents of their group versions.
    v3: BTreeMap<String, Arc<Custom>>,
    v2: v2::Whole,
}

/// A group version of custom resources.
struct Custom {
    /// Its served kinds, those of a table side by side.
    kinds: Vec<KindRef>,
    /// All built-in kinds, where some are of this group version too.
    beside: Option<Arc<[KindRef]>>,
    document: Document,
}

impl Custom {
    fn new(kinds: Vec<KindRef>, beside: Option<Arc<[KindRef]>>) -> Option<Self> {
        let first = &kinds.first()?.gvk;
        let document = Document::new(first.group.clone(), first.version.clone());
        Some(Self { kinds, beside, document })
    }

    /// The sources of its document of v3.
    fn whole(&self) -> impl Iterator<Item = Source<'_>> {
        self.beside.iter().map(|kinds| builtin(kinds)).chain(self.sources(Form::V3))
    }

    /// The kinds of each table as a source of documents.
    fn sources(&self, form: Form) -> impl Iterator<Item = Source<'_>> {
        let tables = self.kinds.chunk_by(|a, b| a.api().same(b.api()));
        tables.map(move |kinds| {
            let api: &ApiRef = kinds[0].api();
            Source::custom(api, kinds.iter().map(|kind| &**kind).collect(), form)
        })
    }

    fn hash(&self) -> &str {
        self.document.hash.get_or_init(|| {
            let (group, version) = (&self.document.group, &self.document.version);
            let hashes = self.whole().map(|source| openapi::v3_hash(&source, group, version));
            digest(hashes)
        })
    }

    fn build(&self) -> Value {
        let (group, version) = (&self.document.group, &self.document.version);
        let mut documents = self.whole().map(|source| openapi::v3(&source, group, version));
        let mut whole = documents.next().unwrap_or_default();
        documents.for_each(|document| openapi::v3_merge(&mut whole, document));
        whole
    }

    fn is_of(&self, kinds: &[KindRef]) -> bool {
        let same = |(a, b): (&KindRef, &KindRef)| a.api().same(b.api()) && a.plural == b.plural;
        self.kinds.len() == kinds.len() && self.kinds.iter().zip(kinds).all(same)
    }
}

/// One document of v3.
struct Document {
    group: Arc<str>,
    version: Arc<str>,
    hash: OnceLock<String>,
    /// As JSON, compressed.
    json: OnceCell<Bytes>,
    /// In protobuf, compressed.
    protobuf: OnceCell<Bytes>,
}

impl Document {
    fn new(group: Arc<str>, version: Arc<str>) -> Self {
        Self { group, version, hash: OnceLock::new(), json: OnceCell::new(), protobuf: OnceCell::new() }
    }
}

impl OpenApi {
    /// Nothing is built before it is asked for.
    pub fn new(kinds: Vec<KindRef>) -> Self {
        let kinds: Arc<[KindRef]> = kinds.into();
        let mut v3 = BTreeMap::new();
        for kind in kinds.iter() {
            let (group, version) = (&kind.gvk.group, &kind.gvk.version);
            v3.entry(openapi::v3_path(group, version))
                .or_insert_with(|| Document::new(group.clone(), version.clone()));
        }
        let v2 = v2::Builtin::new(kinds.clone());
        Self { kinds, v3, v2, added: ArcSwap::default() }
    }

    /// Exchanges the documents of custom resources; those of the same tables stay built. Custom resources in a group
    /// version of the built-in table are described beside its kinds.
    pub fn set_custom(&self, kinds: &[KindRef]) {
        let mut versions: BTreeMap<String, Vec<KindRef>> = BTreeMap::new();
        for kind in kinds {
            versions
                .entry(openapi::v3_path(&kind.gvk.group, &kind.gvk.version))
                .or_default()
                .push(kind.clone());
        }
        let before = self.added.load();
        let documents = versions.into_iter().filter_map(|(path, mut kinds)| {
            kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
            let kept = before.v3.get(&path).filter(|custom| custom.is_of(&kinds)).cloned();
            let beside = self.v3.contains_key(&path).then(|| self.kinds.clone());
            Some((path, kept.or_else(|| Custom::new(kinds, beside).map(Arc::new))?))
        });
        let v3: BTreeMap<_, _> = documents.collect();
        let v2 = v2::Whole::new(v3.values().cloned().collect());
        self.added.store(Arc::new(Added { v3, v2 }));
    }

    fn hash<'d>(&self, document: &'d Document) -> &'d str {
        document.hash.get_or_init(|| {
            let source = builtin(&self.kinds);
            openapi::v3_hash(&source, &document.group, &document.version)
        })
    }

    /// Answers a path below `/openapi/`; none when there is no such document.
    pub async fn serve(&self, path: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Response> {
        let response = match path.strip_prefix("/openapi/")? {
            "v2" => self.added.load_full().v2.serve(&self.v2, headers).await,
            "v3" => Ok(self.index()),
            rest => {
                let path = rest.strip_prefix("v3/")?;
                let custom = self.added.load().v3.get(path).cloned();
                match (self.v3.get(path), custom) {
                    (_, Some(custom)) => {
                        custom.hash();
                        let built = custom.clone();
                        serve_v3(path, &custom.document, move || built.build(), query, headers).await
                    }
                    (Some(document), None) => {
                        self.hash(document);
                        let (kinds, group, version) =
                            (self.kinds.clone(), document.group.clone(), document.version.clone());
                        let build = move || openapi::v3(&builtin(&kinds), &group, &version);
                        serve_v3(path, document, build, query, headers).await
                    }
                    (None, None) => return None,
                }
            }
        };
        Some(response.unwrap_or_else(|status| body::status(&status, headers)))
    }

    fn index(&self) -> Response {
        let added = self.added.load();
        let builtin = self.v3.iter().filter(|(path, _)| !added.v3.contains_key(*path));
        let documents = builtin.map(|(path, document)| (path.as_str(), self.hash(document)));
        let custom = added.v3.iter().map(|(path, custom)| (path.as_str(), custom.hash()));
        let documents = documents.chain(custom);
        body::json(200, serde_json::to_vec(&openapi::v3_index(documents)).unwrap_or_default())
    }
}

fn builtin(kinds: &[KindRef]) -> Source<'_> {
    Source::builtin(kinds.iter().map(|kind| &**kind))
}

/// Serves a document whose hash is known, which `build` makes when it is asked for the first time.
async fn serve_v3(
    path: &str,
    document: &Document,
    build: impl FnOnce() -> Value + Send + 'static,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let forms = [JSON, V3_PROTOBUF, V3_PROTOBUF_OLD];
    let form = accepted(headers, &forms).ok_or_else(|| Status::not_acceptable(&forms[..2].join(", ")))?;
    let hash = document.hash.get().map(String::as_str).unwrap_or_default();
    let asked = query.and_then(|q| q.split('&').find_map(|p| p.strip_prefix("hash=")));
    if let Some(asked) = asked.filter(|asked| *asked != hash) {
        tracing::debug!(asked, path, "another version of an OpenAPI document was asked for");
        return Ok(moved(&format!("/openapi/v3/{path}?hash={hash}")));
    }
    let etag = format!("\"{hash}\"");
    if let Some(response) = unchanged(headers, &etag) {
        return Ok(response);
    }
    let (cell, media, encode): (_, _, fn(&Value) -> Vec<u8>) = match form {
        JSON => (&document.json, JSON, text),
        _ => (&document.protobuf, V3_PROTOBUF, openapi::v3_protobuf),
    };
    let bytes = cell.get_or_try_init(|| blocking(move || encode(&build()))).await?;
    let mut response = packed(bytes, media, &etag, headers)?;
    if asked.is_some() {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}

/// One hash of several.
pub(crate) fn digest(hashes: impl Iterator<Item = String>) -> String {
    let digest = Sha256::digest(hashes.collect::<Vec<_>>().join(","));
    digest.iter().map(|b| format!("{b:02X}")).collect()
}

fn text(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

/// Builds off the threads that serve requests, and compresses.
async fn blocking(build: impl FnOnce() -> Vec<u8> + Send + 'static) -> Result<Bytes, Status> {
    let compressed = tokio::task::spawn_blocking(move || compress(&build()));
    compressed.await.map_err(Status::internal)?.map_err(Status::internal)
}

pub(crate) fn compress(text: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish().map(Bytes::from)
}

fn unpack(compressed: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    GzDecoder::new(compressed).read_to_end(out).map(drop)
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
pub(crate) fn unchanged(headers: &HeaderMap, etag: &str) -> Option<Response> {
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
pub(crate) fn packed(
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
        unpack(compressed, &mut plain).map_err(Status::internal)?;
        Response::new(Body::Full(plain.into()))
    };
    insert(&mut response, header::CONTENT_TYPE, media);
    insert(&mut response, header::ETAG, etag);
    insert(&mut response, header::VARY, "Accept, Accept-Encoding");
    Ok(response)
}
