//! `--eviction-hard`: how much of what the node must keep free.

use std::collections::BTreeMap;
use std::str::FromStr;

use knarr_api::quantity::Quantity;

use crate::node::machine::Machine;

/// What is kept free by default.
pub const DEFAULT: &str = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%";

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Bytes of memory that could be had.
    MemoryAvailable,
    /// Bytes free on the disk of volumes and logs.
    NodefsAvailable,
    /// Files that could be made there.
    NodefsInodesFree,
    /// Bytes free on the disk of images.
    ImagefsAvailable,
    /// Files that could be made there.
    ImagefsInodesFree,
    /// Processes that could be started.
    PidAvailable,
}

const SIGNALS: [(Signal, &str, &str); 6] = [
    (Signal::MemoryAvailable, "memory.available", "memory"),
    (Signal::NodefsAvailable, "nodefs.available", "ephemeral-storage"),
    (Signal::NodefsInodesFree, "nodefs.inodesFree", "inodes"),
    (Signal::ImagefsAvailable, "imagefs.available", "ephemeral-storage"),
    (Signal::ImagefsInodesFree, "imagefs.inodesFree", "inodes"),
    (Signal::PidAvailable, "pid.available", "pids"),
];

impl Signal {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        SIGNALS.iter().find(|(signal, ..)| *signal == self).map_or("", |(_, name, _)| name)
    }

    /// The resource that it is about, as messages call it.
    pub fn resource(self) -> &'static str {
        SIGNALS.iter().find(|(signal, ..)| *signal == self).map_or("", |(.., resource)| resource)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Absolute(u64),
    Percent(f64),
}

impl Amount {
    fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Absolute(amount) => amount,
            // Whole units are exact enough, as with the original.
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }
}

/// What must be kept free.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(Vec<(Signal, Amount)>);

/// How much there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What it is.
    pub signal: Signal,
    /// How much of it is free.
    pub available: u64,
    /// How much there is at all.
    pub capacity: u64,
}

/// Something that runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// What it is.
    pub signal: Signal,
    /// How much should be free.
    pub threshold: u64,
    /// How much is.
    pub available: u64,
}

impl Thresholds {
    /// What runs short; memory before all else, as it cannot wait.
    pub fn met(&self, levels: &[Level]) -> Vec<Short> {
        let mut short: Vec<Short> = self
            .0
            .iter()
            .filter_map(|(signal, amount)| {
                let level = levels.iter().find(|level| level.signal == *signal)?;
                let threshold = amount.of(level.capacity);
                let (signal, available) = (*signal, level.available);
                (available < threshold).then_some(Short { signal, threshold, available })
            })
            .collect();
        short.sort_by_key(|short| short.signal);
        short
    }

    /// The thresholds as a configuration file has them.
    pub fn settings(&self) -> BTreeMap<&'static str, String> {
        let text = |amount: Amount| match amount {
            Amount::Absolute(amount) => quantity(amount),
            Amount::Percent(percent) => format!("{percent}%"),
        };
        self.0.iter().map(|(signal, amount)| (signal.name(), text(*amount))).collect()
    }

    /// What is held back from pods, so that they do not come near a threshold: bytes of memory and of disk.
    pub fn reserved(&self, machine: &Machine) -> (i64, i64) {
        let of = |signal, capacity: i64| {
            let amount = self.0.iter().find(|(known, _)| *known == signal).map(|(_, amount)| *amount);
            let capacity = u64::try_from(capacity).unwrap_or(0);
            amount.map_or(0, |amount| i64::try_from(amount.of(capacity)).unwrap_or(i64::MAX))
        };
        (of(Signal::MemoryAvailable, machine.memory), of(Signal::NodefsAvailable, machine.disk))
    }
}

/// An amount in the largest binary unit that leaves no rest.
fn quantity(amount: u64) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let fits = |(_, bits): &&(&str, u32)| amount > 0 && amount.trailing_zeros() >= *bits;
    match units.iter().find(fits) {
        Some((unit, bits)) => format!("{}{unit}", amount >> bits),
        None => amount.to_string(),
    }
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let bad = |why: String| format!("invalid eviction threshold {entry:?}: {why}");
            let (name, amount) = entry.split_once('<').ok_or_else(|| bad("it has no <".to_owned()))?;
            let signal = SIGNALS.iter().find(|(_, known, _)| *known == name);
            let (signal, ..) = signal.ok_or_else(|| bad(format!("unknown signal {name:?}")))?;
            if all.iter().any(|(known, _)| known == signal) {
                return Err(bad("the signal is there twice".to_owned()));
            }
            all.push((*signal, amount_of(amount).map_err(bad)?));
        }
        Ok(Self(all))
    }
}

fn amount_of(text: &str) -> Result<Amount, String> {
    if let Some(percent) = text.strip_suffix('%') {
        let value = percent.parse::<f64>().ok().filter(|value| (0.0..100.0).contains(value));
        return value.map(Amount::Percent).ok_or_else(|| format!("{text:?} is no percentage below 100"));
    }
    let quantity = text.parse::<Quantity>().map_err(|error| format!("{text:?}: {error}"))?;
    u64::try_from(quantity.value()).map(Amount::Absolute).map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let default: Thresholds = DEFAULT.parse().unwrap();
        assert_eq!(default.settings()["memory.available"], "100Mi");
        assert_eq!(default.settings()["nodefs.inodesFree"], "5%");
        assert_eq!("".parse::<Thresholds>(), Ok(Thresholds::default()));
        for bad in
            ["memory.available", "x<1", "memory.available<x", "memory.available<100%", "pid.available<-1"]
        {
            assert!(bad.parse::<Thresholds>().is_err(), "{bad}");
        }
        assert!("pid.available<1,pid.available<2".parse::<Thresholds>().is_err());
    }

    #[test]
    fn shortages() {
        let thresholds: Thresholds = "nodefs.available<10%,memory.available<100".parse().unwrap();
        let level = |signal, available| Level { signal, available, capacity: 1000 };
        let met = |memory, disk| -> Vec<Signal> {
            let levels = [level(Signal::NodefsAvailable, disk), level(Signal::MemoryAvailable, memory)];
            thresholds.met(&levels).into_iter().map(|short| short.signal).collect()
        };
        assert_eq!(met(100, 100), []);
        assert_eq!(met(100, 99), [Signal::NodefsAvailable]);
        assert_eq!(met(99, 99), [Signal::MemoryAvailable, Signal::NodefsAvailable]);
        let machine = Machine { memory: 5000, disk: 3000, ..Default::default() };
        assert_eq!(thresholds.reserved(&machine), (100, 300));
    }
}
