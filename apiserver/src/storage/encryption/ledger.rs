//! What is known of the live objects of encrypted resources: with which key each is stored, and which cannot be read.
use super::super::{Key, Revision};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How much is stored as it would be written now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Tally {
    /// Live objects of resources that the configuration names.
    pub total: usize,
    /// Those stored with another key than the first, or in the clear.
    pub stale: usize,
    /// Those that cannot be decrypted.
    pub unreadable: usize,
}

#[derive(Default)]
struct Known {
    /// With the revision it was seen at.
    labels: BTreeMap<Key, (Revision, Arc<str>)>,
    unreadable: BTreeMap<Key, (Revision, String)>,
}

/// The ledger.
#[derive(Default)]
pub struct Ledger(Mutex<Known>);

impl Ledger {
    /// A value was seen or written at a revision; an older sighting than a known one does not count.
    pub fn seen(&self, key: &Key, revision: Revision, label: Result<Arc<str>, String>) {
        let mut known = self.0.lock();
        let newest = known.labels.get(key).map(|(at, _)| *at);
        let newest = newest.max(known.unreadable.get(key).map(|(at, _)| *at));
        if newest.is_some_and(|at| at > revision) {
            return;
        }
        match label {
            Ok(label) => {
                known.unreadable.remove(key);
                known.labels.insert(key.clone(), (revision, label));
            }
            Err(error) => {
                known.labels.remove(key);
                known.unreadable.insert(key.clone(), (revision, error));
            }
        }
    }

    /// An object is gone.
    pub fn gone(&self, key: &Key) {
        let mut known = self.0.lock();
        known.labels.remove(key);
        known.unreadable.remove(key);
    }

    /// What the object of a key is stored with.
    pub fn label(&self, key: &Key) -> Option<Arc<str>> {
        self.0.lock().labels.get(key).map(|(_, label)| label.clone())
    }

    /// Why the object of a key cannot be read.
    pub fn unreadable(&self, key: &Key) -> Option<String> {
        let known = self.0.lock();
        if known.unreadable.is_empty() {
            return None;
        }
        known.unreadable.get(key).map(|(_, error)| error.clone())
    }

    /// Resources with objects that cannot be read.
    pub fn troubled(&self) -> BTreeSet<String> {
        self.0.lock().unreadable.keys().map(|key| key.resource().to_owned()).collect()
    }

    /// Counts.
    pub fn tally(&self, covers: impl Fn(&str) -> bool, wanted: impl Fn(&str) -> Option<Arc<str>>) -> Tally {
        let known = self.0.lock();
        let stale = known.labels.iter().filter(|(key, (_, label))| is_stale(&wanted, key, label)).count();
        let unreadable = known.unreadable.len();
        let total = known.labels.keys().filter(|key| covers(key.resource())).count();
        Tally { total: total + unreadable, stale, unreadable }
    }

    /// Keys of objects stored otherwise than wanted.
    pub fn stale(&self, limit: usize, wanted: impl Fn(&str) -> Option<Arc<str>>) -> Vec<Key> {
        let known = self.0.lock();
        let stale = known.labels.iter().filter(|(key, (_, label))| is_stale(&wanted, key, label));
        stale.map(|(key, _)| key.clone()).take(limit).collect()
    }
}

fn is_stale(wanted: &impl Fn(&str) -> Option<Arc<str>>, key: &Key, label: &Arc<str>) -> bool {
    wanted(key.resource()).is_some_and(|wanted| wanted != *label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sighting_counts() {
        let ledger = Ledger::default();
        let key = Key::new("core/secrets", "n", "a");
        let wanted = |_: &str| Some("k2".into());
        ledger.seen(&key, Revision(5), Ok("k1".into()));
        ledger.seen(&key, Revision(3), Ok("k2".into()));
        assert_eq!(ledger.tally(|_| true, wanted), Tally { total: 1, stale: 1, unreadable: 0 });
        assert_eq!(ledger.stale(10, wanted), std::slice::from_ref(&key));
        ledger.seen(&key, Revision(6), Err("no key".into()));
        assert_eq!(ledger.unreadable(&key).as_deref(), Some("no key"));
        assert_eq!(ledger.tally(|_| true, wanted), Tally { total: 1, stale: 0, unreadable: 1 });
        ledger.seen(&key, Revision(7), Ok("k2".into()));
        assert_eq!(ledger.tally(|_| true, wanted), Tally { total: 1, stale: 0, unreadable: 0 });
        ledger.gone(&key);
        assert_eq!(ledger.tally(|_| true, wanted), Tally::default());
    }
}
