//! The receiving end of a watch.
use super::event::{Event, EventType};
use super::hub::{Hub, Seat};
use super::{Revision, Stored};
use futures::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// Events taken from the queue at once.
const BATCH: usize = 256;

/// Decides whether an object is in a watcher's view; runs on the commit path, so it is cheap and never blocks.
pub type Selector = Arc<dyn Fn(&Stored) -> bool + Send + Sync>;

/// The part of a resource that a watch is about; by it events find their watchers.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this namespace.
    pub namespace: Option<Arc<str>>,
    /// Only objects of this name (`fieldSelector=metadata.name=…`).
    pub name: Option<Arc<str>>,
    /// Only objects whose field has this value; fast if the field is one of [`super::Resource::hot_fields`].
    pub field: Option<(Arc<str>, Arc<str>)>,
}

impl Scope {
    /// Whether an object is in scope.
    pub fn contains(&self, object: &Stored) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| object.key.namespace() == &**namespace)
            && self.name.as_ref().is_none_or(|name| object.key.name() == &**name)
            && self.field.as_ref().is_none_or(|(path, value)| object.field(path) == &**value)
    }
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next change; [`Watcher::start`] tells from which revision.
    Now,
    /// With the first change after this revision, which need not be reached yet.
    After(Revision),
}

/// Why a watch could not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The revision is older than the events still held (410 `Expired`).
    #[error("too old resource version: {requested} ({oldest})")]
    Gone {
        /// The revision asked for.
        requested: Revision,
        /// The oldest revision a watch can begin after.
        oldest: Revision,
    },
    /// The resource is not registered.
    #[error("resource {0} is not stored")]
    Unknown(String),
}

/// Why a running watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher did not keep up; it may resume after the last revision it saw.
    #[error("the watcher was too slow")]
    TooSlow,
    /// The resource was rebuilt or removed: list again (410 `Expired`).
    #[error("the resource was rebuilt")]
    Gone,
    /// The store is closing.
    #[error("the server is shutting down")]
    Closed,
}

/// A change as one watcher sees it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Added, modified or deleted, in the watcher's view.
    pub event_type: EventType,
    /// The event with the encodings it shares with other watchers.
    pub event: Arc<Event>,
}

/// A stream of batches of events in commit order; ends after one [`WatchEnd`]. Dropping it ends the watch.
pub struct Watcher {
    start: Revision,
    last: Revision,
    backlog: VecDeque<Delivery>,
    queue: mpsc::Receiver<Delivery>,
    end: Arc<OnceLock<WatchEnd>>,
    ended: bool,
    published: Arc<AtomicU64>,
    hub: Arc<Hub>,
    seat: Seat,
}

/// What the hub gives a new watcher.
pub(super) struct Entrance {
    pub start: Revision,
    pub backlog: VecDeque<Delivery>,
    pub queue: mpsc::Receiver<Delivery>,
    pub end: Arc<OnceLock<WatchEnd>>,
    pub seat: Seat,
}

impl Watcher {
    pub(super) fn new(entrance: Entrance, hub: Arc<Hub>, published: Arc<AtomicU64>) -> Self {
        let Entrance { start, backlog, queue, end, seat } = entrance;
        Self { start, last: start, backlog, queue, end, ended: false, published, hub, seat }
    }

    /// The revision after which the watch began.
    pub fn start(&self) -> Revision {
        self.start
    }

    /// The next events, at least one; cancel-safe. After the error the watch is over.
    pub async fn next(&mut self) -> Result<Vec<Delivery>, WatchEnd> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    /// A revision up to which every event of this watch has been returned: what a bookmark may say.
    pub fn progress(&self) -> Revision {
        let published = Revision(self.published.load(Ordering::Acquire));
        let idle = self.backlog.is_empty() && self.queue.is_empty() && !self.queue.is_closed();
        if idle { self.last.max(published) } else { self.last }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<Delivery>, WatchEnd>> {
        let mut batch: Vec<_> = self.backlog.drain(..self.backlog.len().min(BATCH)).collect();
        if batch.is_empty() {
            ready!(self.queue.poll_recv_many(context, &mut batch, BATCH));
        }
        match batch.last() {
            Some(delivery) => {
                self.last = delivery.event.revision();
                Poll::Ready(Ok(batch))
            }
            None => Poll::Ready(Err(self.end.get().copied().unwrap_or(WatchEnd::Closed))),
        }
    }
}

impl Stream for Watcher {
    type Item = Result<Vec<Delivery>, WatchEnd>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let batch = ready!(self.poll_batch(context));
        self.ended = batch.is_err();
        Poll::Ready(Some(batch))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.leave(&self.seat);
    }
}
