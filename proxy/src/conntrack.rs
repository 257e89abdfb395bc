//! Removal of UDP flows that the kernel would go on translating to an endpoint that is gone.
//!
//! A TCP connection ends with its endpoint. A UDP client that keeps its port keeps its flow, and with it the
//! endpoint of its first datagram (or none, if the service had none then), until the flow is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::netfilter::{Message, Socket, attribute, attribute_with_header};
use crate::service::{Plan, Plans, plan};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const UDP: u8 = 17;

/// Attributes of a flow, and within them of a tuple.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;

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

/// A flow as far as staleness depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    /// Where the client sent its datagram.
    destination: SocketAddr,
    /// Who answers: the endpoint after translation.
    replier: SocketAddr,
}

/// The UDP front ends whose endpoints differ between two states. Those that are gone have no endpoints.
pub fn changed(old: &Plans, new: &Plans) -> Vec<UdpFrontend> {
    let mut changed = Vec::new();
    for (_, before, now) in plan::changes(old, new) {
        let is_kept = |f: &UdpFrontend| now.is_some_and(|now| has(now, f));
        let gone = before.iter().flat_map(|before| &before.udp).filter(|f| !is_kept(f));
        changed.extend(gone.map(|f| UdpFrontend { endpoints: Vec::new(), ..f.clone() }));
        let same = |f: &&UdpFrontend| before.is_some_and(|before| before.udp.contains(f));
        changed.extend(now.iter().flat_map(|now| &now.udp).filter(|f| !same(f)).cloned());
    }
    changed
}

fn has(plan: &Plan, frontend: &UdpFrontend) -> bool {
    plan.udp.iter().any(|f| (f.address, f.port) == (frontend.address, frontend.port))
}

/// Deletes the flows of these front ends that lead elsewhere than to their endpoints; returns how many.
/// Blocks, and works in the network namespace of the calling thread.
pub fn clean(frontends: &[UdpFrontend]) -> io::Result<usize> {
    if frontends.is_empty() {
        return Ok(0);
    }
    let by_address: BTreeMap<(Option<IpAddr>, u16), &[SocketAddr]> =
        frontends.iter().map(|f| ((f.address, f.port), f.endpoints.as_slice())).collect();
    let local = local_addresses();
    let socket = Socket::open()?;
    let everything = Message { kind: GET, family: 0, attributes: Vec::new() };
    let mut deleted = 0;
    for message in socket.dump(&everything)? {
        let Some(flow) = flow(&message) else { continue };
        if !is_stale(&flow, &by_address, &local) {
            continue;
        }
        match socket.command(&deletion(&message)) {
            Ok(()) => deleted += 1,
            // It has just ended by itself.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

/// Addresses of this host's interfaces; none if the system does not tell.
pub(crate) fn local_addresses() -> BTreeSet<IpAddr> {
    let ip = |address: &SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let all = getifaddrs().into_iter().flatten();
    all.filter_map(|interface| ip(&interface.address?)).collect()
}

/// Whether a flow leads elsewhere than its front end's endpoints.
fn is_stale(
    flow: &Flow,
    frontends: &BTreeMap<(Option<IpAddr>, u16), &[SocketAddr]>,
    local: &BTreeSet<IpAddr>,
) -> bool {
    let (ip, port) = (flow.destination.ip(), flow.destination.port());
    match frontends.get(&(Some(ip), port)) {
        Some(endpoints) => !endpoints.contains(&flow.replier),
        // The port alone says little: as a node port it was used by a flow that was translated, or that
        // went to this host before there was anything to translate it to.
        None => frontends.get(&(None, port)).is_some_and(|endpoints| {
            let by_node_port = flow.replier != flow.destination || local.contains(&ip);
            by_node_port && !endpoints.contains(&flow.replier)
        }),
    }
}

fn flow(message: &Message) -> Option<Flow> {
    let original = attribute(&message.attributes, TUPLE_ORIGINAL)?;
    let reply = attribute(&message.attributes, TUPLE_REPLY)?;
    let protocol = attribute(attribute(original, TUPLE_PROTOCOL)?, 1)?;
    (protocol == [UDP]).then_some(())?;
    Some(Flow { destination: end(original, Side::Destination)?, replier: end(reply, Side::Source)? })
}

/// An end of a tuple; the attributes' numbers differ by one.
enum Side {
    Source,
    Destination,
}

fn end(tuple: &[u8], side: Side) -> Option<SocketAddr> {
    let (v4, v6, port) = match side {
        Side::Source => (1, 3, 2),
        Side::Destination => (2, 4, 3),
    };
    let ips = attribute(tuple, TUPLE_IP)?;
    let ip = match attribute(ips, v4).map(<[u8; 4]>::try_from) {
        Some(Ok(bytes)) => IpAddr::V4(Ipv4Addr::from(bytes)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(attribute(ips, v6)?).ok()?)),
    };
    let port = <[u8; 2]>::try_from(attribute(attribute(tuple, TUPLE_PROTOCOL)?, port)?).ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

/// The request to delete a flow: its tuple and zone, as the kernel gave them.
fn deletion(message: &Message) -> Message {
    let mut attributes = Vec::new();
    for kind in [TUPLE_ORIGINAL, ZONE] {
        if let Some(attribute) = attribute_with_header(&message.attributes, kind) {
            attributes.extend(attribute);
            attributes.resize(attributes.len().div_ceil(4) * 4, 0);
        }
    }
    Message { kind: DELETE, family: message.family, attributes }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    #[test]
    fn flows_to_other_endpoints_are_stale() {
        let endpoints = [at("10.0.0.1:53")];
        let frontends = BTreeMap::from([
            ((Some("10.96.0.10".parse().expect("ip")), 53), &endpoints[..]),
            ((None, 30053), &endpoints[..]),
        ]);
        let local = BTreeSet::from(["192.0.2.1".parse().expect("ip")]);
        let check = |destination: &str, replier: &str, expected: bool| {
            let flow = Flow { destination: at(destination), replier: at(replier) };
            assert_eq!(is_stale(&flow, &frontends, &local), expected, "{destination} {replier}");
        };
        check("10.96.0.10:53", "10.0.0.1:53", false);
        check("10.96.0.10:53", "10.0.0.2:53", true);
        check("10.96.0.10:53", "10.96.0.10:53", true);
        check("10.96.0.10:54", "10.0.0.2:53", false);
        check("192.0.2.1:30053", "10.0.0.1:53", false);
        check("192.0.2.1:30053", "10.0.0.2:53", true);
        check("192.0.2.9:30053", "192.0.2.9:30053", false);
        check("192.0.2.1:30053", "192.0.2.1:30053", true);
    }

    #[test]
    fn only_changed_front_ends_are_looked_at() {
        let frontend = |port, endpoints: &[&str]| UdpFrontend {
            address: None,
            port,
            endpoints: endpoints.iter().map(|e| at(e)).collect(),
        };
        let set = |frontends: Vec<UdpFrontend>| {
            let plan = Arc::new(Plan { udp: frontends, ..Plan::default() });
            Plans::from_iter([(Arc::from("a/b"), plan)])
        };
        let one = set(vec![frontend(1, &["10.0.0.1:1"]), frontend(2, &["10.0.0.1:2"])]);
        let two = set(vec![frontend(1, &["10.0.0.1:1"]), frontend(3, &["10.0.0.1:3"])]);
        assert_eq!(changed(&one, &one), []);
        assert_eq!(changed(&one, &two), [frontend(2, &[]), frontend(3, &["10.0.0.1:3"])]);
        assert_eq!(changed(&one, &Plans::new()), [frontend(1, &[]), frontend(2, &[])]);
    }
}
