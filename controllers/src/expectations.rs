//! What a controller has done that its informer does not show yet.
//!
//! Between a create and its appearance in the informer, a controller that counts objects would
//! create them again. It notes what it expects and does not manage the owner's objects until
//! that was seen, or until the note is so old that it must be wrong.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use knarr_component::store::Key;
use parking_lot::Mutex;

const EXPIRY: Duration = Duration::from_secs(300);

/// Expected creations and deletions of objects, by the key of their owner.
#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<Key, Expected>>);

struct Expected {
    creations: usize,
    /// UIDs; a deletion is often observed twice (timestamp set, then gone).
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// Notes what is about to be done, before it is done: the informer may be faster.
    pub fn expect(&self, owner: &Key, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let expected =
            Expected { creations, deletions: deletions.into_iter().collect(), since: Instant::now() };
        self.0.lock().insert(owner.clone(), expected);
    }

    /// An object was seen, or failed to be created.
    pub fn created(&self, owner: &Key) {
        if let Some(expected) = self.0.lock().get_mut(owner) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// An object was seen going, or failed to be deleted.
    pub fn deleted(&self, owner: &Key, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(owner) {
            expected.deletions.remove(uid);
        }
    }

    /// The owner is gone.
    pub fn forget(&self, owner: &Key) {
        self.0.lock().remove(owner);
    }

    /// Whether everything expected was seen.
    pub fn satisfied(&self, owner: &Key) -> bool {
        self.0.lock().get(owner).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty()) || expected.since.elapsed() > EXPIRY
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_done_must_be_seen() {
        let (expectations, owner) = (Expectations::default(), Key::new("ns", "rs"));
        assert!(expectations.satisfied(&owner));
        expectations.expect(&owner, 2, ["uid".to_string()]);
        expectations.created(&owner);
        expectations.deleted(&owner, "uid");
        expectations.deleted(&owner, "uid");
        assert!(!expectations.satisfied(&owner));
        expectations.created(&owner);
        assert!(expectations.satisfied(&owner));
        expectations.created(&owner);
        assert!(expectations.satisfied(&owner));
    }
}
