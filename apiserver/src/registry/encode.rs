//! Answers as bytes: the cached ones where nothing has to change, else through the table's codecs.
use super::answer::Content;
use super::call::Call;
use super::negotiate::{Accepted, Format, Transform};
use super::{Registry, Row, codec, table};
use crate::server::{Body, Response, body};
use crate::storage::Stored;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use knarr_api::kind::Kind;
use knarr_api::status::Status;
use knarr_api::{Object, Value};
use serde_json::json;

/// Encodes an answer in the form the client accepts.
///
/// # Errors
/// A document that its type cannot hold, which is a fault of the server.
pub(super) fn content(
    registry: &Registry,
    call: &Call<'_>,
    code: u16,
    content: Content,
) -> Result<Response, Status> {
    let accepted = call.accepted;
    let value = match content {
        Content::Document(value) => {
            let is_scale = value.get("kind").is_some_and(|kind| kind == "Scale");
            let value = match accepted.transform {
                Transform::Table(version) if is_scale => {
                    table::of_scale(version, &value, table::include(call)?)
                }
                Transform::Metadata(version) if is_scale => metadata(&value, version),
                _ => value,
            };
            return with_code(code, document(&value, accepted)?);
        }
        Content::Stored(stored) => {
            let as_stored = accepted.transform == Transform::None && call.row.conversion.is_none();
            match accepted.format {
                Format::Json if as_stored && !accepted.pretty => {
                    return with_code(code, body::json(code, stored.json()));
                }
                Format::Protobuf if as_stored => {
                    return with_code(code, sealed(registry, call, &stored)?);
                }
                _ => {}
            }
            served(call.row, &stored)?
        }
        Content::Object(value) => value,
    };
    let value = match accepted.transform {
        Transform::None => value,
        Transform::Table(version) => table::of_one(call, version, &value)?,
        Transform::Metadata(version) => metadata(&value, version),
        Transform::MetadataList(_) => {
            let name = internal_type(call.row, &call.row.kind.gvk.kind);
            return Err(unfitting(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({name})"
            )));
        }
    };
    with_code(code, document(&value, accepted)?)
}

/// The refusal of metadata for an answer that is a list.
pub(super) fn no_metadata_of_list(call: &Call<'_>) -> Status {
    let name = internal_type(call.row, &call.row.kind.list_kind);
    unfitting(format!("you requested PartialObjectMetadata, but the requested object is a list ({name})"))
}

fn unfitting(text: String) -> Status {
    Status::new(406, "NotAcceptable", text)
}

/// The name of a kind's type as clients of the original see it in messages.
fn internal_type(row: &Row, kind: &str) -> String {
    if row.custom().is_some() {
        let list = if kind == &*row.kind.list_kind { "List" } else { "" };
        return format!("*unstructured.Unstructured{list}");
    }
    format!("*{}.{kind}", internal_package(&row.kind.gvk.group))
}

/// The package in which the original keeps the types of a group, as messages name it.
pub(super) fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        group => group.split('.').next().unwrap_or_default(),
    }
}

/// A stored object in protobuf.
fn sealed(registry: &Registry, call: &Call<'_>, stored: &Stored) -> Result<Response, Status> {
    let kind = &*call.row.kind;
    let message = registry.messages.of(registry.api, kind, stored, true)?;
    let mut bytes = Vec::new();
    knarr_api::protobuf::seal(&kind.gvk.api_version(), &kind.gvk.kind, &message, "", &mut bytes);
    let mut response = Response::new(Body::Full(bytes.into()));
    let media = HeaderValue::from_static(Format::Protobuf.media_type());
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

fn with_code(code: u16, mut response: Response) -> Result<Response, Status> {
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    Ok(response)
}

/// A stored object in the version of a row.
///
/// # Errors
/// Stored bytes that do not parse, which is a fault of the server.
pub(crate) fn served(row: &Row, stored: &Stored) -> Result<Value, Status> {
    Ok(serve(row, stored.value().map_err(Status::internal)?))
}

/// An object of the stored version in the version of a row.
pub(crate) fn serve(row: &Row, value: Value) -> Value {
    match row.conversion {
        Some(conversion) => fitted(row, named((conversion.serve)(value), &row.kind)),
        None => value,
    }
}

/// An object of a row's version in the stored version.
pub(crate) fn store(row: &Row, value: Value) -> Value {
    match row.conversion {
        Some(conversion) => named((conversion.store)(value), &row.stored),
        None => value,
    }
}

/// What the version of a custom resource does not have is not shown, and its defaults are.
fn fitted(row: &Row, mut value: Value) -> Value {
    if row.custom().is_some() {
        // Metadata was read before; nothing else can fail.
        let _ = knarr_api::json::normalize(&row.api.schema, row.kind.ty, &mut value, &mut Vec::new());
        codec::default(&row.api, row.kind.ty, &mut value);
    }
    value
}

fn named(mut value: Value, kind: &Kind) -> Value {
    value["apiVersion"] = kind.gvk.api_version().into();
    value["kind"] = (*kind.gvk.kind).into();
    value
}

/// `PartialObjectMetadata` of an object.
pub(super) fn metadata(value: &Value, version: &str) -> Value {
    let mut out = Object::new();
    out.insert("kind".into(), "PartialObjectMetadata".into());
    out.insert("apiVersion".into(), format!("meta.k8s.io/{version}").into());
    out.insert("metadata".into(), value.get("metadata").cloned().unwrap_or_else(|| json!({})));
    Value::Object(out)
}

/// Encodes any document whose `apiVersion` and `kind` the table knows.
///
/// # Errors
/// A document that its type cannot hold.
pub fn document(value: &Value, accepted: Accepted) -> Result<Response, Status> {
    let bytes = bytes_of(value, accepted)?;
    let mut response = Response::new(Body::Full(bytes));
    let media = HeaderValue::from_static(accepted.format.media_type());
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

/// The bytes of a document.
pub(super) fn bytes_of(value: &Value, accepted: Accepted) -> Result<Bytes, Status> {
    codec::encode(value, accepted.format, accepted.pretty)
}
