//! The wanted content of a cluster's tables, as plain data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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

    /// nft's type of an address of the family.
    pub fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }
}

/// A chain: where it hooks into the stack (a base chain) or nothing, and its rules in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// For a base chain its type, hook and priority, as nft writes them.
    pub hook: Option<&'static str>,
    /// Rules, each as nft writes it.
    pub rules: Vec<String>,
}

impl Chain {
    /// A chain that is jumped to.
    pub fn of(rules: impl IntoIterator<Item = String>) -> Chain {
        Chain { hook: None, rules: rules.into_iter().collect() }
    }
}

/// The declaration of a set or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// nft's word for it: `set` or `map`.
    pub kind: &'static str,
    /// What stands between the braces.
    pub declaration: String,
}

/// A UDP address and port that services answer on, with the endpoints that may. Flows that were translated
/// to any other endpoint are stale: UDP has no end of connection that would remove them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpFrontend {
    /// Address before translation; `None` is any address of the node (a node port).
    pub address: Option<IpAddr>,
    /// Port before translation.
    pub port: u16,
    /// Where it may be translated to.
    pub endpoints: Vec<SocketAddr>,
}

/// The part of the tables that one service (or the base) owns. Fragments never share an object, so a change
/// of one service is the difference of two fragments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Chains by family and name.
    pub chains: BTreeMap<(Family, String), Chain>,
    /// Sets and maps by family and name. A set that exists is never replaced, since dynamic ones keep what
    /// they learned: what the declaration depends on is part of the name.
    pub sets: BTreeMap<(Family, String), Set>,
    /// Elements of maps and sets by family, set and key; the value is `None` in sets.
    pub elements: BTreeMap<(Family, Cow<'static, str>, String), Option<String>>,
    /// UDP front ends, in order.
    pub udp: Vec<UdpFrontend>,
}

impl Fragment {
    /// Adds a chain that is jumped to.
    pub fn chain(&mut self, family: Family, name: impl Into<String>, rules: Vec<String>) {
        self.chains.insert((family, name.into()), Chain::of(rules));
    }

    /// Adds a base chain.
    pub fn hook(&mut self, family: Family, name: &str, hook: &'static str, rules: Vec<String>) {
        self.chains.insert((family, name.to_owned()), Chain { hook: Some(hook), rules });
    }

    /// Declares a map.
    pub fn declare_map(&mut self, family: Family, name: impl Into<String>, declaration: String) {
        self.sets.insert((family, name.into()), Set { kind: "map", declaration });
    }

    /// Declares a set.
    pub fn declare_set(&mut self, family: Family, name: impl Into<String>, declaration: String) {
        self.sets.insert((family, name.into()), Set { kind: "set", declaration });
    }

    /// Adds an element to a map.
    pub fn map(&mut self, family: Family, map: &'static str, key: String, verdict: impl Into<String>) {
        self.elements.insert((family, Cow::Borrowed(map), key), Some(verdict.into()));
    }

    /// Adds an element to a set.
    pub fn member(&mut self, family: Family, set: impl Into<Cow<'static, str>>, key: String) {
        self.elements.insert((family, set.into(), key), None);
    }

    /// Number of rules and elements.
    pub fn size(&self) -> usize {
        self.elements.len() + self.chains.values().map(|c| c.rules.len()).sum::<usize>()
    }
}

/// The wanted content of a cluster's tables: the base, and a fragment a service, by `namespace/name`.
/// Cloning is cheap and unchanged fragments stay shared, so two states compare by pointer first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// What is there without any service: hooks, maps, masquerading.
    pub base: Arc<Fragment>,
    /// What each service adds.
    pub services: BTreeMap<String, Arc<Fragment>>,
}

impl RuleSet {
    /// Number of rules and elements.
    pub fn size(&self) -> usize {
        self.base.size() + self.services.values().map(|f| f.size()).sum::<usize>()
    }
}
