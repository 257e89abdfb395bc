//! Storage: the contract of a backend. Everything above it speaks of keys, bytes and revisions, never of SQL.
//!
//! **Invariants**: revisions are consecutive and in commit order; a reader that has seen N has seen everything
//! before N; a group is applied whole or not at all; what was acknowledged is durable.
pub mod backend;
mod commit;
pub mod decide;
pub mod encryption;
pub mod event;
mod health;
mod hub;
pub mod index;
mod load;
mod locks;
mod maintain;
pub mod postgres;
pub mod resource;
mod ring;
pub mod snapshot;
pub mod sqlite;
pub mod store;
pub mod stored;
pub mod transfer;
mod view;
pub mod watcher;

pub use backend::{Backend, BackendError, Reads};
pub use event::{Change, Event, EventType};
pub use index::{Index, Pairs};
pub use locks::KeyLock;
pub use resource::{Indexer, Residence, Resource, Upgrade};
pub use snapshot::Snapshot;
pub use store::{Options, ReadError, Store, WriteFacts};
pub use stored::{Malformed, Stored};
pub use watcher::{Delivery, Scope, Selector, Start, WatchEnd, WatchError, Watcher};

use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::SystemTime;

/// A position in the cluster-wide order of writes: an object's `resourceVersion`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Display for Revision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key, `‹group›/‹resource›/‹namespace›/‹name›` (`core/pods/default/web`, cluster-scoped:
/// `core/nodes//node-1`): always four segments, compared bytewise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Arc<str>);

impl Key {
    /// The key of an object; `resource` is `‹group›/‹resource›` and `namespace` empty for cluster scope.
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self(format!("{resource}/{namespace}/{name}").into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `‹group›/‹resource›`; the whole key if it has fewer segments.
    pub fn resource(&self) -> &str {
        self.0.match_indices('/').nth(1).map_or(&*self.0, |(at, _)| &self.0[..at])
    }

    /// The namespace; empty for cluster scope.
    pub fn namespace(&self) -> &str {
        self.0.split('/').nth(2).unwrap_or_default()
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.0.splitn(4, '/').nth(3).unwrap_or_default()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What must hold for a group to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key has no live object.
    Absent(Key),
    /// The key has a live object, at whatever revision.
    Present(Key),
    /// The key's live object is at exactly this revision.
    At(Key, Revision),
}

/// One write; each takes one revision.
#[derive(Clone, Debug)]
pub enum Write {
    /// Create or replace.
    Put {
        /// Where.
        key: Key,
        /// The object without its resourceVersion.
        value: Bytes,
        /// When the object is to be removed by itself (events).
        expires: Option<SystemTime>,
    },
    /// Remove; the last value stays readable as the previous value of the deletion. A key without a live object
    /// fails the group like a [`Guard::Present`] whose index is the number of guards plus the write's position.
    Delete {
        /// Where.
        key: Key,
    },
}

/// Writes and their guards, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Checked against committed heads plus the earlier groups of the same batch.
    pub guards: Vec<Guard>,
    /// Applied in order.
    pub writes: Vec<Write>,
}

impl Group {
    /// Creates `key`, which must not exist.
    pub fn create(key: Key, value: Bytes) -> Self {
        Self::default().guard(Guard::Absent(key.clone())).put(key, value)
    }

    /// Replaces `key`, which must be at `revision`.
    pub fn update(key: Key, revision: Revision, value: Bytes) -> Self {
        Self::default().guard(Guard::At(key.clone(), revision)).put(key, value)
    }

    /// Removes `key`, which must be at `revision`.
    pub fn remove(key: Key, revision: Revision) -> Self {
        Self::default().guard(Guard::At(key.clone(), revision)).delete(key)
    }

    /// Adds a guard.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Adds a write of a value that does not expire.
    pub fn put(mut self, key: Key, value: Bytes) -> Self {
        self.writes.push(Write::Put { key, value, expires: None });
        self
    }

    /// Adds a removal.
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete { key });
        self
    }
}

/// What a group is for, by its first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A key that must not exist.
    Create,
    /// Any other write of a value.
    Update,
    /// A removal.
    Delete,
}

impl Operation {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Is told of what goes to the database.
pub trait Watched: fmt::Debug + Send + Sync {
    /// A group came back after `took`. `failed`: the database did; a guard that does not hold is no failure.
    fn written(&self, operation: Operation, resource: &str, failed: bool, took: std::time::Duration);
}

impl Group {
    /// What the group is for and the resource that it is about; none without writes.
    pub fn operation(&self) -> Option<(Operation, &Key)> {
        let write = self.writes.first()?;
        let key = write.key();
        let operation = match write {
            Write::Delete { .. } => Operation::Delete,
            Write::Put { .. } if self.guards.iter().any(|g| matches!(g, Guard::Absent(k) if k == key)) => {
                Operation::Create
            }
            Write::Put { .. } => Operation::Update,
        };
        Some((operation, key))
    }
}

impl Write {
    /// The key written.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

impl Guard {
    /// The guarded key.
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::At(key, _) => key,
        }
    }
}

/// Why a group was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard did not hold: nothing was written.
    #[error("guard {index} failed: {key:?} is at {current:?}", key = key.0)]
    Guard {
        /// Position in [`Group::guards`]; beyond them: a delete of an absent key ([`Write::Delete`]).
        index: usize,
        /// The guarded key.
        key: Key,
        /// The key's current revision; none if it has no live object.
        current: Option<Revision>,
    },
    /// It is unknown whether the group was written (504, never 409).
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// Nothing was written: the database cannot be reached or refused.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// Nothing was written: a value is not canonical JSON, or its resource is not registered (a fault of the caller).
    #[error("not storable: {0}")]
    Invalid(String),
}
