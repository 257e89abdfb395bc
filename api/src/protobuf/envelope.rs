//! `runtime.Unknown` around an object, lists of encoded items, watch frames.
use super::wire::{Payload, Reader, put_bytes_field, put_message_field, put_varint};
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

/// Appends the beginning of a list document whose items follow by [`put_item`] and are `items` bytes in all, counted
/// by [`item_size`]; [`end_list`] closes it. `ty` is the type of the list's `metadata`.
pub fn begin_list(
    schema: &Schema,
    (api_version, list_kind): (&str, &str),
    (ty, metadata): (TypeId, &Value),
    items: usize,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut head = Vec::new();
    put_message_field(1, &mut head, |out| encode_message(schema, ty, metadata, out))?;
    out.extend_from_slice(PREFIX);
    let Ok(()) = put_message_field::<Infallible>(1, out, |out| {
        put_bytes_field(1, api_version.as_bytes(), out);
        put_bytes_field(2, list_kind.as_bytes(), out);
        Ok(())
    });
    put_varint(2 << 3 | 2, out);
    put_varint((head.len() + items) as u64, out);
    out.extend_from_slice(&head);
    Ok(())
}

/// Bytes that an item of so many bytes takes in a list.
pub fn item_size(length: usize) -> usize {
    let mut varint = 1;
    let mut rest = length >> 7;
    while rest > 0 {
        varint += 1;
        rest >>= 7;
    }
    1 + varint + length
}

/// Appends an item, a bare message.
pub fn put_item(item: &[u8], out: &mut Vec<u8>) {
    put_bytes_field(2, item, out);
}

/// Appends what follows the items.
pub fn end_list(out: &mut Vec<u8>) {
    put_bytes_field(3, b"", out);
    put_bytes_field(4, b"", out);
}

/// Appends a list document whose items are bare messages: `ty` is the type of the list's `metadata`.
pub fn list<'a>(
    schema: &Schema,
    names: (&str, &str),
    metadata: (TypeId, &Value),
    items: impl IntoIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let items: Vec<&[u8]> = items.into_iter().collect();
    let size = items.iter().map(|item| item_size(item.len())).sum();
    begin_list(schema, names, metadata, size, out)?;
    items.into_iter().for_each(|item| put_item(item, out));
    end_list(out);
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
