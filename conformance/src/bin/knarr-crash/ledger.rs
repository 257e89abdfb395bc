//! What was acknowledged and what a watch has shown, and whether they fit.
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// A config map at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
    /// `resourceVersion`, which is a number here: the watch's order shows in it.
    pub version: u64,
}

/// Both sides, as far as they are known.
#[derive(Debug, Default)]
pub struct Ledger {
    acknowledged: BTreeMap<String, Write>,
    watched: BTreeMap<String, Write>,
    last: u64,
    complaint: Option<String>,
}

impl Ledger {
    /// A ledger of what follows revision `version`.
    pub fn from(version: u64) -> Self {
        Self { last: version, ..Self::default() }
    }

    /// The server has acknowledged a create.
    pub fn acknowledge(&mut self, write: Write) {
        self.acknowledged.insert(write.name.clone(), write);
    }

    /// The watch has shown a create.
    pub fn watch(&mut self, write: Write) {
        if write.version <= self.last {
            self.complain(format!("the watch shows {write:?} after revision {}", self.last));
        }
        self.last = self.last.max(write.version);
        if let Some(first) = self.watched.insert(write.name.clone(), write) {
            self.complain(format!("the watch shows {first:?} again"));
        }
    }

    /// The watch has told of a revision without an object.
    pub fn bookmark(&mut self, version: u64) {
        self.last = self.last.max(version);
    }

    /// Something that must not happen has happened; the first complaint is kept.
    pub fn complain(&mut self, text: String) {
        self.complaint.get_or_insert(text);
    }

    /// The revision from which the watch is resumed.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Acknowledged writes so far.
    pub fn count(&self) -> usize {
        self.acknowledged.len()
    }

    /// Whether the watch has shown every acknowledged write.
    pub fn caught_up(&self) -> Result<()> {
        match self.acknowledged.keys().find(|name| !self.watched.contains_key(*name)) {
            Some(missing) => bail!("the watch has not shown {missing}, and is at revision {}", self.last),
            None => Ok(()),
        }
    }

    /// Compares with what the server held at revision `at`.
    pub fn check(&self, held: &[Write], at: u64) -> Result<()> {
        if let Some(complaint) = &self.complaint {
            bail!("{complaint}");
        }
        let held: BTreeMap<&str, &Write> = held.iter().map(|write| (write.name.as_str(), write)).collect();
        for (name, write) in self.acknowledged.iter().filter(|(_, write)| write.version <= at) {
            let Some(found) = held.get(name.as_str()) else {
                bail!("{write:?} was acknowledged and is gone")
            };
            ensure!(*found == write, "{write:?} was acknowledged, {found:?} is there");
        }
        for (name, write) in self.watched.iter().filter(|(_, write)| write.version <= at) {
            let Some(found) = held.get(name.as_str()) else {
                bail!("the watch has shown {write:?}, which is gone")
            };
            ensure!(*found == write, "the watch has shown {write:?}, {found:?} is there");
        }
        for (name, write) in held {
            let unseen = write.version <= self.last && !self.watched.contains_key(name);
            ensure!(!unseen, "{write:?} is there, and the watch passed it by");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(name: &str, version: u64) -> Write {
        Write { name: name.into(), uid: format!("uid-{name}"), version }
    }

    fn check(acknowledged: &[(&str, u64)], watched: &[(&str, u64)], held: &[(&str, u64)], fits: bool) {
        let mut ledger = Ledger::from(1);
        acknowledged.iter().for_each(|(name, version)| ledger.acknowledge(write(name, *version)));
        watched.iter().for_each(|(name, version)| ledger.watch(write(name, *version)));
        let held: Vec<_> = held.iter().map(|(name, version)| write(name, *version)).collect();
        assert_eq!(ledger.check(&held, 9).is_ok(), fits, "{acknowledged:?} {watched:?} {held:?}");
    }

    #[test]
    fn what_fits() {
        check(&[("a", 2)], &[("a", 2)], &[("a", 2)], true);
        check(&[], &[("a", 2)], &[("a", 2)], true); // made, and its acknowledgement lost
        check(&[("a", 2)], &[("a", 2)], &[("a", 2), ("b", 3)], true); // not yet watched
        check(&[("a", 2)], &[("a", 2)], &[], false); // lost
        check(&[("a", 2)], &[("a", 2)], &[("a", 5)], false); // made again
        check(&[("a", 2)], &[("b", 3)], &[("a", 2), ("b", 3)], false); // a gap
        check(&[], &[("b", 3), ("a", 2)], &[("a", 2), ("b", 3)], false); // out of order
        check(&[], &[("a", 2), ("a", 2)], &[("a", 2)], false); // a repeat
    }

    #[test]
    fn catching_up() {
        let mut ledger = Ledger::from(1);
        ledger.acknowledge(write("a", 2));
        assert!(ledger.caught_up().is_err());
        ledger.watch(write("a", 2));
        assert!(ledger.caught_up().is_ok());
    }
}
