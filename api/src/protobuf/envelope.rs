//! `runtime.Unknown` around an object, lists of encoded items, watch frames.
use super::wire::{Payload, Reader, put_bytes_field, put_message_field};
use super::{Error, encode_message};
use crate::Value;
use crate::schema::{Schema, TypeId};
use std::convert::Infallible;

const PREFIX: &[u8] = b"k8s\0";

/// The parts of an envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `Deployment`.
    pub kind: &'a str,
    /// The object's bytes.
    pub raw: &'a [u8],
    /// Encoding of the bytes; empty.
    pub content_encoding: &'a str,
    /// Media type of the bytes; empty for protobuf.
    pub content_type: &'a str,
}

/// Whether the bytes are in an envelope.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFIX)
}

/// Opens an envelope.
pub fn open(bytes: &[u8]) -> Result<Unknown<'_>, Error> {
    let mut reader = Reader::new(bytes.strip_prefix(PREFIX).ok_or(Error::Prefix)?);
    let mut unknown = Unknown::default();
    while let Some((number, payload)) = reader.field()? {
        match (number, payload) {
            (1, Payload::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some((number, payload)) = meta.field()? {
                    match (number, payload) {
                        (1, Payload::Bytes(text)) => unknown.api_version = utf8(text)?,
                        (2, Payload::Bytes(text)) => unknown.kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(raw)) => unknown.raw = raw,
            (3, Payload::Bytes(text)) => unknown.content_encoding = utf8(text)?,
            (4, Payload::Bytes(text)) => unknown.content_type = utf8(text)?,
            (1..=4, _) => return Err(Error::Malformed),
            _ => {}
        }
    }
    Ok(unknown)
}

/// Appends an envelope with the object's bytes; all members are written, empty or not.
pub fn seal(api_version: &str, kind: &str, raw: &[u8], content_type: &str, out: &mut Vec<u8>) {
    out.reserve(raw.len() + api_version.len() + kind.len() + 32);
    out.extend_from_slice(PREFIX);
    let Ok(()) = put_message_field::<Infallible>(1, out, |out| {
        put_bytes_field(1, api_version.as_bytes(), out);
        put_bytes_field(2, kind.as_bytes(), out);
        Ok(())
    });
    put_bytes_field(2, raw, out);
    put_bytes_field(3, b"", out);
    put_bytes_field(4, content_type.as_bytes(), out);
}

/// Appends a list document whose items are bare messages: `ty` is the type of the list's `metadata`.
pub fn list<'a>(
    schema: &Schema,
    (api_version, list_kind): (&str, &str),
    (ty, metadata): (TypeId, &Value),
    items: impl IntoIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut raw = Vec::new();
    put_message_field(1, &mut raw, |out| encode_message(schema, ty, metadata, out))?;
    for item in items {
        put_bytes_field(2, item, &mut raw);
    }
    seal(api_version, list_kind, &raw, "", out);
    Ok(())
}

/// Appends one frame of a watch stream: a big-endian length and a `WatchEvent` whose object is a whole document.
pub fn watch_frame(event_type: &str, document: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_bytes_field(1, event_type.as_bytes(), out);
    let Ok(()) = put_message_field::<Infallible>(2, out, |out| {
        put_bytes_field(1, document, out);
        Ok(())
    });
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Utf8)
}
