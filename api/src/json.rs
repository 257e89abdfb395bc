//! JSON as Go's encoder and the API server's decoder have it, driven by the schema.
//!
//! [`decode`] reads a document; [`normalize`] brings a [`Value`] (of a patch, of defaulting) to canonical form;
//! [`encode`] writes canonical bytes, members in the schema's order.
//!
//! **Canonical form** of a `Value`: no nulls and no unknown members; `omitempty` members only where not empty;
//! every other scalar and struct member present, zero or not; quantities, times, durations and base64 in their
//! one spelling. `encode` adds what a `Value` cannot say: null for an absent list, map, pointer or time without
//! `omitempty`. Both are idempotent. Names are case-sensitive.
mod encode;
mod normalize;
mod order;
mod parse;
mod path;
mod scalar;
mod syntax;
mod text;

/// Reads what another server answered.
///
/// # Errors
/// What is wrong with the text, in the words of Go's scanner.
pub fn of_answer(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| syntax::fault(text).unwrap_or_else(|| error.to_string()))
}

use crate::schema::{Schema, TypeId};
use crate::status::Status;
use crate::{Object, Value};
use std::fmt::{self, Display, Formatter};

pub use encode::{encode, encode_untyped};
pub use normalize::{normalize, normalize_shape};
pub(crate) use parse::report;
pub use scalar::json_type;
pub use text::indent;

/// A fault that only strict decoding (`fieldValidation=Strict`, or a warning) reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrictError {
    /// A member that the type does not have; its path, `spec.containers[0].foo`.
    Unknown(String),
    /// A member that comes twice; its path.
    Duplicate(String),
    /// A key that comes twice in a YAML map.
    Yaml {
        /// Line of the second one, from 1.
        line: usize,
        /// The key.
        key: String,
    },
}

impl Display for StrictError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(path) => write!(f, "unknown field {path:?}"),
            Self::Duplicate(path) => write!(f, "duplicate field {path:?}"),
            Self::Yaml { line, key } => {
                write!(f, "yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")
            }
        }
    }
}

/// Most bytes that are shown of a body that does not parse.
const SHOWN: usize = 30;

/// A document that cannot be read at all; the texts are the original's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value of the wrong form: `json: cannot unmarshal string into Go struct field …`.
    #[error("{0}")]
    Type(String),
    /// Text that its type cannot read (a quantity, a time, base64).
    #[error("{0}")]
    Invalid(String),
}

impl DecodeError {
    /// 400 `BadRequest` for a request's body: a text that does not parse names no kind, so the message shows how it
    /// begins, in hexadecimal unless it looks like an object.
    pub fn to_body_status(&self, version: &str, kind: &str, body: &[u8]) -> Status {
        let Self::Syntax(fault) = self else { return self.to_status(version, kind) };
        let begin = &body[..body.len().min(SHOWN)];
        let more = if body.len() > SHOWN { " ..." } else { "" };
        let shown = match begin.first() {
            None => "<empty>".to_owned(),
            Some(b'{') => String::from_utf8_lossy(begin).into_owned(),
            Some(_) => begin.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {fault} ({shown}{more})"
        ))
    }

    /// 400 `BadRequest`: `Pod in version "v1" cannot be handled as a Pod: …`.
    pub fn to_status(&self, version: &str, kind: &str) -> Status {
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {self}"))
    }
}

/// What strict decoding says of faults: `strict decoding error: unknown field "spec.foo", …`.
pub fn strict_text(errors: &[impl ToString]) -> String {
    let list = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("strict decoding error: {list}")
}

/// 400 `BadRequest` for strict decoding with faults.
pub fn strict_status(version: &str, kind: &str, errors: &[StrictError]) -> Status {
    let text = strict_text(errors);
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {text}"))
}

/// Reads a document of a type: syntax, types, pruning of what is unknown, canonical form. Faults of strict mode
/// go to `strict`, at most 100.
pub fn decode(
    schema: &Schema,
    ty: TypeId,
    bytes: &[u8],
    strict: &mut Vec<StrictError>,
) -> Result<Value, DecodeError> {
    let mut value = parse::parse(bytes, strict).map_err(|error| match error {
        // The original looks for the kind first and comes upon faults of syntax there.
        DecodeError::Syntax(fault) => {
            DecodeError::Syntax(format!("couldn't get version/kind; json parse error: {fault}"))
        }
        other => other,
    })?;
    normalize(schema, ty, &mut value, strict)?;
    order::sort(bytes, strict);
    Ok(value)
}

/// Reads any JSON document; duplicate members go to `strict`, the last one wins.
pub fn parse(bytes: &[u8], strict: &mut Vec<StrictError>) -> Result<Value, DecodeError> {
    parse::parse(bytes, strict)
}

/// `apiVersion` and `kind` of a document, without reading the rest into memory; empty where absent.
pub fn type_meta(bytes: &[u8]) -> Result<(String, String), DecodeError> {
    #[derive(serde::Deserialize)]
    struct TypeMeta {
        #[serde(rename = "apiVersion", default)]
        api_version: Option<String>,
        #[serde(default)]
        kind: Option<String>,
    }
    let meta: TypeMeta = serde_json::from_slice(bytes)
        .or_else(|error| serde_json::from_slice(&parse::mended(bytes)).map_err(|_| error))
        .map_err(|e| DecodeError::Syntax(format!("couldn't get version/kind; json parse error: {e}")))?;
    Ok((meta.api_version.unwrap_or_default(), meta.kind.unwrap_or_default()))
}

/// The bytes of a document of a type; see [`encode`].
pub fn to_vec(schema: &Schema, ty: TypeId, value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    encode(schema, ty, value, &mut out);
    out
}

/// Most lists and objects within each other of what is stored: what readers of JSON bear (127), less what an object is
/// wrapped into on its way to them (lists, watch events, reviews). The original bears 10,000.
pub const MAX_DEPTH: usize = 116;

/// Whether there are more than `most` lists and objects within each other; it looks no further than that.
pub fn is_deeper(value: &Value, most: usize) -> bool {
    let Some(within) = most.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, within)),
        Value::Object(members) => members.values().any(|member| is_deeper(member, within)),
        _ => false,
    }
}

/// An empty object.
pub(crate) fn empty_object() -> Value {
    Value::Object(Object::new())
}

#[cfg(test)]
mod tests;
