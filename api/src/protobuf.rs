//! The protobuf form of API objects (`application/vnd.kubernetes.protobuf`), driven by the table's field numbers.
//!
//! [`encode`] and [`decode`] handle whole documents: the prefix `k8s\0` and a `runtime.Unknown` around the
//! object's message. [`encode_message`] and [`decode_message`] handle the bare message, [`list`] builds a list
//! from messages that are already encoded, and [`watch_frame`] one frame of a watch stream.
//!
//! **Invariants**: output equals the bytes of Go's generated encoders (ascending numbers; what is no pointer, bytes,
//! list or map is written even where zero). Input is untrusted: depth and the number of values are bounded, and
//! unknown numbers are skipped.
mod decode;
mod encode;
mod envelope;
pub(crate) mod wire;

pub use decode::decode_message;
pub use encode::encode_message;
pub use envelope::{
    Unknown, begin_list, end_list, is_envelope, item_size, list, open, put_item, seal, watch_frame,
};

use crate::json::DecodeError;
use crate::schema::{Schema, TypeId};
use crate::table::Api;
use crate::{Value, json};

/// The media type of documents.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Why bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The document does not start with `k8s\0`.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// The input ends within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number of more than ten bytes, a field number 0, a group, or a wire type that the field cannot have.
    #[error("proto: illegal wire format")]
    Malformed,
    /// Text that is no UTF-8.
    #[error("proto: invalid UTF-8 in a string")]
    Utf8,
    /// Deeper or larger than any real object.
    #[error("proto: the message is nested too deeply or holds too many values")]
    Limit,
    /// The envelope names a kind that the table does not have.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// As in the envelope.
        api_version: String,
        /// As in the envelope.
        kind: String,
    },
    /// The type has no protobuf form.
    #[error(
        "object {0} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    )]
    NoMessage(String),
    /// A value that its type cannot have, in either direction.
    #[error(transparent)]
    Value(#[from] DecodeError),
}

/// A document that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The type of the object.
    pub ty: TypeId,
    /// The object in canonical form, `apiVersion` and `kind` included.
    pub value: Value,
}

/// Appends a whole document; `apiVersion` and `kind` are taken from the value. The value must be canonical.
pub fn encode(schema: &Schema, ty: TypeId, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut raw = Vec::with_capacity(512);
    encode_message(schema, ty, value, &mut raw)?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    seal(text("apiVersion"), text("kind"), &raw, "", out);
    Ok(())
}

/// Reads a whole document of any kind of the table; an envelope around JSON is read too.
pub fn decode(api: &Api, bytes: &[u8]) -> Result<Decoded, Error> {
    decode::decode_document(api, bytes, 0)
}

/// Reads a whole document that is expected to be of a type, whatever kind the envelope names (create options and
/// the like come under several groups).
pub fn decode_as(api: &Api, ty: TypeId, bytes: &[u8]) -> Result<Value, Error> {
    let unknown = open(bytes)?;
    let mut value = decode_message(api, ty, unknown.raw)?;
    if let Value::Object(object) = &mut value {
        for (name, text) in [("apiVersion", unknown.api_version), ("kind", unknown.kind)] {
            if !text.is_empty() {
                object.insert(name.to_owned(), text.into());
            }
        }
    }
    Ok(value)
}

fn canonical(schema: &Schema, ty: TypeId, value: &mut Value) -> Result<(), Error> {
    Ok(json::normalize(schema, ty, value, &mut Vec::new())?)
}

#[cfg(test)]
mod tests;
