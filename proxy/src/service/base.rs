//! Rules that are there without any service: where packets enter, masquerading, refusals.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Config, ranges};
use crate::nft::{
    Family, Field, Fragment, Holds, Hook, HookKind, Kind, Name, Point, Protocol, Refusal, Rule, Side,
    Statement, Value, Verdict, Way, state,
};

/// Verdicts by address, protocol and port.
pub(super) const SERVICE_IPS: &str = "service-ips";
/// Verdicts by protocol and port, for the node's own addresses.
pub(super) const NODE_PORTS: &str = "service-nodeports";
/// Verdicts by protocol and port, for ports of the host that are published.
pub(super) const PUBLISHED: &str = "published-ports";
/// Endpoints by what leads to them in each of the maps above, and a number.
pub(super) const SERVICE_ENDPOINTS: &str = "service-endpoints";
pub(super) const NODE_PORT_ENDPOINTS: &str = "nodeport-endpoints";
pub(super) const PUBLISHED_ENDPOINTS: &str = "published-endpoints";
/// The same of those on this node, where only these serve clients outside.
pub(super) const SERVICE_LOCAL_ENDPOINTS: &str = "service-local-endpoints";
pub(super) const NODE_PORT_LOCAL_ENDPOINTS: &str = "nodeport-local-endpoints";
pub(super) const PUBLISHED_LOCAL_ENDPOINTS: &str = "published-local-endpoints";
/// Pairs of an address of this node's endpoints with itself: an endpoint that calls its own service would answer
/// itself directly.
pub(super) const THEMSELVES: &str = "themselves";
/// All virtual addresses of the cluster: what is still addressed to one after translation is refused.
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
/// The chain that refuses at once: plain ICMP makes TCP clients on the host wait a second.
pub(super) const REFUSE: &str = "refuse";
/// The chain that asks for masquerading when the packet leaves.
pub(super) const MARK: &str = "mark-masquerade";

/// Addresses of the loopback interface.
pub(crate) const LOCALHOST: IpNet = v4(Ipv4Addr::new(127, 0, 0, 0), 8);
pub(crate) const LOCALHOST_6: IpNet = v6(Ipv6Addr::LOCALHOST, 128);
/// Addresses of groups.
const GROUPS: IpNet = v4(Ipv4Addr::new(224, 0, 0, 0), 4);
const GROUPS_6: IpNet = v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);
/// The usual priorities of translation before and after routing.
const BEFORE_ROUTING: i32 = -100;
const AFTER_ROUTING: i32 = 100;
/// What front ends are told apart by.
pub(super) const FRONTEND: &[Field] = &[Field::Destination, Field::Protocol, Field::Port];
pub(super) const PORT: &[Field] = &[Field::Protocol, Field::Port];
/// The port of DNS.
const DNS: u16 = 53;

const fn v4(ip: Ipv4Addr, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(ip, length))
}

const fn v6(ip: Ipv6Addr, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(ip, length))
}

/// The base of both families.
pub(super) fn fragment(config: &Config) -> Fragment {
    let mut base = Fragment::default();
    for family in Family::ALL {
        maps(&mut base, family, config);
        entry(&mut base, family, config);
        masquerade(&mut base, family, config);
        filter(&mut base, family, config);
        dns(&mut base, family, config);
    }
    base
}

fn maps(base: &mut Fragment, family: Family, config: &Config) {
    const ENDPOINT: Holds = Holds::Data(&[Kind::Address, Kind::Port]);
    const BY_PORT: &[Kind] = &[Kind::Protocol, Kind::Port, Kind::Lot];
    let by_address = &[Kind::Address, Kind::Protocol, Kind::Port, Kind::Lot];
    base.declare_map(family, SERVICE_IPS, &[Kind::Address, Kind::Protocol, Kind::Port], Holds::Verdicts);
    base.declare_map(family, SERVICE_ENDPOINTS, by_address, ENDPOINT);
    base.declare_map(family, SERVICE_LOCAL_ENDPOINTS, by_address, ENDPOINT);
    base.declare_map(family, NODE_PORTS, &[Kind::Protocol, Kind::Port], Holds::Verdicts);
    base.declare_map(family, NODE_PORT_ENDPOINTS, BY_PORT, ENDPOINT);
    base.declare_map(family, NODE_PORT_LOCAL_ENDPOINTS, BY_PORT, ENDPOINT);
    if !config.published.is_empty() {
        base.declare_map(family, PUBLISHED, &[Kind::Protocol, Kind::Port], Holds::Verdicts);
        base.declare_map(family, PUBLISHED_ENDPOINTS, BY_PORT, ENDPOINT);
        base.declare_map(family, PUBLISHED_LOCAL_ENDPOINTS, BY_PORT, ENDPOINT);
    }
    base.declare_set(family, THEMSELVES, &[Kind::Address, Kind::Address]);
    base.declare_set(family, CLUSTER_IPS, &[Kind::Address]);
}

/// Where the first packet of a connection meets the services: coming in, or made on this host.
fn entry(base: &mut Fragment, family: Family, config: &Config) {
    let mut rules = vec![vec![Statement::Lead(FRONTEND, SERVICE_IPS.into())]];
    let of_this_host =
        |map: &'static str| [Statement::Local(Side::Destination), Statement::Lead(PORT, map.into())];
    // There is no route_localnet for IPv6: a packet to ::1 never leaves the loopback interface.
    let localhost = if family == Family::V4 { LOCALHOST } else { LOCALHOST_6 };
    let not_localhost = Statement::outside(Side::Destination, [localhost]);
    let localhost_too = family == Family::V4 && config.localhost_node_ports;
    let not_for_node_ports = (!localhost_too).then(|| not_localhost.clone());
    let addresses = ranges(&config.node_port_addresses, family);
    if config.node_port_addresses.is_empty() || !addresses.is_empty() {
        let at = (!addresses.is_empty()).then(|| Statement::within(Side::Destination, addresses));
        rules.push(at.into_iter().chain(not_for_node_ports).chain(of_this_host(NODE_PORTS)).collect());
    }
    if !config.published.is_empty() {
        let not_localhost = (family == Family::V6).then_some(not_localhost);
        rules.push(not_localhost.into_iter().chain(of_this_host(PUBLISHED)).collect());
    }
    base.chain(family, "services", rules);
    let jump = || vec![vec![Statement::jump("services")]];
    base.hook(family, "nat-prerouting", nat(Point::Prerouting, BEFORE_ROUTING), jump());
    base.hook(family, "nat-output", nat(Point::Output, BEFORE_ROUTING), jump());
}

fn nat(point: Point, priority: i32) -> Hook {
    Hook { kind: HookKind::Nat, point, priority }
}

/// Connections that need this node's address as their source: those marked, and pods leaving the cluster.
fn masquerade(base: &mut Fragment, family: Family, config: &Config) {
    let mark = config.mark();
    base.chain(family, MARK, vec![vec![Statement::Mark(mark)]]);
    let itself = Statement::among(&[Field::Source, Field::Destination], THEMSELVES);
    let mut rules = vec![
        vec![Statement::Marked(mark), Statement::goto("masquerade-marked")],
        vec![itself, Statement::Masquerade { random: true }],
    ];
    let pods = config.pods(family);
    if !pods.is_empty() {
        let group = if family == Family::V4 { GROUPS } else { GROUPS_6 };
        rules.push(vec![
            Statement::within(Side::Source, pods.clone()),
            Statement::outside(Side::Destination, pods),
            Statement::outside(Side::Destination, [group]),
            Statement::Interface { way: Way::Out, is: false, name: config.bridge.clone().into() },
            Statement::Masquerade { random: true },
        ]);
    }
    base.hook(family, "nat-postrouting", nat(Point::Postrouting, AFTER_ROUTING), rules);
    // The mark goes, so that the packet is not masqueraded again on its way through a tunnel.
    let rules = vec![vec![Statement::Unmark(mark)], vec![Statement::Masquerade { random: true }]];
    base.chain(family, "masquerade-marked", rules);
}

fn filter(base: &mut Fragment, family: Family, config: &Config) {
    let bridge = config.bridge.as_str();
    let filter = |point| Hook { kind: HookKind::Filter, point, priority: 0 };
    let unknown_port = vec![
        Statement::connection(state::NEW),
        Statement::among(&[Field::Destination], CLUSTER_IPS),
        Statement::goto(REFUSE),
    ];
    // Not refused: a service that is being made gets the client's next try.
    let range = Some(ranges(&config.service_cidrs, family)).filter(|range| !range.is_empty());
    let unknown_address =
        range.map(|range| vec![Statement::within(Side::Destination, range), Statement::drop()]);
    let after = |first: Rule| {
        [first, unknown_port.clone()].into_iter().chain(unknown_address.clone()).collect::<Vec<_>>()
    };
    // A packet outside any connection is not translated back: its receiver would reset the connection.
    let invalid = vec![Statement::came_by(bridge), Statement::connection(state::INVALID), Statement::drop()];
    base.hook(family, "filter-forward", filter(Point::Forward), after(invalid));
    // Pods reach each other through the gateway; a redirect would send them past the translation.
    let redirect = vec![Statement::leaves_by(bridge), Statement::Redirect, Statement::drop()];
    base.hook(family, "filter-output", filter(Point::Output), after(redirect));
    if family == Family::V4 {
        // `route_localnet` on the bridge lets replies to 127.0.0.1 in, and must let in nothing else.
        let martian = vec![
            Statement::came_by(bridge),
            Statement::within(Side::Destination, [LOCALHOST]),
            Statement::State { is: false, states: state::ESTABLISHED | state::RELATED },
            Statement::drop(),
        ];
        base.hook(family, "filter-input", filter(Point::Input), vec![martian]);
    }
    let reset = vec![Statement::Protocol(Protocol::Tcp), Statement::Refuse(Refusal::Reset)];
    base.chain(family, REFUSE, vec![reset, vec![Statement::Refuse(Refusal::Unreachable)]]);
}

/// The cluster's DNS addresses lead to this node's own server.
fn dns(base: &mut Fragment, family: Family, config: &Config) {
    for (ip, listener) in config.dns.iter().filter(|(ip, _)| Family::of(ip) == family) {
        base.member(family, CLUSTER_IPS, vec![(*ip).into()]);
        let chain = Name::from(format!("dns-{}", ip.to_string().replace(':', "_")));
        let rule = |protocol| vec![Statement::Protocol(protocol), Statement::Translate(*listener)];
        base.chain(family, chain.clone(), vec![rule(Protocol::Udp), rule(Protocol::Tcp)]);
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let key = vec![(*ip).into(), protocol.into(), DNS.into()];
            base.map(family, SERVICE_IPS, key, Value::Verdict(Verdict::Goto(chain.clone())));
        }
    }
}
