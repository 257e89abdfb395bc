//! Changes and the events that watchers see of them.
use super::{Key, Revision, Stored};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// One write of one object.
#[derive(Debug)]
pub struct Change {
    /// The revision the write took.
    pub revision: Revision,
    /// The object after it; none for a deletion.
    pub current: Option<Arc<Stored>>,
    /// The object before it; none for a creation.
    pub previous: Option<Arc<Stored>>,
}

impl Change {
    /// The object that an event of this change shows: the new one, or the one that was deleted.
    pub fn object(&self) -> &Arc<Stored> {
        match (&self.current, &self.previous) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change has an object before or after it"),
        }
    }

    /// The object's key.
    pub fn key(&self) -> &Key {
        &self.object().key
    }

    /// What happened to a watcher that sees the objects `selects` accepts; none if it never saw this one.
    pub fn seen_by(&self, selects: impl Fn(&Stored) -> bool) -> Option<EventType> {
        let after = self.current.as_deref().is_some_and(&selects);
        let before = self.previous.as_deref().is_some_and(&selects);
        match (before, after) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    /// Bytes of memory that only this change holds, about: the object it shows.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.object().size()
    }
}

/// The type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The object came into the watcher's view.
    Added,
    /// It changed within the view.
    Modified,
    /// It was deleted or left the view; shown as it was before, with the change's revision.
    Deleted,
}

impl EventType {
    /// The `type` of the event on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Encodings of an event that watchers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line of JSON with the whole object in its stored version.
    Json,
    /// A line of JSON with PartialObjectMetadata.
    MetadataJson,
    /// A frame of protobuf in its stored version.
    Protobuf,
}

/// A change on its way to watchers, with its encodings; each is made once, by the first watcher that asks.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub change: Arc<Change>,
    encoded: [OnceLock<Bytes>; 9],
}

impl Event {
    /// An event without encodings yet.
    pub fn new(change: Arc<Change>) -> Self {
        Self { change, encoded: Default::default() }
    }

    /// The change's revision.
    pub fn revision(&self) -> Revision {
        self.change.revision
    }

    /// The object as an event of this type shows it; write it with [`Event::revision`].
    pub fn object(&self, event: EventType) -> &Arc<Stored> {
        match (event, &self.change.previous) {
            (EventType::Deleted, Some(previous)) => previous,
            _ => self.change.object(),
        }
    }

    /// The shared encoding in a form, made by `encode` if nobody has yet.
    pub fn encoded(&self, form: Form, event: EventType, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded[form as usize * 3 + event as usize].get_or_init(|| encode(self)).clone()
    }

    /// `{"type":"ADDED","object":{…}}` and a newline: the whole object in its stored version.
    pub fn json_line(&self, event: EventType) -> Bytes {
        self.encoded(Form::Json, event, |this| this.line(event, Stored::write_json))
    }

    /// The same with the object cut down to PartialObjectMetadata.
    pub fn metadata_line(&self, event: EventType) -> Bytes {
        self.encoded(Form::MetadataJson, event, |this| {
            this.line(event, |object, revision, out| {
                out.extend_from_slice(
                    br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
                );
                object.write_metadata(revision, out);
                out.push(b'}');
            })
        })
    }

    fn line(&self, event: EventType, write: impl FnOnce(&Stored, Revision, &mut Vec<u8>)) -> Bytes {
        let object = self.object(event);
        let mut out = Vec::with_capacity(object.body().len() + 96);
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(event.name().as_bytes());
        out.extend_from_slice(br#"","object":"#);
        write(object, self.revision(), &mut out);
        out.extend_from_slice(b"}\n");
        out.into()
    }
}
