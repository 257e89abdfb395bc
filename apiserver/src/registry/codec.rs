//! The seam to `knarr_api`: decoding, defaults, ownership, validation and encoding, told as this crate needs them.
use super::Row;
use super::negotiate::Format;
use super::options::{FieldValidation, WriteOptions};
use bytes::Bytes;
use knarr_api::field::ErrorList;
use knarr_api::json::{self, StrictError};
use knarr_api::kind::GroupVersionKind;
use knarr_api::schema::TypeId;
use knarr_api::status::Status;
use knarr_api::table::{self, Api};
use knarr_api::time::Timestamp;
use knarr_api::{Object, Value};

/// A decoded body.
pub struct Decoded {
    /// The document, canonical where its type is known.
    pub value: Value,
    /// What strict decoding would refuse, where it only warns.
    pub warnings: Vec<String>,
}

/// Decodes a body. Without a type the document is read as it is.
///
/// # Errors
/// 400 for text that does not parse and for strict faults; 415 for a form that bodies cannot have.
pub fn decode(
    api: &Api,
    ty: Option<(TypeId, &GroupVersionKind)>,
    format: Format,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let mut strict = Vec::new();
    let (version, kind) = match ty {
        Some((_, gvk)) => (gvk.api_version(), gvk.kind.to_string()),
        None => ("v1".to_owned(), "object".to_owned()),
    };
    let failed = |e: json::DecodeError| e.to_status(&version, &kind);
    let value = match (format, ty) {
        (Format::Json, Some((ty, _))) => json::decode(&api.schema, ty, body, &mut strict).map_err(failed)?,
        (Format::Json, None) => json::parse(body, &mut strict).map_err(failed)?,
        (Format::Yaml | Format::Protobuf, _) => return Err(Status::unsupported_media_type("application/json")),
    };
    Ok(Decoded { value, warnings: strictness(&version, &kind, &strict, validation)? })
}

/// What becomes of the faults that only strict decoding refuses.
fn strictness(
    version: &str,
    kind: &str,
    faults: &[StrictError],
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    match validation {
        FieldValidation::Strict if !faults.is_empty() => Err(json::strict_status(version, kind, faults)),
        FieldValidation::Warn => Ok(faults.iter().map(ToString::to_string).collect()),
        _ => Ok(Vec::new()),
    }
}

/// Brings a patched document to canonical form.
///
/// # Errors
/// As [`decode`].
pub fn normalize(
    api: &Api,
    ty: TypeId,
    gvk: &GroupVersionKind,
    value: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let mut strict = Vec::new();
    let version = gvk.api_version();
    json::normalize(&api.schema, ty, value, &mut strict).map_err(|e| e.to_status(&version, &gvk.kind))?;
    strictness(&version, &gvk.kind, &strict, validation)
}

/// Applies the defaults of a kind.
pub fn default(_api: &Api, _ty: TypeId, _gvk: &GroupVersionKind, _value: &mut Value) {}

/// Records who owns the fields of a written object in its `managedFields`.
pub fn own(
    _api: &Api,
    _row: &Row,
    _subresource: &str,
    _options: &WriteOptions,
    _old: Option<&Value>,
    _value: &mut Value,
    _now: Timestamp,
) {
}

/// The faults of an object in its stored version.
pub fn validate(_api: &Api, _row: &Row, _subresource: &str, _value: &Value, _old: Option<&Value>) -> ErrorList {
    ErrorList::new()
}

/// The bytes that are stored: canonical JSON without resourceVersion.
///
/// # Errors
/// None at present; encoding a normalized document always succeeds.
pub fn canonical(api: &Api, kind: &knarr_api::kind::Kind, value: &Value) -> Result<Bytes, Status> {
    let version = value.get("metadata").and_then(|m| m.get("resourceVersion"));
    if version.is_none() {
        return Ok(json::to_vec(&api.schema, kind.ty, value).into());
    }
    let mut bare = value.clone();
    super::object::set_meta(&mut bare, "resourceVersion", None);
    Ok(json::to_vec(&api.schema, kind.ty, &bare).into())
}

/// The type of a document by its `apiVersion` and `kind`.
fn type_of(value: &Value) -> Option<TypeId> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    table::builtin().type_of_document(text("apiVersion"), text("kind"))
}

/// Encodes a document in a form.
///
/// # Errors
/// 406 for a document that the form cannot hold.
pub fn encode(value: &Value, format: Format, pretty: bool) -> Result<Bytes, Status> {
    match format {
        Format::Json => Ok(encode_json(value, pretty).into()),
        Format::Yaml | Format::Protobuf => Err(Status::not_acceptable("application/json")),
    }
}

fn encode_json(value: &Value, pretty: bool) -> Vec<u8> {
    let mut out = match type_of(value) {
        Some(ty) => json::to_vec(&table::builtin().schema, ty, value),
        None => {
            let mut out = Vec::new();
            json::encode_untyped(value, &mut out);
            out
        }
    };
    if pretty {
        out = json::indent(&out);
        out.push(b'\n');
    }
    out
}

/// A watch event: a line of JSON, or a length-delimited frame of protobuf.
///
/// # Errors
/// As [`encode`].
pub fn watch_frame(kind: &str, object: Value, format: Format) -> Result<Bytes, Status> {
    match format {
        Format::Json => {
            let mut out = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
            out.extend_from_slice(&encode_json(&object, false));
            out.extend_from_slice(b"}\n");
            Ok(out.into())
        }
        Format::Yaml | Format::Protobuf => Err(Status::not_acceptable("application/json")),
    }
}

/// An empty object.
pub fn empty() -> Value {
    Value::Object(Object::new())
}
