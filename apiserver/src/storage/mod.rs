//! Storage: the contract of a backend. Everything above it speaks of keys, bytes and revisions, never of SQL.
//!
//! **Invariants**: revisions are consecutive and in commit order; a reader that has seen N has seen everything
//! before N; a group is applied whole or not at all; what was acknowledged is durable.
use bytes::Bytes;
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
    /// Remove; the last value stays readable as the previous value of the deletion.
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

/// Why a group was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard did not hold: nothing was written.
    #[error("guard {index} failed: {key:?} is at {current:?}", key = key.0)]
    Guard {
        /// Position in [`Group::guards`].
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
}
