//! The store: what the registry speaks to. Reads come from memory, writes go through one group-commit task.
use super::snapshot::Snapshot;
use super::watcher::{Scope, Selector, Start, WatchError, Watcher};
use super::{Backend, BackendError, Change, CommitError, Group, Index, Key, Resource, Revision, Stored};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Sizes and times.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long superseded revisions stay readable.
    pub history: Duration,
    /// Bytes of recent events held for each resource.
    pub ring_bytes: usize,
    /// Events a watcher may be behind before it is ended.
    pub watcher_queue: usize,
    /// Writes in one transaction at most.
    pub batch_writes: usize,
    /// How often objects past their time to live are looked for.
    pub expiry_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history: Duration::from_secs(300),
            ring_bytes: 8 << 20,
            watcher_queue: 4096,
            batch_writes: 256,
            expiry_interval: Duration::from_secs(10),
        }
    }
}

/// What the writer already knows of a write, so that nothing is parsed or read twice. All of it may be absent.
#[derive(Clone, Debug, Default)]
pub struct WriteFacts {
    /// Facts of the new object; else the resource's indexer extracts them.
    pub index: Option<Index>,
    /// The object replaced or removed, for resources kept out of memory; else it is read from the database.
    pub previous: Option<Arc<Stored>>,
}

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// That revision is compacted (410 `Expired`).
    #[error("the requested revision {requested} is compacted, the oldest readable one is {oldest}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest readable revision.
        oldest: Revision,
    },
    /// That revision is not reached yet (504 `Timeout` with cause `ResourceVersionTooLarge`).
    #[error("too large resource version: {requested}, current: {current}")]
    Future {
        /// The revision asked for.
        requested: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The resource is not registered.
    #[error("resource {0} is not stored")]
    Unknown(String),
    /// The database cannot be reached (503).
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
}

/// All objects of the cluster; cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Loads the registered resources into memory, refills the event rings, and starts the commit, compaction and
    /// expiry tasks, which end with `shutdown`.
    pub async fn open(
        backend: Arc<dyn Backend>,
        resources: Vec<Resource>,
        options: Options,
        shutdown: CancellationToken,
    ) -> Result<Self, BackendError> {
        unimplemented!("the next commit")
    }

    /// Adds a resource (a new CRD) and loads its objects. Replacing one rebuilds it and ends its watches.
    pub async fn register(&self, resource: Resource) -> Result<(), BackendError> {
        unimplemented!("the next commit")
    }

    /// Removes a resource from memory and ends its watches; its rows stay in the database.
    pub async fn unregister(&self, resource: &str) {
        unimplemented!("the next commit")
    }

    /// The live object of a key, from memory: none for resources kept in the log (see [`Store::read`]).
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        unimplemented!("the next commit")
    }

    /// The live object of a key of any resource.
    pub async fn read(&self, key: &Key) -> Result<Option<Arc<Stored>>, ReadError> {
        unimplemented!("the next commit")
    }

    /// The newest view of a resource that is in memory; empty for one kept in the log.
    pub fn snapshot(&self, resource: &str) -> Snapshot {
        unimplemented!("the next commit")
    }

    /// The view of any resource at an exact revision, or at the newest one. For a resource kept in the log only
    /// the objects of `namespace` (all, if none) are fetched.
    pub async fn list(
        &self,
        resource: &str,
        namespace: Option<&str>,
        at: Option<Revision>,
    ) -> Result<Snapshot, ReadError> {
        unimplemented!("the next commit")
    }

    /// The revision up to which memory is complete.
    pub fn revision(&self) -> Revision {
        unimplemented!("the next commit")
    }

    /// Waits until memory holds every write acknowledged by any server before this call: after it, reads are
    /// linearizable. At once with an exclusive backend.
    pub async fn fresh(&self) -> Result<Revision, ReadError> {
        unimplemented!("the next commit")
    }

    /// Waits until memory holds everything up to a revision; cancel-safe, waits for ever if it never comes.
    pub async fn wait_for(&self, revision: Revision) {
        unimplemented!("the next commit")
    }

    /// Commits a group: returns when it is durable and visible to reads, with one revision a write. The commit
    /// goes on if the caller goes away.
    pub async fn commit(&self, group: Group) -> Result<Vec<Revision>, CommitError> {
        unimplemented!("the next commit")
    }

    /// The same with what the writer knows of each write (fewer facts than writes are allowed); returns the changes.
    pub async fn commit_with(
        &self,
        group: Group,
        facts: Vec<WriteFacts>,
    ) -> Result<Vec<Arc<Change>>, CommitError> {
        unimplemented!("the next commit")
    }

    /// A place in the fair queue of those who read, modify and write `key`: hold it from the read to the commit's
    /// answer, and take one at a time. It excludes nobody who does not ask for it; guards decide.
    pub async fn lock(&self, key: &Key) -> KeyLock {
        unimplemented!("the next commit")
    }

    /// Watches a resource. `selects` is asked about the objects in scope before and after each change, so that
    /// objects which come into view or leave it are added and deleted.
    pub fn watch(
        &self,
        resource: &str,
        scope: Scope,
        start: Start,
        selects: Option<Selector>,
    ) -> Result<Watcher, WatchError> {
        unimplemented!("the next commit")
    }

    /// Writes succeed; the error says why not.
    pub async fn ready(&self) -> Result<(), String> {
        unimplemented!("the next commit")
    }
}

/// The turn of one writer of a key; ends when dropped.
pub struct KeyLock {}
