//! Entries that speak of other versions of a resource than the one a write comes in: what the write changed is seen
//! by each entry in its own version.
use super::Write;
use super::compare::{Comparison, compare};
use crate::Value;
use crate::kind::Kind;
use crate::schema::Schema;
use crate::table::KindRef;
use std::fmt::Debug;

/// What an `apiVersion` in an entry means for the resource.
#[derive(Clone, Debug)]
pub enum Other {
    /// It is not served (any more): its entries are dropped.
    Unserved,
    /// Its objects have the same fields.
    Alike,
    /// Its objects have other fields and must be converted.
    Shaped(KindRef),
}

/// The versions of one resource.
pub trait Versions: Debug + Sync {
    /// What an `apiVersion` means.
    fn find(&self, api_version: &str) -> Other;

    /// An object, whose `apiVersion` tells its version, in the version of `to`.
    fn convert(&self, object: &Value, to: &Kind) -> Value;
}

/// The versions of a resource whose objects have the same fields in all of them.
#[derive(Clone, Copy, Debug)]
pub struct Alike;

impl Versions for Alike {
    fn find(&self, _: &str) -> Other {
        Other::Alike
    }

    fn convert(&self, object: &Value, _: &Kind) -> Value {
        object.clone()
    }
}

/// What a write changed, in every version that is asked for.
pub(super) struct Differences<'a> {
    schema: &'a Schema,
    live: Option<&'a Value>,
    new: &'a Value,
    write: &'a Write<'a>,
    version: String,
    /// In the version of the write.
    pub found: Comparison,
    others: Vec<(String, Comparison)>,
}

impl<'a> Differences<'a> {
    /// Compares in the version of the write.
    pub fn new(
        schema: &'a Schema,
        kind: &Kind,
        live: Option<&'a Value>,
        new: &'a Value,
        write: &'a Write<'a>,
    ) -> Self {
        let found = compare(schema, kind, live, new, write.subresource);
        Self { schema, live, new, write, version: kind.gvk.api_version(), found, others: Vec::new() }
    }

    /// The comparison in a version; none where it is not served.
    pub fn of(&mut self, api_version: &str) -> Option<&Comparison> {
        if api_version == self.version {
            return Some(&self.found);
        }
        let kind = match self.write.versions.find(api_version) {
            Other::Unserved => return None,
            Other::Alike => return Some(&self.found),
            Other::Shaped(kind) => kind,
        };
        let at = match self.others.iter().position(|(version, _)| version == api_version) {
            Some(at) => at,
            None => {
                let convert = |object: &Value| self.write.versions.convert(object, &kind);
                let (live, new) = (self.live.map(convert), convert(self.new));
                let found = compare(self.schema, &kind, live.as_ref(), &new, self.write.subresource);
                self.others.push((api_version.to_owned(), found));
                self.others.len() - 1
            }
        };
        Some(&self.others[at].1)
    }
}
