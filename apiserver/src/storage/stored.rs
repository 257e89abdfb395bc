//! An object as the cache holds it: its bytes with cut points, and what selectors need.
//!
//! Bodies carry no resourceVersion; answers are written by concatenation around the cut points, so that nothing is
//! parsed or encoded on the read path.
mod cuts;

use super::{Index, Key, Revision};
use bytes::Bytes;
use cuts::Cuts;
use serde_json::Value;
use std::sync::Arc;

/// The body is not an object in canonical form.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("stored object {key} is not canonical JSON: {reason}")]
pub struct Malformed {
    /// The object's key.
    pub key: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// A live or former object.
#[derive(Debug)]
pub struct Stored {
    /// Where it lives.
    pub key: Key,
    /// Its resourceVersion.
    pub revision: Revision,
    /// What selectors need.
    pub index: Index,
    body: Bytes,
    cuts: Cuts,
}

impl Stored {
    /// An object from its canonical JSON without resourceVersion.
    pub fn new(key: Key, revision: Revision, body: Bytes, index: Index) -> Result<Self, Malformed> {
        match Cuts::find(&body) {
            Ok(cuts) => Ok(Self { key, revision, index, body, cuts }),
            Err(reason) => Err(Malformed { key: key.0.to_string(), reason }),
        }
    }

    /// The same object at the revision its write took.
    pub(super) fn at(mut self, revision: Revision) -> Self {
        self.revision = revision;
        self
    }

    /// The stored bytes: the whole object without resourceVersion.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The value of a selectable field; empty where the object has none.
    pub fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => self.key.name(),
            "metadata.namespace" => self.key.namespace(),
            _ => self.index.fields.get(path).unwrap_or_default(),
        }
    }

    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.body.len()
            + self.key.0.len()
            + self.index.labels.size()
            + self.index.fields.size()
            + self.index.uid.len()
    }

    /// The whole object, as GET answers it.
    pub fn json(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.body.len() + 48);
        self.write_json(self.revision, &mut out);
        out.into()
    }

    /// Appends the whole object with the given resourceVersion (a deletion's event carries its own).
    pub fn write_json(&self, revision: Revision, out: &mut Vec<u8>) {
        self.write_from(0, self.body.len(), revision, out);
    }

    /// Appends the object without `kind` and `apiVersion`, as lists of built-in kinds hold it.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        let start = self.cuts.items as usize;
        if start > 0 {
            out.push(b'{');
        }
        self.write_from(start, self.body.len(), self.revision, out);
    }

    /// Appends the JSON of `metadata` alone (PartialObjectMetadata).
    pub fn write_metadata(&self, revision: Revision, out: &mut Vec<u8>) {
        self.write_from(self.cuts.metadata as usize, self.cuts.metadata_end as usize, revision, out);
    }

    /// The document with its resourceVersion.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(&self.body)?;
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), Value::String(self.revision.to_string()));
        }
        Ok(value)
    }

    fn write_from(&self, start: usize, end: usize, revision: Revision, out: &mut Vec<u8>) {
        let hole = self.cuts.hole as usize;
        out.extend_from_slice(&self.body[start..hole]);
        let last = self.body[hole] == b'}';
        if last && self.body[hole - 1] != b'{' {
            out.push(b',');
        }
        out.extend_from_slice(b"\"resourceVersion\":\"");
        write_number(revision.0, out);
        out.push(b'"');
        if !last {
            out.push(b',');
        }
        out.extend_from_slice(&self.body[hole..end]);
    }
}

/// Two sightings of one revision of a key are the same object.
impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.key == other.key && self.body == other.body
    }
}

/// A shared object.
pub type Object = Arc<Stored>;

fn write_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(body: &str) -> Stored {
        let key = Key::new("core/pods", "ns", "a");
        Stored::new(key, Revision(70), Bytes::copy_from_slice(body.as_bytes()), Index::default()).unwrap()
    }

    fn check(body: &str, full: &str, item: &str, metadata: &str) {
        let object = stored(body);
        assert_eq!(object.json(), full);
        let mut out = Vec::new();
        object.write_item(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), item);
        let mut out = Vec::new();
        object.write_metadata(Revision(70), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), metadata);
    }

    #[test]
    fn revision_is_written_where_go_writes_it() {
        check(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","generation":1},"spec":{}}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","resourceVersion":"70","generation":1},"spec":{}}"#,
            r#"{"metadata":{"name":"a","uid":"u","resourceVersion":"70","generation":1},"spec":{}}"#,
            r#"{"name":"a","uid":"u","resourceVersion":"70","generation":1}"#,
        );
    }

    #[test]
    fn revision_may_come_first_or_last() {
        check(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{}}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"70"}}"#,
            r#"{"metadata":{"resourceVersion":"70"}}"#,
            r#"{"resourceVersion":"70"}"#,
        );
        check(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"70"}}"#,
            r#"{"metadata":{"name":"a","resourceVersion":"70"}}"#,
            r#"{"name":"a","resourceVersion":"70"}"#,
        );
        check(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{"uid":"}\"{"}}}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"70","labels":{"uid":"}\"{"}}}"#,
            r#"{"metadata":{"resourceVersion":"70","labels":{"uid":"}\"{"}}}"#,
            r#"{"resourceVersion":"70","labels":{"uid":"}\"{"}}"#,
        );
    }

    #[test]
    fn custom_resources_are_sorted() {
        check(
            r#"{"apiVersion":"x/v1","kind":"T","metadata":{"name":"a","namespace":"n","uid":"u"},"spec":1}"#,
            r#"{"apiVersion":"x/v1","kind":"T","metadata":{"name":"a","namespace":"n","resourceVersion":"70","uid":"u"},"spec":1}"#,
            r#"{"metadata":{"name":"a","namespace":"n","resourceVersion":"70","uid":"u"},"spec":1}"#,
            r#"{"name":"a","namespace":"n","resourceVersion":"70","uid":"u"}"#,
        );
        check(
            r#"{"apiVersion":"x/v1","data":{"a":[1,"]"]},"kind":"T","metadata":{"name":"a"}}"#,
            r#"{"apiVersion":"x/v1","data":{"a":[1,"]"]},"kind":"T","metadata":{"name":"a","resourceVersion":"70"}}"#,
            r#"{"apiVersion":"x/v1","data":{"a":[1,"]"]},"kind":"T","metadata":{"name":"a","resourceVersion":"70"}}"#,
            r#"{"name":"a","resourceVersion":"70"}"#,
        );
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for body in ["", "{}", "[]", r#"{"metadata":1}"#, r#"{"metadata":{"name":"#, r#"{"kind":"#, "{\"a\\"]
        {
            let key = Key::new("core/pods", "ns", "a");
            let body = Bytes::copy_from_slice(body.as_bytes());
            assert!(Stored::new(key, Revision(1), body.clone(), Index::default()).is_err(), "{body:?}");
        }
        let with = Bytes::from_static(br#"{"metadata":{"name":"a","resourceVersion":"1"}}"#);
        assert!(Stored::new(Key::new("a/b", "", "a"), Revision(1), with, Index::default()).is_err());
    }

    #[test]
    fn value_has_the_revision() {
        let value = stored(r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#).value().unwrap();
        assert_eq!(value["metadata"]["resourceVersion"], "70");
    }
}
