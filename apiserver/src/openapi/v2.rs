//! `/openapi/v2`: one document for everything, as JSON and in its protobuf form.
//!
//! The built-in part is large, the same for the life of the process, and built once. What custom resources add is
//! joined to it when the document is asked for after a change: in JSON within the two members that grow, in protobuf
//! at the end, since messages that follow each other are one.
use super::{Custom, JSON, accepted, builtin, compress, digest, packed, unchanged, unpack};
use crate::server::Response;
use bytes::Bytes;
use http::HeaderMap;
use knarr_api::Value;
use knarr_api::openapi::{self, Form};
use knarr_api::status::Status;
use knarr_api::table::KindRef;
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The older spelling, which clients still send.
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The members that grow.
const GROWING: [&str; 2] = ["paths", "definitions"];

/// The part of the built-in kinds.
pub(super) struct Builtin {
    kinds: Arc<[KindRef]>,
    parts: OnceCell<Arc<Parts>>,
}

/// That part, built; everything is compressed.
struct Parts {
    /// The text of the members that do not grow, without braces.
    fixed: Bytes,
    /// The text of the members of those that do, without braces.
    growing: [Bytes; 2],
    protobuf: Bytes,
}

impl Builtin {
    pub(super) fn new(kinds: Arc<[KindRef]>) -> Self {
        Self { kinds, parts: OnceCell::new() }
    }

    async fn parts(&self) -> Result<Arc<Parts>, Status> {
        let build = || async {
            let kinds = self.kinds.clone();
            let built = tokio::task::spawn_blocking(move || Parts::build(&kinds)).await;
            built.map_err(Status::internal)?.map(Arc::new).map_err(Status::internal)
        };
        self.parts.get_or_try_init(build).await.cloned()
    }
}

impl Parts {
    fn build(kinds: &[KindRef]) -> std::io::Result<Self> {
        let mut document = openapi::v2(&builtin(kinds));
        let protobuf = compress(&openapi::v2_protobuf(&document))?;
        let mut take = |name: &str| {
            let taken = document.as_object_mut().and_then(|document| document.remove(name));
            compress(members(&taken.unwrap_or_default().to_string()).as_bytes())
        };
        let growing = [take(GROWING[0])?, take(GROWING[1])?];
        Ok(Self { fixed: compress(members(&document.to_string()).as_bytes())?, growing, protobuf })
    }

    fn json(&self, additions: &[Value]) -> std::io::Result<Bytes> {
        let mut out = vec![b'{'];
        unpack(&self.fixed, &mut out)?;
        for (name, builtin) in GROWING.iter().zip(&self.growing) {
            out.extend_from_slice(format!(",\"{name}\":{{").as_bytes());
            unpack(builtin, &mut out)?;
            for text in additions.iter().map(|addition| addition[*name].to_string()) {
                let text = members(&text);
                if !text.is_empty() {
                    out.push(b',');
                    out.extend_from_slice(text.as_bytes());
                }
            }
            out.push(b'}');
        }
        out.push(b'}');
        compress(&out)
    }

    fn protobuf(&self, additions: &[Value]) -> std::io::Result<Bytes> {
        if additions.is_empty() {
            return Ok(self.protobuf.clone());
        }
        let mut out = Vec::new();
        unpack(&self.protobuf, &mut out)?;
        additions.iter().for_each(|addition| out.extend(openapi::v2_protobuf(addition)));
        compress(&out)
    }
}

/// The text of an object without its braces.
fn members(text: &str) -> &str {
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default()
}

/// The whole document with what some group versions of custom resources add.
#[derive(Default)]
pub(super) struct Whole {
    added: Arc<[Arc<Custom>]>,
    etag: OnceLock<String>,
    json: OnceCell<Bytes>,
    protobuf: OnceCell<Bytes>,
}

impl Whole {
    pub(super) fn new(added: Arc<[Arc<Custom>]>) -> Self {
        Self { added, ..Self::default() }
    }

    fn etag(&self) -> &str {
        self.etag.get_or_init(|| {
            let builtin = knarr_api::table::digest().to_uppercase();
            if self.added.is_empty() {
                return format!("\"{builtin}\"");
            }
            let hashes = self.added.iter().map(|custom| custom.hash().to_owned());
            format!("\"{}\"", digest(std::iter::once(builtin).chain(hashes)))
        })
    }

    /// Answers a request.
    ///
    /// # Errors
    /// 406.
    pub(super) async fn serve(&self, builtin: &Builtin, headers: &HeaderMap) -> Result<Response, Status> {
        let forms = [JSON, PROTOBUF, PROTOBUF_OLD];
        let form = accepted(headers, &forms).ok_or_else(|| Status::not_acceptable(&forms[..2].join(", ")))?;
        if let Some(response) = unchanged(headers, self.etag()) {
            return Ok(response);
        }
        let (cell, media) = if form == JSON { (&self.json, JSON) } else { (&self.protobuf, PROTOBUF) };
        let build = || async {
            let (parts, added) = (builtin.parts().await?, self.added.clone());
            let join = move || {
                let sources = added.iter().flat_map(|custom| custom.sources(Form::V2));
                let additions: Vec<Value> = sources.map(|source| openapi::v2_addition(&source)).collect();
                if form == JSON { parts.json(&additions) } else { parts.protobuf(&additions) }
            };
            let joined = tokio::task::spawn_blocking(join).await;
            joined.map_err(Status::internal)?.map_err(Status::internal)
        };
        packed(cell.get_or_try_init(build).await?, media, self.etag(), headers)
    }
}
