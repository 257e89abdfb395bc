//! The rules of one direction: a chain that returns what the policies of a pod allow and drops the rest.

use std::collections::BTreeMap;

use super::model::{Numbers, Peer, Policy, Port, Rule, port_set};
use crate::nft::{self, Family, Field, Protocol, Side, Statement, Verdict};

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

    /// The peer's end of a packet's way.
    fn peer(self) -> Side {
        match self {
            Direction::Ingress => Side::Source,
            Direction::Egress => Side::Destination,
        }
    }

    /// The peer's address in a packet.
    fn peer_address(self) -> &'static [Field] {
        match self {
            Direction::Ingress => &[Field::Source],
            Direction::Egress => &[Field::Destination],
        }
    }
}

/// The chain of the pods that these policies are about.
pub(super) fn chain(policies: &[&Policy], direction: Direction, family: Family) -> Vec<nft::Rule> {
    let allowed = policies.iter().filter_map(|policy| direction.of(policy)).flatten();
    let mut rules: Vec<nft::Rule> = allowed.flat_map(|rule| lines(rule, direction, family)).collect();
    rules.push(vec![Statement::drop()]);
    rules
}

/// A line for each pair of a peer and a kind of ports.
fn lines(rule: &Rule, direction: Direction, family: Family) -> Vec<nft::Rule> {
    let peers = match &rule.peers {
        None => vec![Vec::new()],
        Some(peers) => peers.iter().filter_map(|peer| peer_match(peer, direction, family)).collect(),
    };
    let ports = rule.ports.as_ref().map_or_else(|| vec![Vec::new()], |ports| port_matches(ports));
    let line = |peer: &nft::Rule, port: &nft::Rule| {
        let matches = peer.iter().chain(port).cloned();
        matches.chain([Statement::Go(Verdict::Return)]).collect()
    };
    peers.iter().flat_map(|peer| ports.iter().map(move |port| line(peer, port))).collect()
}

/// Matches of a peer; none for ranges of the other family.
fn peer_match(peer: &Peer, direction: Direction, family: Family) -> Option<nft::Rule> {
    match peer {
        Peer::Pods(selection) => Some(vec![Statement::among(direction.peer_address(), selection.set())]),
        Peer::Block { range, .. } if Family::of(&range.addr()) != family => None,
        Peer::Block { range, except } => {
            // A range of all addresses is no match.
            let inside = (range.prefix_len() > 0).then(|| Statement::within(direction.peer(), [*range]));
            // The API server takes only exceptions that are narrower than the range.
            let outside = except.iter().map(|range| Statement::outside(direction.peer(), [*range]));
            Some(inside.into_iter().chain(outside).collect())
        }
    }
}

/// Matches of ports, one a protocol and one a name.
fn port_matches(ports: &[Port]) -> Vec<nft::Rule> {
    const NAMED: &[Field] = &[Field::Destination, Field::Protocol, Field::Port];
    let mut numbers: BTreeMap<Protocol, Vec<(u16, u16)>> = BTreeMap::new();
    let mut matches = Vec::new();
    for port in ports {
        let protocol = port.protocol;
        match &port.numbers {
            Numbers::All => matches.push(vec![Statement::Protocol(protocol)]),
            Numbers::Range(first, last) => numbers.entry(protocol).or_default().push((*first, *last)),
            Numbers::Named(name) => matches.push(vec![Statement::among(NAMED, port_set(name, protocol))]),
        }
    }
    let merged = numbers.into_iter().map(|(protocol, ranges)| (protocol, merged(ranges)));
    let of_protocol = merged.filter(|(_, ranges)| !ranges.is_empty());
    matches.extend(of_protocol.map(|(protocol, ranges)| vec![Statement::Ports(protocol, ranges.into())]));
    matches
}

/// Ranges in order that do not touch, as a set of ranges wants them.
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
