//! The store: what the registry speaks to. Reads come from memory, writes go through one group-commit task.
use super::commit::{Command, Committer, Prepared, Request};
use super::encryption::{Encrypted, Encryption};
use super::health::Health;
use super::hub::Hub;
use super::load::Loader;
use super::locks::{KeyLock, Locks};
use super::maintain;
use super::resource::{Residence, Resource};
use super::snapshot::{Objects, Snapshot};
use super::view::{Batch, View};
use super::watcher::{Scope, Selector, Start, WatchEnd, WatchError, Watcher};
use super::{
    Backend, BackendError, Change, CommitError, Group, Index, Key, Revision, Stored, Watched, Write,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Groups that may wait for the commit task before writers wait to enter.
const QUEUE: usize = 4096;

const CLOSING: &str = "the store is closing";

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
    /// Encrypts values.
    pub encryption: Option<Arc<Encryption>>,
    /// Is told of every commit.
    pub watched: Option<Arc<dyn Watched>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history: Duration::from_secs(300),
            ring_bytes: 8 << 20,
            watcher_queue: 4096,
            batch_writes: 256,
            expiry_interval: Duration::from_secs(10),
            encryption: None,
            watched: None,
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
pub struct Store {
    inner: Arc<Inner>,
}

/// What the store's tasks share.
pub(super) struct Inner {
    pub backend: Arc<dyn Backend>,
    pub options: Options,
    pub hubs: RwLock<HashMap<Arc<str>, Arc<Hub>>>,
    pub health: Health,
    view: ArcSwap<View>,
    commands: mpsc::Sender<Command>,
    /// The revision of `view`.
    reached: watch::Sender<Revision>,
    /// The revision up to which watchers have been told.
    published: Arc<AtomicU64>,
    compacted: AtomicU64,
    locks: Arc<Locks>,
    tasks: TaskTracker,
}

impl Store {
    /// Loads the registered resources into memory, refills the event rings, and starts the commit, compaction and
    /// expiry tasks, which end with `shutdown`; the commit task then closes the backend (see [`Store::closed`]).
    pub async fn open(
        backend: Arc<dyn Backend>,
        resources: Vec<Resource>,
        options: Options,
        shutdown: CancellationToken,
    ) -> Result<Self, BackendError> {
        let backend = match &options.encryption {
            Some(encryption) => Arc::new(Encrypted::new(backend, encryption.clone())),
            None => backend,
        };
        let extent = backend.extent().await?;
        let (commands, received) = mpsc::channel(QUEUE);
        let inner = Arc::new(Inner {
            backend,
            options,
            hubs: RwLock::default(),
            health: Health::default(),
            view: ArcSwap::from_pointee(View { revision: extent.head, objects: Objects::new() }),
            commands,
            reached: watch::Sender::new(extent.head),
            published: Arc::new(AtomicU64::new(extent.head.0)),
            compacted: AtomicU64::new(extent.compacted.0),
            locks: Arc::default(),
            tasks: TaskTracker::new(),
        });
        Loader::new(&inner).register(resources).await?;
        let store = Self { inner };
        let tasks = &store.inner.tasks;
        let inner = store.inner.clone();
        let committer = Committer { inner, commands: received, shutdown: shutdown.clone() };
        tasks.spawn(committer.run());
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(maintain::compact(store.clone())));
        if let Some(encryption) = store.inner.options.encryption.clone() {
            let recover = maintain::recover(store.clone(), encryption);
            tasks.spawn(shutdown.clone().run_until_cancelled_owned(recover));
        }
        tasks.spawn(shutdown.run_until_cancelled_owned(maintain::expire(store.clone())));
        tasks.close();
        Ok(store)
    }

    /// Waits until everything queued is committed and the backend is closed, after shutdown.
    pub async fn closed(&self) {
        self.inner.tasks.wait().await;
    }

    /// Adds resources (new CRDs) and loads their objects. Replacing one rebuilds it and ends its watches.
    pub async fn register(&self, resources: Vec<Resource>) -> Result<(), BackendError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inner.commands.send(Command::Register(resources, reply)).await;
        let closing = || BackendError::Unavailable(CLOSING.into());
        sent.map_err(|_| closing())?;
        answer.await.map_err(|_| closing())?
    }

    /// Removes a resource from memory and ends its watches; its rows stay in the database.
    pub async fn unregister(&self, resource: &str) {
        let (reply, answer) = oneshot::channel();
        if self.inner.commands.send(Command::Unregister(resource.into(), reply)).await.is_ok() {
            // Fails only when the store closes, which ends all watches.
            let _ = answer.await;
        }
    }

    /// The live object of a key, from memory: none for resources kept in the log (see [`Store::read`]).
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        self.inner.view.load().objects.get(key).cloned()
    }

    /// Why the object of a key cannot be read, where one is stored that cannot be decrypted.
    pub fn unreadable(&self, key: &Key) -> Option<String> {
        self.inner.options.encryption.as_ref()?.ledger.unreadable(key)
    }

    /// The configuration of encryption, where there is one.
    pub fn encryption(&self) -> Option<&Arc<Encryption>> {
        self.inner.options.encryption.as_ref()
    }

    /// Writes objects again, as they are, that are stored otherwise than they would be written now, at most `limit`;
    /// returns how many were looked at. What somebody else writes meanwhile is as good as written here.
    ///
    /// # Errors
    /// A database or a plugin that cannot be reached; what was written before stays written.
    pub async fn rewrite(&self, limit: usize) -> Result<usize, CommitError> {
        let Some(encryption) = self.encryption() else { return Ok(0) };
        let keys = encryption.stale(limit);
        for key in &keys {
            // What lives in the log goes by itself, and would forget when.
            let Some(stored) = self.get(key) else {
                encryption.ledger.gone(key);
                continue;
            };
            let group = Group::update(key.clone(), stored.revision, stored.body().clone());
            let facts = WriteFacts { index: Some(stored.index.clone()), previous: None };
            match self.commit_with(group, vec![facts]).await {
                Ok(_) | Err(CommitError::Guard { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keys.len())
    }

    /// The live object of a key of any resource.
    pub async fn read(&self, key: &Key) -> Result<Option<Arc<Stored>>, ReadError> {
        let hub = self.known(key.resource())?;
        if hub.resource.residence == Residence::Memory {
            return Ok(self.get(key));
        }
        let row = self.inner.backend.get(key).await.map_err(unavailable)?;
        row.map(|row| hub.resource.stored(row.key, row.revision, &row.value)).transpose().map_err(unavailable)
    }

    /// The live object of a key as it lies in the database, in the clear.
    pub async fn in_database(&self, key: &Key) -> Result<Option<Bytes>, ReadError> {
        Ok(self.inner.backend.get(key).await.map_err(unavailable)?.map(|row| row.value))
    }

    /// The newest view of a resource that is in memory; empty for one kept in the log or not registered.
    pub fn snapshot(&self, resource: &str) -> Snapshot {
        let view = self.inner.view.load();
        Snapshot::new(view.revision, resource, view.objects.clone())
    }

    /// The view of any resource at an exact revision, or at the newest one. For a resource kept in the log, and for
    /// revisions older than the event ring, only the objects of `namespace` (all, if none) are fetched.
    pub async fn list(
        &self,
        resource: &str,
        namespace: Option<&str>,
        at: Option<Revision>,
    ) -> Result<Snapshot, ReadError> {
        let hub = self.known(resource)?;
        let View { revision: now, mut objects } = self.inner.view().as_ref().clone();
        let at = at.unwrap_or(now);
        if at > now {
            return Err(ReadError::Future { requested: at, current: now });
        }
        // Memory may hold more of a quiet resource, but whether a client has to begin anew does not hang on that.
        let oldest = self.compacted();
        if at < oldest {
            return Err(ReadError::Compacted { requested: at, oldest });
        }
        if hub.resource.residence == Residence::Memory && (at == now || hub.undo(&mut objects, now, at)) {
            return Ok(Snapshot::new(at, resource, objects));
        }
        let prefix = match namespace {
            Some(namespace) => format!("{resource}/{namespace}/"),
            None => format!("{resource}/"),
        };
        let mut objects = Objects::new();
        self.inner.fetch(&hub.resource, prefix, at, &mut objects).await.map_err(|error| match error {
            BackendError::Compacted(oldest) => ReadError::Compacted { requested: at, oldest },
            error => unavailable(error),
        })?;
        Ok(Snapshot::new(at, resource, objects))
    }

    /// The revision up to which memory is complete.
    pub fn revision(&self) -> Revision {
        self.inner.view.load().revision
    }

    /// Waits until memory holds every write acknowledged by any server before this call: after it, reads are
    /// linearizable. At once with an exclusive backend.
    pub async fn fresh(&self) -> Result<Revision, ReadError> {
        if !self.inner.backend.exclusive() {
            let head = self.inner.backend.extent().await.map_err(unavailable)?.head;
            self.wait_for(head).await;
        }
        Ok(self.revision())
    }

    /// Waits until memory holds everything up to a revision; cancel-safe, waits for ever if it never comes.
    pub async fn wait_for(&self, revision: Revision) {
        // Fails only if the sender is gone, and `self` holds it.
        let _ = self.inner.reached.subscribe().wait_for(|reached| *reached >= revision).await;
    }

    /// Commits a group: returns when it is durable and visible to reads, with one revision a write. The commit
    /// goes on if the caller goes away.
    pub async fn commit(&self, group: Group) -> Result<Vec<Revision>, CommitError> {
        let changes = self.commit_with(group, Vec::new()).await?;
        Ok(changes.iter().map(|change| change.revision).collect())
    }

    /// The same with what the writer knows of each write (fewer facts than writes are allowed); returns the changes.
    pub async fn commit_with(
        &self,
        mut group: Group,
        facts: Vec<WriteFacts>,
    ) -> Result<Vec<Arc<Change>>, CommitError> {
        let mut facts = facts.into_iter();
        let mut writes = Vec::with_capacity(group.writes.len());
        for write in &mut group.writes {
            writes.push(self.prepare(write, facts.next().unwrap_or_default())?);
        }
        let watched = self.inner.options.watched.as_ref();
        let operation =
            watched.and_then(|_| group.operation()).map(|(operation, key)| (operation, key.clone()));
        let began = Instant::now();
        let (reply, answer) = oneshot::channel();
        let request = Request { group, writes, reply };
        let sent = self.inner.commands.send(Command::Commit(request)).await;
        sent.map_err(|_| CommitError::Unavailable(CLOSING.into()))?;
        let outcome = answer.await.map_err(|_| CommitError::Unknown(CLOSING.into()))?;
        if let (Some(watched), Some((operation, key))) = (watched, operation) {
            let failed = matches!(outcome, Err(CommitError::Unavailable(_) | CommitError::Unknown(_)));
            watched.written(operation, key.resource(), failed, began.elapsed());
        }
        outcome
    }

    /// A place in the fair queue of those who read, modify and write `key`: hold it from the read to the commit's
    /// answer, and take one at a time. It excludes nobody who does not ask for it; guards decide.
    pub async fn lock(&self, key: &Key) -> KeyLock {
        self.inner.locks.lock(key).await
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
        let hub = self.inner.hub(resource).ok_or_else(|| WatchError::Unknown(resource.into()))?;
        let capacity = self.inner.options.watcher_queue;
        let entrance = hub.enter(scope, start, selects, capacity, || self.revision())?;
        Ok(Watcher::new(entrance, hub, self.inner.published.clone()))
    }

    /// Writes succeed; the error says why not. Reads go on either way.
    pub async fn ready(&self) -> Result<(), String> {
        let recovered = self.inner.health.check(&*self.inner.backend).await?;
        if recovered {
            // A full queue means that writes go on, which do the same.
            let _ = self.inner.commands.try_send(Command::Follow);
        }
        Ok(())
    }

    /// The registered resources, each with its number of watchers.
    pub fn resources(&self) -> Vec<(Arc<str>, usize)> {
        self.inner.hubs.read().iter().map(|(name, hub)| (name.clone(), hub.watchers())).collect()
    }

    /// The oldest revision whose state can be read from the database.
    pub fn compacted(&self) -> Revision {
        Revision(self.inner.compacted.load(Ordering::Relaxed))
    }

    pub(super) fn set_compacted(&self, revision: Revision) {
        self.inner.compacted.store(revision.0, Ordering::Relaxed);
    }

    pub(super) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.inner.backend
    }

    pub(super) fn resource(&self, name: &str) -> Option<Resource> {
        self.inner.hub(name).map(|hub| hub.resource.clone())
    }

    fn known(&self, resource: &str) -> Result<Arc<Hub>, ReadError> {
        self.inner.hub(resource).ok_or_else(|| ReadError::Unknown(resource.into()))
    }

    /// Makes a write ready for the cache, on the writer's time.
    fn prepare(&self, write: &mut Write, facts: WriteFacts) -> Result<Prepared, CommitError> {
        let key = write.key().clone();
        let hub = self.inner.hub(key.resource());
        let hub = hub.ok_or_else(|| CommitError::Invalid(format!("{} is not registered", key.resource())))?;
        let object = match write {
            Write::Delete { .. } => None,
            Write::Put { value, .. } => {
                // A copy of its own, so that the cache holds no more than the bytes.
                *value = Bytes::from(Box::<[u8]>::from(&value[..]));
                let index = facts.index.unwrap_or_else(|| (hub.resource.indexer)(value));
                let object = Stored::new(key.clone(), Revision(0), value.clone(), index);
                Some(object.map_err(|error| CommitError::Invalid(error.to_string()))?)
            }
        };
        Ok(Prepared { hub, key, object, previous: facts.previous })
    }
}

impl Inner {
    pub fn hub(&self, resource: &str) -> Option<Arc<Hub>> {
        self.hubs.read().get(resource).cloned()
    }

    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// A batch that continues the current view.
    pub fn batch(&self) -> Batch {
        Batch { view: self.view().as_ref().clone(), changes: Vec::new() }
    }

    /// Shows another view to readers.
    pub fn replace(&self, view: View) {
        let revision = view.revision;
        self.view.store(Arc::new(view));
        self.reached.send_replace(revision);
        self.published.store(revision.0, Ordering::Release);
    }

    /// Makes a batch visible, calls `answer`, then tells the watchers.
    pub fn publish(&self, batch: Batch, answer: impl FnOnce()) {
        let Batch { view, changes } = batch;
        let revision = view.revision;
        for (hub, change) in &changes {
            hub.record(change.clone());
        }
        self.view.store(Arc::new(view));
        self.reached.send_replace(revision);
        answer();
        for (hub, change) in &changes {
            hub.deliver(change);
        }
        self.published.store(revision.0, Ordering::Release);
    }

    /// Ends all watches: the store closes.
    pub fn end_watches(&self) {
        for hub in self.hubs.read().values() {
            hub.end(WatchEnd::Closed);
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
