//! The group-commit task: the only one that writes to the database and to the cache.
//!
//! Whatever is queued while a transaction runs becomes the next one. After the transaction the changes enter the
//! event rings, become visible to all readers at once, their writers are answered, and watchers are told, in this
//! order.
use super::backend::{Applied, LogRow};
use super::hub::Hub;
use super::load::Loader;
use super::resource::{Residence, Resource};
use super::store::Inner;
use super::view::Batch;
use super::{BackendError, Change, CommitError, Group, Index, Key, Revision, Stored};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Log rows read at once when other servers have written.
const TAIL: usize = 500;

/// Pause before the log is read again after it could not be.
const AGAIN: Duration = Duration::from_millis(50);

/// What the task is asked to do, in order.
pub(super) enum Command {
    Commit(Request),
    Register(Vec<Resource>, oneshot::Sender<Result<(), BackendError>>),
    Unregister(Arc<str>, oneshot::Sender<()>),
    /// Look for what was committed without this task's knowledge.
    Follow,
}

/// The answer to a writer.
pub(super) type Answer = Result<Vec<Arc<Change>>, CommitError>;

/// One group with what its writer prepared, one [`Prepared`] a write.
pub(super) struct Request {
    pub group: Group,
    pub writes: Vec<Prepared>,
    pub reply: oneshot::Sender<Answer>,
}

/// One write as it will be cached.
pub(super) struct Prepared {
    pub hub: Arc<Hub>,
    pub key: Key,
    /// The new object, its revision still unset; none for a deletion.
    pub object: Option<Stored>,
    /// What the writer says it replaces.
    pub previous: Option<Arc<Stored>>,
}

/// The task.
pub(super) struct Committer {
    pub inner: Arc<Inner>,
    pub commands: mpsc::Receiver<Command>,
    pub shutdown: CancellationToken,
}

impl Committer {
    /// Runs until shutdown; what is queued by then is still committed. Closes the backend.
    pub async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        let limit = self.inner.options.batch_writes;
        let mut commands = Vec::with_capacity(limit);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if open => {
                    open = false;
                    self.commands.close();
                }
                received = self.commands.recv_many(&mut commands, limit) => {
                    if received == 0 {
                        break;
                    }
                    self.execute(&mut commands).await;
                }
                () = self.inner.backend.notified() => self.follow(None).await,
            }
        }
        self.inner.end_watches();
        self.inner.backend.close().await;
    }

    async fn execute(&mut self, commands: &mut Vec<Command>) {
        let mut requests = Vec::with_capacity(commands.len());
        for command in commands.drain(..) {
            // A caller that has gone away does not want its answer.
            match command {
                Command::Commit(request) => requests.push(request),
                Command::Register(resources, reply) => {
                    self.commit(std::mem::take(&mut requests)).await;
                    let _ = reply.send(Loader::new(&self.inner).register(resources).await);
                }
                Command::Unregister(name, reply) => {
                    self.commit(std::mem::take(&mut requests)).await;
                    Loader::new(&self.inner).unregister(&name);
                    let _ = reply.send(());
                }
                Command::Follow => self.follow(None).await,
            }
        }
        self.commit(requests).await;
    }

    async fn commit(&mut self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let mut groups = Vec::with_capacity(requests.len());
        let mut waiting = Vec::with_capacity(requests.len());
        for request in requests {
            groups.push(request.group);
            waiting.push((request.writes, request.reply));
        }
        let outcomes = self.inner.backend.commit(&groups).await;
        drop(groups);
        self.inner.health.observe(&outcomes);
        let doubtful = outcomes.iter().any(|outcome| matches!(outcome, Err(CommitError::Unknown(_))));
        let contiguous = match outcomes.iter().flatten().flatten().next() {
            Some(first) => self.meet(Revision(first.revision.0 - 1)).await,
            None => true,
        };
        let mut batch = self.inner.batch();
        let mut answers = Vec::with_capacity(waiting.len());
        let mut refusals = Vec::new();
        for ((writes, reply), outcome) in waiting.into_iter().zip(outcomes) {
            match outcome {
                Ok(applied) => answers.push((reply, self.enter(&mut batch, writes, &applied).await)),
                Err(error) => refusals.push((reply, error)),
            }
        }
        // A caller that has gone away does not want its answer.
        let answer = || answers.into_iter().for_each(|(reply, changes)| drop(reply.send(Ok(changes))));
        if contiguous {
            self.inner.publish(batch, answer)
        } else {
            answer()
        }
        // Who lost against another server's write must find it when trying again.
        let conflict = refusals.iter().any(|(_, error)| matches!(error, CommitError::Guard { .. }));
        if doubtful || (conflict && !self.inner.backend.exclusive()) {
            self.follow(None).await;
        }
        refusals.into_iter().for_each(|(reply, error)| drop(reply.send(Err(error))));
    }

    /// Makes memory complete up to the revision before this task's own transaction, which is committed: other servers
    /// may have written in between. False if memory was loaded anew and holds the transaction already, or if the
    /// store closes.
    async fn meet(&mut self, before: Revision) -> bool {
        loop {
            let seen = self.inner.view().revision;
            if seen == before {
                return true;
            }
            if seen < before {
                self.follow(Some(before)).await;
            } else {
                tracing::warn!(%seen, %before, "the database has lost writes that were read; loading anew");
                match Loader::new(&self.inner).reload().await {
                    Ok(()) => return false,
                    Err(error) => tracing::error!(%error, "loading failed"),
                }
            }
            match self.inner.view().revision {
                now if now > before => return false,
                now if now == before => return true,
                _ => {}
            }
            // The database has gone away since; nothing that comes after can enter before this.
            tokio::select! {
                () = self.shutdown.cancelled() => return false,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Enters the writes of one group.
    async fn enter(&self, batch: &mut Batch, writes: Vec<Prepared>, applied: &[Applied]) -> Vec<Arc<Change>> {
        let mut changes = Vec::with_capacity(writes.len());
        for (write, applied) in writes.into_iter().zip(applied) {
            let Prepared { hub, key, object, previous } = write;
            let current = object.map(|object| Arc::new(object.at(applied.revision)));
            let previous = match (applied.previous, hub.resource.residence) {
                (None, _) => None,
                (Some(revision), residence) => {
                    let cached = (residence == Residence::Memory).then(|| batch.previous(&key)).flatten();
                    match cached.filter(|object| object.revision == revision) {
                        Some(object) => Some(object),
                        None => Some(self.replaced(batch, &hub, key, revision, previous).await),
                    }
                }
            };
            changes.push(batch.enter(&hub, Change { revision: applied.revision, current, previous }));
        }
        changes
    }

    /// The replaced object of a resource that is not in memory: from the writer, this batch, or the database.
    async fn replaced(
        &self,
        batch: &Batch,
        hub: &Hub,
        key: Key,
        revision: Revision,
        known: Option<Arc<Stored>>,
    ) -> Arc<Stored> {
        if let Some(known) = known.filter(|object| object.revision == revision) {
            return known;
        }
        if let Ok(at) = batch.changes.binary_search_by_key(&revision, |(_, change)| change.revision)
            && let Some(object) = &batch.changes[at].1.current
        {
            return object.clone();
        }
        let value = match self.inner.backend.value(revision).await {
            Ok(value) => value.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, key = key.as_str(), "the replaced object cannot be read");
                Bytes::new()
            }
        };
        hub.resource
            .stored(key.clone(), revision, &value)
            .unwrap_or_else(|_| Arc::new(nameplate(key, revision)))
    }

    /// Reads what other servers have committed, up to a revision or to the head.
    async fn follow(&mut self, upto: Option<Revision>) {
        loop {
            let seen = self.inner.view().revision;
            if upto.is_some_and(|upto| seen >= upto) {
                return;
            }
            let rows = match self.inner.backend.changes(seen, TAIL).await {
                Ok(rows) if rows.is_empty() => return,
                Ok(rows) => rows,
                Err(BackendError::Compacted(_)) => {
                    tracing::warn!(%seen, "fell behind the compacted history; loading anew");
                    if let Err(error) = Loader::new(&self.inner).reload().await {
                        tracing::error!(%error, "loading failed");
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the log cannot be read");
                    return;
                }
            };
            let mut batch = self.inner.batch();
            for row in rows.into_iter().take_while(|row| upto.is_none_or(|upto| row.revision <= upto)) {
                self.learn(&mut batch, &row);
            }
            self.inner.publish(batch, || ());
        }
    }

    /// Enters a row of the log.
    fn learn(&self, batch: &mut Batch, row: &LogRow) {
        batch.view.revision = row.revision;
        let Some(hub) = self.inner.hub(row.key.resource()) else { return };
        match self.inner.change(&hub, row, |key| batch.previous(key)) {
            Ok(change) => {
                batch.enter(&hub, change);
            }
            Err(error) => tracing::error!(%error, "a row of the log is skipped"),
        }
    }
}

/// An object of which only the key is known.
fn nameplate(key: Key, revision: Revision) -> Stored {
    let metadata = serde_json::json!({"metadata": {"name": key.name(), "namespace": key.namespace()}});
    Stored::new(key, revision, metadata.to_string().into(), Index::default())
        .unwrap_or_else(|error| unreachable!("{error}"))
}
