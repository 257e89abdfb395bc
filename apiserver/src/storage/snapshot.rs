//! The objects of one resource at one revision.
use super::{Key, Revision, Stored};
use imbl::OrdMap;
use std::ops::Bound;
use std::sync::Arc;

/// All live objects, by key.
pub(super) type Objects = OrdMap<Key, Arc<Stored>>;

/// A consistent view that costs nothing to take and never changes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    revision: Revision,
    /// `‹group›/‹resource›/`.
    prefix: Arc<str>,
    objects: Objects,
}

impl Snapshot {
    pub(super) fn new(revision: Revision, resource: &str, objects: Objects) -> Self {
        Self { revision, prefix: format!("{resource}/").into(), objects }
    }

    /// The revision of the view: a watch from here misses nothing.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.objects.get(format!("{}{namespace}/{name}", self.prefix).as_str())
    }

    /// The objects of one namespace, or of all, in key order, those after the given key. That key need not exist.
    pub fn iter(&self, namespace: Option<&str>, after: Option<&Key>) -> impl Iterator<Item = &Arc<Stored>> {
        let prefix = match namespace {
            Some(namespace) => format!("{}{namespace}/", self.prefix),
            None => self.prefix.to_string(),
        };
        let start = match after {
            Some(key) if key.as_str() > prefix.as_str() => Bound::Excluded(key.as_str()),
            _ => Bound::Included(prefix.as_str()),
        };
        let found = self.objects.range::<_, str>((start, Bound::Unbounded));
        found.take_while(move |(key, _)| key.as_str().starts_with(&prefix)).map(|(_, object)| object)
    }
}
