//! The watchers of one resource and the events they may still ask for.

/// A watcher's place in the index.
pub(super) struct Seat;

/// Ring and watchers.
pub(super) struct Hub;

impl Hub {
    pub(super) fn leave(&self, _seat: &Seat) {}
}
