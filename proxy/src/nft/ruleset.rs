//! The wanted content of a cluster's tables, as plain data.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::rule::{Key, Kind, Name, Rule, Side, Value};

/// An address family; each has a table of its own, since NAT rules name addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, in the order in which tables are written.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(ip: &IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// nft's name of the family, which is also its name of the protocol's header in a rule.
    pub fn ip(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// The kernel's number of the family in netfilter.
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Bytes of an address.
    pub(super) fn address_length(self) -> u32 {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// Where an address begins in the header.
    pub(super) fn address_at(self, side: Side) -> u32 {
        match (self, side) {
            (Family::V4, Side::Source) => 12,
            (Family::V4, Side::Destination) => 16,
            (Family::V6, Side::Source) => 8,
            (Family::V6, Side::Destination) => 24,
        }
    }
}

/// Where a base chain meets packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// What its rules may do.
    pub kind: HookKind,
    /// Where on a packet's way.
    pub point: Point,
    /// The lower, the earlier.
    pub priority: i32,
}

/// What the rules of a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// Let pass or not.
    Filter,
    /// Translate the first packet of each connection.
    Nat,
}

/// A point on a packet's way; the values are the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Come in, not routed yet.
    Prerouting = 0,
    /// For this host.
    Input = 1,
    /// For another.
    Forward = 2,
    /// Made on this host.
    Output = 3,
    /// About to leave.
    Postrouting = 4,
}

/// A chain: where it hooks into the stack (a base chain, which lets pass what its rules do not decide) or nothing,
/// and its rules in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// For a base chain its place.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// The declaration of a set or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// What its keys are made of.
    pub key: &'static [Kind],
    /// What it has for a key.
    pub holds: Holds,
    /// Rules may add to it, and what they add goes after these seconds.
    pub timeout: Option<u32>,
}

/// What a set or map has for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing: it is a set.
    Nothing,
    /// A verdict.
    Verdicts,
    /// Values side by side.
    Data(&'static [Kind]),
}

/// The part of the tables that one service (or the base) owns. Fragments never share an object, so a change
/// of one service is the difference of two fragments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Chains by family and name.
    pub chains: BTreeMap<(Family, Name), Chain>,
    /// Sets and maps by family and name. A set that exists is never replaced, since dynamic ones keep what
    /// they learned: what the declaration depends on is part of the name.
    pub sets: BTreeMap<(Family, Name), Set>,
    /// Elements of maps and sets by family, set and key; the value is `None` in sets.
    pub elements: BTreeMap<(Family, Name, Key), Option<Value>>,
}

impl Fragment {
    /// Adds a chain that is jumped to.
    pub fn chain(&mut self, family: Family, name: impl Into<Name>, rules: Vec<Rule>) {
        self.chains.insert((family, name.into()), Chain { hook: None, rules });
    }

    /// Adds a base chain.
    pub fn hook(&mut self, family: Family, name: &'static str, hook: Hook, rules: Vec<Rule>) {
        self.chains.insert((family, name.into()), Chain { hook: Some(hook), rules });
    }

    /// Declares a map.
    pub fn declare_map(&mut self, family: Family, name: impl Into<Name>, key: &'static [Kind], holds: Holds) {
        self.sets.insert((family, name.into()), Set { key, holds, timeout: None });
    }

    /// Declares a set.
    pub fn declare_set(&mut self, family: Family, name: impl Into<Name>, key: &'static [Kind]) {
        self.sets.insert((family, name.into()), Set { key, holds: Holds::Nothing, timeout: None });
    }

    /// Adds an element to a map.
    pub fn map(&mut self, family: Family, map: impl Into<Name>, key: Key, value: Value) {
        self.elements.insert((family, map.into(), key), Some(value));
    }

    /// Adds an element to a set.
    pub fn member(&mut self, family: Family, set: impl Into<Name>, key: Key) {
        self.elements.insert((family, set.into(), key), None);
    }

    /// Number of rules and elements.
    pub fn size(&self) -> usize {
        self.elements.len() + self.chains.values().map(|c| c.rules.len()).sum::<usize>()
    }
}

/// The wanted content of a cluster's tables: the base, and a fragment a service, by `namespace/name`.
/// Cloning costs nothing, and what two states share is passed over when they are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// What is there without any service: hooks, maps, masquerading.
    pub base: Arc<Fragment>,
    services: OrdMap<Arc<str>, Arc<Fragment>>,
    size: usize,
}

impl RuleSet {
    /// A set with a base alone.
    pub fn new(base: Arc<Fragment>) -> RuleSet {
        RuleSet { size: base.size(), base, services: OrdMap::new() }
    }

    /// What each service adds, by key.
    pub fn services(&self) -> impl Iterator<Item = (&str, &Arc<Fragment>)> {
        self.services.iter().map(|(key, fragment)| (&**key, fragment))
    }

    /// What there is: the base, and what each service adds.
    pub fn fragments(&self) -> impl Iterator<Item = &Arc<Fragment>> {
        std::iter::once(&self.base).chain(self.services.values())
    }

    /// What a service adds.
    pub fn get(&self, key: &str) -> Option<&Arc<Fragment>> {
        self.services.get(key)
    }

    /// Puts a fragment in the place of what the service had. An equal one changes nothing.
    pub fn insert(&mut self, key: &str, fragment: Arc<Fragment>) {
        match self.services.get(key) {
            Some(old) if Arc::ptr_eq(old, &fragment) || **old == *fragment => {}
            old => {
                self.size = self.size + fragment.size() - old.map_or(0, |old| old.size());
                self.services.insert(key.into(), fragment);
            }
        }
    }

    /// Takes away what a service had.
    pub fn remove(&mut self, key: &str) {
        if let Some(old) = self.services.remove(key) {
            self.size -= old.size();
        }
    }

    /// Number of rules and elements.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What the services had and have, as far as that differs from another state's.
    pub fn changes<'a>(&'a self, new: &'a RuleSet) -> impl Iterator<Item = Change<'a>> {
        self.services.diff(&new.services).map(|item| match item {
            DiffItem::Add(_, new) => (None, Some(&**new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(&**old), Some(&**new)),
            DiffItem::Remove(_, old) => (Some(&**old), None),
        })
    }
}

/// What a service had and has.
pub type Change<'a> = (Option<&'a Fragment>, Option<&'a Fragment>);
