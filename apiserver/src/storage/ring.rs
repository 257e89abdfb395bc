//! The recent changes of one resource, in commit order, bounded in bytes.
use super::snapshot::Objects;
use super::{Change, Revision};
use std::collections::VecDeque;
use std::sync::Arc;

/// A queue of changes; the oldest make room for the newest.
#[derive(Debug)]
pub(super) struct Ring {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    limit: usize,
    /// Every change of the resource after this revision is held.
    start: Revision,
}

impl Ring {
    /// An empty ring of at most `limit` bytes; nothing has happened to the resource after `start`.
    pub fn new(start: Revision, limit: usize) -> Self {
        Self { changes: VecDeque::new(), bytes: 0, limit, start }
    }

    /// The oldest revision from which changes are complete.
    pub fn start(&self) -> Revision {
        self.start
    }

    /// Appends a change, newer than all before.
    pub fn push(&mut self, change: Arc<Change>) {
        self.bytes += change.size();
        self.changes.push_back(change);
        while self.bytes > self.limit
            && let Some(oldest) = self.changes.pop_front()
        {
            self.bytes -= oldest.size();
            self.start = oldest.revision;
        }
    }

    /// The changes after one revision up to another, oldest first.
    pub fn between(&self, after: Revision, upto: Revision) -> impl DoubleEndedIterator<Item = &Arc<Change>> {
        let start = self.changes.partition_point(|change| change.revision <= after);
        let end = self.changes.partition_point(|change| change.revision <= upto).max(start);
        self.changes.range(start..end)
    }

    /// Takes `objects` back from revision `now` to `at`; false, and nothing done, if that is too long ago.
    pub fn undo(&self, objects: &mut Objects, now: Revision, at: Revision) -> bool {
        if at < self.start {
            return false;
        }
        for change in self.between(at, now).rev() {
            match &change.previous {
                Some(previous) => objects.insert(previous.key.clone(), previous.clone()),
                None => objects.remove(change.key()),
            };
        }
        true
    }
}
