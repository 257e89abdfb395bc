//! What the store must know of a resource before it holds objects of it.
use super::{Index, Key, Malformed, Revision, Stored};
use bytes::Bytes;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

/// Extracts the facts of a stored body; see [`Index::of`].
pub type Indexer = Arc<dyn Fn(&[u8]) -> Index + Send + Sync>;

/// Rewrites a body written under an older table (new defaults); none if it is as it should be.
pub type Upgrade = Arc<dyn Fn(&[u8]) -> Option<Bytes> + Send + Sync>;

/// Where the live objects of a resource are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residence {
    /// In memory; all reads come from there.
    #[default]
    Memory,
    /// In the database and the event ring only (events).
    Log,
}

/// One stored resource.
#[derive(Clone)]
pub struct Resource {
    /// `‹group›/‹resource›` as keys begin, `core/pods`.
    pub name: Arc<str>,
    /// Used at load, and for writes that bring no facts.
    pub indexer: Indexer,
    /// Applied to every body read from the database.
    pub upgrade: Option<Upgrade>,
    /// Fields by whose value watchers are indexed (`spec.nodeName`); the indexer must provide them.
    pub hot_fields: Vec<Arc<str>>,
    /// Where live objects are kept.
    pub residence: Residence,
}

impl Resource {
    /// A resource in memory without hot fields, whose facts are its labels, uid and the given selectable fields.
    pub fn new(name: &str, fields: Vec<Arc<str>>) -> Self {
        let indexer: Indexer = Arc::new(move |body| match serde_json::from_slice(body) {
            Ok(object) => Index::of(&object, &fields),
            Err(_) => Index::default(),
        });
        Self {
            name: name.into(),
            indexer,
            upgrade: None,
            hot_fields: Vec::new(),
            residence: Residence::Memory,
        }
    }

    /// Indexes watchers by these fields.
    pub fn hot(mut self, fields: Vec<Arc<str>>) -> Self {
        self.hot_fields = fields;
        self
    }

    /// Keeps live objects out of memory.
    pub fn in_log(mut self) -> Self {
        self.residence = Residence::Log;
        self
    }

    /// The object of a row.
    pub(super) fn stored(
        &self,
        key: Key,
        revision: Revision,
        value: &Bytes,
    ) -> Result<Arc<Stored>, Malformed> {
        let body = match self.upgrade.as_ref().and_then(|upgrade| upgrade(value)) {
            Some(body) => body,
            None => value.clone(),
        };
        let index = (self.indexer)(&body);
        Stored::new(key, revision, body, index).map(Arc::new)
    }
}

impl Debug for Resource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("name", &self.name).field("residence", &self.residence).finish()
    }
}
