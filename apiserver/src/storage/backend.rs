//! The contract of a database: a log of changes, an index of live keys, and nothing of Kubernetes.
//!
//! Every implementation passes the one suite in `tests/storage_backend.rs`.
use super::{CommitError, Group, Key, Revision};
use async_trait::async_trait;
use bytes::Bytes;
use std::path::PathBuf;
use std::time::SystemTime;

/// A live object as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it lives.
    pub key: Key,
    /// The revision of its last write.
    pub revision: Revision,
    /// The bytes of that write.
    pub value: Bytes,
}

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Position in the log.
    pub revision: Revision,
    /// The key written.
    pub key: Key,
    /// The value written; none for a deletion.
    pub value: Option<Bytes>,
    /// The live object this write replaced or removed.
    pub previous: Option<(Revision, Bytes)>,
}

/// What an applied write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision it took.
    pub revision: Revision,
    /// The revision of the live object it replaced or removed.
    pub previous: Option<Revision>,
}

/// The outcome of one group: one [`Applied`] a write, in order.
pub type Outcome = Result<Vec<Applied>, CommitError>;

/// The readable part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The newest revision.
    pub head: Revision,
    /// The oldest revision whose state can still be read; changes after it are complete.
    pub compacted: Revision,
}

/// A page of keys: those that begin with `prefix` and come after `after`, bytewise, at most `limit`.
#[derive(Clone, Debug)]
pub struct Range {
    /// Begin of the keys, `core/pods/` or `core/pods/default/`.
    pub prefix: String,
    /// Last key of the page before.
    pub after: Option<Key>,
    /// Rows at most.
    pub limit: usize,
}

/// Why a backend could not be opened or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackendError {
    /// Another process holds the directory.
    #[error("the database directory {path} is in use by another process{holder}", path = path.display(), holder = holder.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Process id written into the lock file by its holder.
        holder: Option<u32>,
    },
    /// Written by a newer version of this program; nothing was changed.
    #[error("the database {path} has schema version {found}, newer than {supported} which this version reads", path = path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version this program reads.
        supported: i64,
    },
    /// Not a database of ours, or damaged; nothing was changed.
    #[error("the database {path} is damaged or not a Knarr database: {reason}", path = path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The revision is older than the compacted history.
    #[error("revision is compacted; the oldest readable one is {0}")]
    Compacted(Revision),
    /// The database cannot be reached or refused.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

/// What a database is asked for. All methods may be called concurrently.
#[async_trait]
pub trait Reads: Send + Sync {
    /// The live object of a key.
    async fn get(&self, key: &Key) -> Result<Option<Row>, BackendError>;

    /// Live objects in key order.
    async fn list(&self, range: &Range) -> Result<Vec<Row>, BackendError>;

    /// Objects in key order as they were at revision `at`, with the head of the log;
    /// [`BackendError::Compacted`] if that is no longer known.
    async fn list_at(&self, range: &Range, at: Revision) -> Result<Vec<Row>, BackendError>;

    /// The value written at a revision; none if that row was a deletion or is compacted.
    async fn value(&self, revision: Revision) -> Result<Option<Bytes>, BackendError>;

    /// Log rows after a revision, in order, at most `limit`; [`BackendError::Compacted`] if some are gone.
    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<LogRow>, BackendError>;

    /// Live objects whose time to live is over at `now`, at most `limit`.
    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<Row>, BackendError>;
}

/// A database that holds the log.
///
/// Only [`Backend::commit`], [`Backend::compact`] and [`Backend::probe`] write. All methods may be called
/// concurrently.
#[async_trait]
pub trait Backend: Reads + 'static {
    /// Checks and applies groups as one durable transaction; outcome `i` belongs to group `i`.
    ///
    /// A group whose guards do not hold against the committed heads plus the groups before it changes nothing and
    /// takes no revision; the others are applied, in order, with consecutive revisions.
    async fn commit(&self, groups: &[Group]) -> Vec<Outcome>;

    /// Head and compaction point as of a moment after the call began.
    async fn extent(&self) -> Result<Extent, BackendError>;

    /// This process is the only writer for as long as the backend is open, so its own commits are all commits.
    fn exclusive(&self) -> bool;

    /// Resolves when another process may have committed; never for an exclusive backend.
    async fn notified(&self);

    /// Forgets history before `upto` in one small step of at most `limit` revisions; returns the compaction point
    /// reached. Live rows stay, and so does the head row. One call is one short transaction.
    async fn compact(&self, upto: Revision, limit: usize) -> Result<Revision, BackendError>;

    /// Proves that a durable write succeeds.
    async fn probe(&self) -> Result<(), BackendError>;

    /// Finishes writes and releases the database; later calls fail.
    async fn close(&self);
}

/// The database failed or is out of reach.
pub(super) fn unavailable(error: impl std::fmt::Display) -> BackendError {
    BackendError::Unavailable(error.to_string())
}

/// Milliseconds since 1970, as `changes.expires` holds them.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
