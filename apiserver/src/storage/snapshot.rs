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
        // The first text behind all that begin with the prefix, which ends in a slash: no key is looked at on the way.
        let end = format!("{}0", prefix.strip_suffix('/').unwrap_or(&prefix));
        let empty = after.is_some_and(|key| *key.as_str() >= *end);
        let found = (!empty).then(|| self.objects.range::<_, str>((start, Bound::Excluded(end.as_str()))));
        found.into_iter().flatten().map(|(_, object)| object)
    }
}
