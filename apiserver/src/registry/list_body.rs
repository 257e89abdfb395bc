//! The body of a list, made piece by piece while the client reads, so that no list is ever whole in memory: the
//! objects are shared with the cache, and only the piece being written is held as bytes.
use super::call::Call;
use super::list::{Page, list_value};
use super::messages::Messages;
use super::negotiate::{Accepted, Format, Transform};
use super::{Registry, Row, codec, encode, table};
use crate::server::gzip::LargeDocument;
use crate::server::{Body, Response};
use crate::storage::Stored;
use bytes::Bytes;
use http::{HeaderValue, header};
use knarr_api::status::Status;
use knarr_api::{Value, json, protobuf};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;

/// Lists are written in pieces of about this many bytes.
const PIECE: usize = 64 * 1024;
/// Lists of no more objects and bytes than these are one piece with a length.
const SMALL: (usize, usize) = (1000, 4 * PIECE);
/// The name of the type of a list's `metadata`.
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const PARTIAL: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";

/// Writes one item.
type Write = Box<dyn FnMut(&Stored, &mut Vec<u8>) -> Result<(), Status> + Send>;

/// What stands around the items and between them.
struct Frame {
    head: Vec<u8>,
    between: &'static [u8],
    tail: Vec<u8>,
}

/// Writes a page in the form that the client accepts.
///
/// # Errors
/// An object that its type cannot hold, where that shows before the first piece is sent.
pub(super) fn write(registry: &Registry, call: &Call<'_>, page: Page) -> Result<Response, Status> {
    let Accepted { format, transform, pretty } = call.accepted;
    if matches!(transform, Transform::Metadata(_)) {
        return Err(encode::no_metadata_of_list(call));
    }
    let (frame, item) = match (format, transform) {
        (Format::Protobuf, Transform::None | Transform::Metadata(_) | Transform::MetadataList(_)) => {
            binary(registry, call, &page)?
        }
        (Format::Json, _) => {
            let (frame, item) = text(call, &page)?;
            if pretty { indented(frame, item)? } else { (frame, item) }
        }
        _ => {
            let list = list_value(call, &page.objects, &page.meta, transform)?;
            return encode::document(&list, call.accepted);
        }
    };
    let small = page.objects.len() <= SMALL.0 && bytes_of(&page.objects) <= SMALL.1;
    let pieces =
        Pieces { frame: Some(frame), objects: page.objects.into(), item, tail: Vec::new(), first: true };
    let mut response = if small {
        Response::new(Body::Chunks(pieces.collect::<Result<VecDeque<Bytes>, Status>>()?))
    } else {
        let pieces = pieces.map(|piece| piece.map_err(std::io::Error::other));
        let mut response = Response::new(Body::stream(futures::stream::iter(pieces)));
        response.extensions_mut().insert(LargeDocument);
        response
    };
    let media = HeaderValue::from_static(format.media_type());
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

fn bytes_of(objects: &[Arc<Stored>]) -> usize {
    objects.iter().map(|object| object.body().len()).sum()
}

/// JSON without white space.
fn text(call: &Call<'_>, page: &Page) -> Result<(Frame, Write), Status> {
    let head = |kind: &str, api_version: &str| Frame {
        head: format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{},\"items\":[",
            page.meta.json()
        )
        .into_bytes(),
        between: b",",
        tail: b"]}\n".to_vec(),
    };
    let kind = &*call.row.kind;
    let (list_kind, api_version) = (kind.list_kind.to_string(), kind.gvk.api_version());
    Ok(match call.accepted.transform {
        Transform::None if call.row.conversion.is_none() => {
            let item: Write = Box::new(|object, out| {
                object.write_item(out);
                Ok(())
            });
            (head(&list_kind, &api_version), item)
        }
        Transform::None => {
            let row = call.row.clone();
            let item: Write = Box::new(move |object, out| {
                let mut value = encode::served(&row, object)?;
                strip(&mut value);
                out.extend_from_slice(&codec::typed_json(&row.api, row.kind.ty, &value));
                Ok(())
            });
            (head(&list_kind, &api_version), item)
        }
        Transform::Metadata(version) | Transform::MetadataList(version) => {
            let head_of_item = format!(
                "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":"
            );
            let item: Write = Box::new(move |object, out| {
                out.extend_from_slice(head_of_item.as_bytes());
                object.write_metadata(object.revision, out);
                out.push(b'}');
                Ok(())
            });
            (head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}")), item)
        }
        Transform::Table(version) => rows(call, page, version)?,
    })
}

fn strip(value: &mut Value) {
    if let Some(members) = value.as_object_mut() {
        members.remove("kind");
        members.remove("apiVersion");
    }
}

/// The rows of a table. `rows` is its last member, so a table of one row shows how a row is written.
fn rows(call: &Call<'_>, page: &Page, version: &'static str) -> Result<(Frame, Write), Status> {
    const EMPTY: &[u8] = b"\"rows\":[]}";
    let whole = |table: &Value| codec::encode(table, Format::Json, false);
    let empty = whole(&table::of_list(call, version, &[], page.meta.value())?)?;
    let head = empty.strip_suffix(b"[]}").ok_or_else(|| Status::internal("a table without rows"))?;
    let head = [head, b"["].concat();
    let (row, include) = (call.row.clone(), table::include(call)?);
    let bare = whole(&table::of_rows(&row, version, &[], include))?.len() - EMPTY.len();
    let item: Write = Box::new(move |object, out| {
        let value = encode::served(&row, object)?;
        let one = codec::encode(&table::of_rows(&row, version, &[value], include), Format::Json, false)?;
        out.extend_from_slice(&one[bare + b"\"rows\":[".len()..one.len() - b"]}".len()]);
        Ok(())
    });
    Ok((Frame { head, between: b",", tail: b"]}".to_vec() }, item))
}

/// The same with white space for people: items stand two levels deep.
fn indented(frame: Frame, mut item: Write) -> Result<(Frame, Write), Status> {
    let mut empty = frame.head;
    empty.extend_from_slice(b"]}");
    let whole = json::indent(&empty);
    let head = whole.strip_suffix(b"]\n}").ok_or_else(|| Status::internal("a list without items"))?.to_vec();
    let mut first = true;
    let mut compact = Vec::new();
    let item: Write = Box::new(move |object, out| {
        compact.clear();
        item(object, &mut compact)?;
        if std::mem::take(&mut first) {
            out.push(b'\n');
        }
        for (at, line) in json::indent(&compact).split(|byte| *byte == b'\n').enumerate() {
            if at > 0 {
                out.push(b'\n');
            }
            out.extend_from_slice(b"    ");
            out.extend_from_slice(line);
        }
        Ok(())
    });
    Ok((Frame { head, between: b",\n", tail: b"\n  ]\n}\n".to_vec() }, item))
}

/// Protobuf. A message begins with its length, so every item is made twice, to be measured and to be written, unless
/// it is kept in between.
fn binary(registry: &Registry, call: &Call<'_>, page: &Page) -> Result<(Frame, Write), Status> {
    let api = registry.api;
    let partial = !matches!(call.accepted.transform, Transform::None);
    let (kind, api_version, mut item): (String, String, Write) = if partial {
        let version = match call.accepted.transform {
            Transform::Metadata(version) | Transform::MetadataList(version) => version,
            _ => "v1",
        };
        let ty = api.schema.find(PARTIAL).ok_or_else(|| Status::internal("no metadata type"))?;
        let item: Write = Box::new(move |object, out| {
            let mut metadata = Vec::new();
            object.write_metadata(object.revision, &mut metadata);
            let metadata: Value = serde_json::from_slice(&metadata).map_err(Status::internal)?;
            protobuf::encode_message(&api.schema, ty, &json!({"metadata": metadata}), out)
                .map_err(codec::no_message)
        });
        ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"), item)
    } else {
        let keep = Messages::has_room_for(bytes_of(&page.objects));
        let gvk = &call.row.kind.gvk;
        (call.row.kind.list_kind.to_string(), gvk.api_version(), bare(registry, call.row.clone(), keep))
    };
    let (mut size, mut buffer) = (0, Vec::new());
    for object in &page.objects {
        buffer.clear();
        item(object, &mut buffer)?;
        size += protobuf::item_size(buffer.len());
    }
    let meta = api.schema.find(LIST_META).ok_or_else(|| Status::internal("no list metadata type"))?;
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let names = (&*api_version, &*kind);
    protobuf::begin_list(&api.schema, names, (meta, &page.meta.value()), size, &mut head)
        .map_err(codec::no_message)?;
    protobuf::end_list(&mut tail);
    let framed: Write = Box::new(move |object, out| {
        buffer.clear();
        item(object, &mut buffer)?;
        protobuf::put_item(&buffer, out);
        Ok(())
    });
    Ok((Frame { head, between: b"", tail }, framed))
}

/// Writes the bare message of an object in the version of a row.
fn bare(registry: &Registry, row: Arc<Row>, keep: bool) -> Write {
    let (api, messages) = (registry.api, registry.messages.clone());
    Box::new(move |object, out| {
        if row.conversion.is_none() {
            out.extend_from_slice(&messages.of(api, &row.kind, object, keep)?);
            return Ok(());
        }
        let value = encode::served(&row, object)?;
        protobuf::encode_message(&api.schema, row.kind.ty, &value, out).map_err(codec::no_message)
    })
}

struct Pieces {
    frame: Option<Frame>,
    objects: VecDeque<Arc<Stored>>,
    item: Write,
    /// What ends the list; taken from the frame at the beginning, empty when written.
    tail: Vec<u8>,
    first: bool,
}

impl Pieces {
    fn piece(&mut self, out: &mut Vec<u8>) -> Result<(), Status> {
        let between = match &mut self.frame {
            Some(frame) => {
                if self.first {
                    out.append(&mut frame.head);
                    self.tail = std::mem::take(&mut frame.tail);
                }
                frame.between
            }
            None => return Ok(()),
        };
        while out.len() < PIECE {
            let Some(object) = self.objects.pop_front() else {
                if self.first {
                    let newline = self.tail.first() == Some(&b'\n');
                    // An empty list stays on one line however it is indented.
                    out.extend_from_slice(if newline { &self.tail[3..] } else { &self.tail });
                } else {
                    out.append(&mut self.tail);
                }
                self.frame = None;
                break;
            };
            if !std::mem::take(&mut self.first) {
                out.extend_from_slice(between);
            }
            (self.item)(&object, out)?;
        }
        Ok(())
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.frame.as_ref()?;
        let mut out = Vec::with_capacity(PIECE + 4096);
        match self.piece(&mut out) {
            Ok(()) => Some(Ok(out.into())),
            Err(status) => {
                self.frame = None;
                Some(Err(status))
            }
        }
    }
}
