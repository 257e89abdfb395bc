//! The seam to `knarr_api`: decoding, defaults, ownership, validation and encoding, told as this crate needs them.
use super::Row;
use super::negotiate::Format;
use super::options::{FieldValidation, WriteOptions};
use super::ownership::Ownership;
use super::row::Siblings;
use crate::storage::Stored;
use crate::strategy::pod;
use bytes::Bytes;
use knarr_api::field::ErrorList;
use knarr_api::json::{self, StrictError};
use knarr_api::kind::{GroupVersionKind, Kind};
use knarr_api::schema::TypeId;
use knarr_api::status::Status;
use knarr_api::table::{self, Api};
use knarr_api::time::Timestamp;
use knarr_api::{Object, Value};
use knarr_api::{defaults, gates, managed_fields, protobuf, validation, yaml};

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
        Some((_, gvk)) => (&*gvk.version, &*gvk.kind),
        None => ("v1", "object"),
    };
    let failed = |e: json::DecodeError| e.to_body_status(version, kind, body);
    let value = match (format, ty) {
        (Format::Json, Some((ty, _))) => json::decode(&api.schema, ty, body, &mut strict).map_err(failed)?,
        (Format::Json, None) => json::parse(body, &mut strict).map_err(failed)?,
        (Format::Protobuf, Some((ty, _))) => protobuf::decode_as(api, ty, body).map_err(bad_protobuf)?,
        (Format::Protobuf, None) => protobuf::decode(api, body).map_err(bad_protobuf)?.value,
        (Format::Yaml, Some((ty, _))) => yaml::decode(&api.schema, ty, body, &mut strict).map_err(failed)?,
        (Format::Yaml, None) => {
            let text = std::str::from_utf8(body).map_err(|e| Status::bad_request(e.to_string()))?;
            yaml::parse(text, &mut strict).map_err(failed)?
        }
    };
    Ok(Decoded { value, warnings: strictness(version, kind, &strict, validation)? })
}

fn bad_protobuf(error: protobuf::Error) -> Status {
    Status::bad_request(error.to_string())
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

/// Brings a document that was applied or patched to canonical form.
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
    json::normalize(&api.schema, ty, value, &mut strict).map_err(|e| e.to_status(&gvk.version, &gvk.kind))?;
    strictness(&gvk.version, &gvk.kind, &strict, validation)
}

/// Brings what a patch made of a document to canonical form. `doubts` are what strict decoding refuses in the patch.
///
/// # Errors
/// What does not fit the type, or what strict decoding refuses, in words.
pub fn normalize_patched(
    api: &Api,
    ty: TypeId,
    value: &mut Value,
    validation: FieldValidation,
    doubts: &[String],
) -> Result<Vec<String>, String> {
    let mut strict = Vec::new();
    json::normalize(&api.schema, ty, value, &mut strict).map_err(|e| e.to_string())?;
    let faults: Vec<String> = doubts.iter().cloned().chain(strict.iter().map(ToString::to_string)).collect();
    match validation {
        FieldValidation::Strict if !faults.is_empty() => Err(json::strict_text(&faults)),
        FieldValidation::Warn => Ok(faults),
        _ => Ok(Vec::new()),
    }
}

/// A stored object in its stored version, canonical, with its resourceVersion.
///
/// # Errors
/// Stored bytes that do not parse, which is a fault of the server.
pub fn read(api: &Api, row: &Row, stored: &Stored) -> Result<Value, Status> {
    let mut value = stored.value().map_err(Status::internal)?;
    json::normalize(&api.schema, row.stored.ty, &mut value, &mut Vec::new()).map_err(Status::internal)?;
    Ok(value)
}

/// Applies the defaults of a kind.
pub fn default(api: &Api, ty: TypeId, value: &mut Value) {
    defaults::apply(api, ty, value);
}

/// Removes fields whose feature gates are off, unless the old object has them.
pub fn drop_disabled(api: &Api, ty: TypeId, value: &mut Value, old: Option<&Value>) {
    gates::drop_disabled(api, ty, value, old);
}

/// Records who owns the fields of a written object in its `managedFields`. Where that cannot be told, since a webhook
/// does not convert, nobody owns anything, as in the original.
pub async fn own(
    api: &Api,
    siblings: Siblings<'_>,
    subresource: &str,
    options: &WriteOptions,
    old: Option<&Value>,
    value: &mut Value,
    now: Timestamp,
) {
    let kind = &siblings.row.kind;
    let versions = Ownership::of(siblings);
    let write =
        managed_fields::Write { manager: &options.field_manager, subresource, now, versions: &versions };
    // What is changed has to be there again when a webhook was asked.
    let given = siblings.row.converter.as_ref().map(|_| value.clone());
    let find_out = || {
        if let Some(given) = &given {
            value.clone_from(given);
        }
        managed_fields::update(&api.schema, kind, old, value, &write);
    };
    if let Err(status) = versions.settled(find_out).await {
        tracing::error!(error = status.message, "the ownership of an object's fields is lost");
        super::object::set_meta(value, "managedFields", None);
    }
}

/// The faults of a canonical object in its stored version, and warnings about it; `old` is none on create.
pub fn validate(
    row: &Row,
    subresource: &str,
    value: &Value,
    old: Option<&Value>,
) -> (ErrorList, Vec<String>) {
    // The newer version of events has rules of its own; all other kinds are judged in their stored version.
    if &*row.kind.gvk.group == "events.k8s.io" {
        let serve = |v: &Value| super::encode::serve(row, v.clone());
        let errors = match old {
            None => validation::create(&row.kind, &serve(value)),
            Some(old) => validation::update(&row.kind, &serve(value), &serve(old)),
        };
        return (errors, Vec::new());
    }
    let mut errors = validate_kind(row, subresource, value, old);
    let Some(custom) = row.custom() else { return (errors, Vec::new()) };
    let (found, warnings) = knarr_api::custom::validate(custom, value, old);
    errors.extend(found);
    (errors, warnings)
}

fn validate_kind(row: &Row, subresource: &str, value: &Value, old: Option<&Value>) -> ErrorList {
    match (old, subresource) {
        (None, _) => validation::create(&row.stored, value),
        (Some(old), "" | "scale" | "finalize") => validation::update(&row.stored, value, old),
        (Some(old), "ephemeralcontainers") => validation::ephemeral_containers(value, old),
        (Some(old), "resize") => validation::resize(value, old, [pod::class(value), pod::class(old)]),
        (Some(old), _) => validation::status_update(&row.stored, value, old),
    }
}

/// Brings an object of a kind to canonical form.
///
/// # Errors
/// A value that its type cannot hold, which is a fault of the server.
pub fn settle(api: &Api, kind: &Kind, value: &mut Value) -> Result<(), Status> {
    json::normalize(&api.schema, kind.ty, value, &mut Vec::new()).map_err(Status::internal)
}

/// The bytes that are stored of an object in canonical form: JSON without resourceVersion.
pub fn bytes(api: &Api, kind: &Kind, value: &mut Value) -> Bytes {
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
    let version = metadata.and_then(|m| m.remove("resourceVersion"));
    let bytes = json::to_vec(&api.schema, kind.ty, value).into();
    if version.is_some() {
        super::object::set_meta(value, "resourceVersion", version);
    }
    bytes
}

/// Both: brings a value to canonical form and returns the bytes that are stored of it.
///
/// # Errors
/// As [`settle`].
pub fn canonical(api: &Api, kind: &Kind, value: &mut Value) -> Result<Bytes, Status> {
    settle(api, kind, value)?;
    Ok(bytes(api, kind, value))
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
        Format::Protobuf => encode_protobuf(value),
        Format::Yaml => Ok(match type_of(value) {
            Some(ty) => yaml::encode(&table::builtin().schema, ty, value),
            None => yaml::emit(value),
        }
        .into()),
    }
}

fn encode_protobuf(value: &Value) -> Result<Bytes, Status> {
    let ty = type_of(value).ok_or_else(|| Status::not_acceptable("application/json, application/yaml"))?;
    let mut out = Vec::with_capacity(1024);
    protobuf::encode(&table::builtin().schema, ty, value, &mut out).map_err(no_message)?;
    Ok(out.into())
}

/// An object of a type in JSON without white space.
pub fn typed_json(api: &Api, ty: TypeId, value: &Value) -> Vec<u8> {
    json::to_vec(&api.schema, ty, value)
}

/// 406 for what has no protobuf form.
pub fn no_message(_: protobuf::Error) -> Status {
    Status::not_acceptable("application/json, application/yaml")
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
        Format::Protobuf => {
            let raw = encode_protobuf(&object)?;
            let mut event = Vec::with_capacity(raw.len() + 32);
            field(&mut event, 1, kind.as_bytes());
            let mut extension = Vec::with_capacity(raw.len() + 8);
            field(&mut extension, 1, &raw);
            field(&mut event, 2, &extension);
            let mut out = (event.len() as u32).to_be_bytes().to_vec();
            out.extend_from_slice(&event);
            Ok(out.into())
        }
        Format::Yaml => Err(Status::not_acceptable("application/json")),
    }
}

/// Appends a length-delimited protobuf field.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// An empty object.
pub fn empty() -> Value {
    Value::Object(Object::new())
}
