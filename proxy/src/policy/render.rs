//! The rules of one direction: a chain that returns what the policies of a pod allow and drops the rest.

use std::collections::BTreeMap;

use super::model::{Numbers, Peer, Policy, Port, Rule, port_set};
use crate::nft::Family;

/// The direction of connections, from the view of the pod that a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// To it.
    Ingress,
    /// From it.
    Egress,
}

impl Direction {
    pub(super) const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    /// Name of the map from pods' addresses to chains.
    pub(super) fn map(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }

    /// What a policy allows in this direction, if it is about it.
    pub(super) fn of(self, policy: &Policy) -> Option<&[Rule]> {
        match self {
            Direction::Ingress => policy.ingress.as_deref(),
            Direction::Egress => policy.egress.as_deref(),
        }
    }

    /// The peer's address in a packet.
    fn peer(self) -> &'static str {
        match self {
            Direction::Ingress => "saddr",
            Direction::Egress => "daddr",
        }
    }
}

/// The chain of the pods that these policies are about.
pub(super) fn chain(policies: &[&Policy], direction: Direction, family: Family) -> Vec<String> {
    let allowed = policies.iter().filter_map(|policy| direction.of(policy)).flatten();
    let mut rules: Vec<String> = allowed.flat_map(|rule| lines(rule, direction, family)).collect();
    rules.push("drop".to_owned());
    rules
}

/// A line for each pair of a peer and a kind of ports.
fn lines(rule: &Rule, direction: Direction, family: Family) -> Vec<String> {
    let peers = match &rule.peers {
        None => vec![String::new()],
        Some(peers) => peers.iter().filter_map(|peer| peer_match(peer, direction, family)).collect(),
    };
    let ports = rule.ports.as_ref().map_or_else(|| vec![String::new()], |ports| port_matches(ports, family));
    let line = |peer: &String, port: &String| format!("{peer}{port}return");
    peers.iter().flat_map(|peer| ports.iter().map(move |port| line(peer, port))).collect()
}

/// A match with a blank behind it; none for ranges of the other family.
fn peer_match(peer: &Peer, direction: Direction, family: Family) -> Option<String> {
    let (ip, address) = (family.ip(), direction.peer());
    match peer {
        Peer::Pods(selection) => Some(format!("{ip} {address} @{} ", selection.set())),
        Peer::Block { range, .. } if Family::of(&range.addr()) != family => None,
        Peer::Block { range, except } => {
            // A range of all addresses is no match: nft takes none with a prefix of no bits.
            let inside = match range.prefix_len() {
                0 => String::new(),
                _ => format!("{ip} {address} {range} "),
            };
            // The API server takes only exceptions that are narrower than the range.
            let outside = except.iter().map(|range| format!("{ip} {address} != {range} "));
            Some(std::iter::once(inside).chain(outside).collect())
        }
    }
}

/// Matches with a blank behind each, one a protocol and one a name.
fn port_matches(ports: &[Port], family: Family) -> Vec<String> {
    let mut numbers: BTreeMap<&str, Vec<(u16, u16)>> = BTreeMap::new();
    let mut matches = Vec::new();
    for port in ports {
        let protocol = port.protocol.as_str();
        match &port.numbers {
            Numbers::All => matches.push(format!("meta l4proto {protocol} ")),
            Numbers::Range(first, last) => numbers.entry(protocol).or_default().push((*first, *last)),
            Numbers::Named(name) => matches.push(format!(
                "{} daddr . meta l4proto . th dport @{} ",
                family.ip(),
                port_set(name, protocol)
            )),
        }
    }
    matches.extend(numbers.into_iter().map(|(protocol, ranges)| {
        let text = |(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let all: Vec<String> = merged(ranges).iter().map(text).collect();
        format!("{protocol} dport {{ {} }} ", all.join(", "))
    }));
    matches
}

/// Ranges in order that do not touch: nft refuses those that overlap.
pub(super) fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.retain(|(first, last)| first <= last);
    ranges.sort_unstable();
    let mut all: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match all.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => all.push((first, last)),
        }
    }
    all
}
