//! Plans as chains of iptables, laid out as the original's:
//! - `KUBE-SERVICES` and `KUBE-NODEPORTS` find the front end;
//! - `KUBE-EXT-` takes traffic from outside: masquerades it, or keeps it on this node (policy Local);
//! - `KUBE-FW-` lets only `loadBalancerSourceRanges` pass, and `KUBE-PROXY-FIREWALL` drops what it did not;
//! - `KUBE-SVC-` and `KUBE-SVL-` choose among all endpoints, or among this node's;
//! - `KUBE-SEP-` translates to one endpoint, and remembers the client where the service has affinity.
//!
//! Chains in `filter` refuse what has no endpoints. What a node's network needs beside (pods that leave the cluster, the
//! node's DNS) is in chains `KNARR-`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::chains::{Chains, Jump, Table};
use super::names::Names;
use super::port;
use crate::nft::{Family, Protocol};
use crate::service::{Config, LOCALHOST, LOCALHOST_6, Plan, Plans, ranges};

pub(super) const SERVICES: &str = "KUBE-SERVICES";
pub(super) const EXTERNAL: &str = "KUBE-EXTERNAL-SERVICES";
pub(super) const NODE_PORTS: &str = "KUBE-NODEPORTS";
const FORWARD: &str = "KUBE-FORWARD";
pub(super) const FIREWALL: &str = "KUBE-PROXY-FIREWALL";
const POSTROUTING: &str = "KUBE-POSTROUTING";
pub(super) const MARK: &str = "KUBE-MARK-MASQ";
const OWN_POSTROUTING: &str = "KNARR-POSTROUTING";
const OWN_INPUT: &str = "KNARR-INPUT";
const OWN_OUTPUT: &str = "KNARR-OUTPUT";

/// New connections only: what was let pass stays.
const NEW: &str = "-m conntrack --ctstate NEW ";

/// Where packets enter the cluster's chains, in the order in which they stand.
pub fn jumps(names: &Names) -> Vec<Jump> {
    let jump = |table, from, matching, to| Jump { table, from, matching, to: names.base(to) };
    use Table::{Filter, Nat};
    vec![
        jump(Filter, "INPUT", NEW, FIREWALL),
        jump(Filter, "INPUT", "", NODE_PORTS),
        jump(Filter, "INPUT", NEW, EXTERNAL),
        jump(Filter, "INPUT", "", OWN_INPUT),
        jump(Filter, "FORWARD", NEW, FIREWALL),
        jump(Filter, "FORWARD", NEW, SERVICES),
        jump(Filter, "FORWARD", NEW, EXTERNAL),
        jump(Filter, "FORWARD", "", FORWARD),
        jump(Filter, "OUTPUT", NEW, FIREWALL),
        jump(Filter, "OUTPUT", NEW, SERVICES),
        jump(Filter, "OUTPUT", "", OWN_OUTPUT),
        jump(Nat, "PREROUTING", "", SERVICES),
        jump(Nat, "OUTPUT", "", SERVICES),
        jump(Nat, "POSTROUTING", "", POSTROUTING),
        jump(Nat, "POSTROUTING", "", OWN_POSTROUTING),
    ]
}

/// The chain whose absence means that somebody flushed a table.
pub fn landmark(names: &Names) -> String {
    names.base(SERVICES)
}

/// All chains of one family. `drops` says that the host forwards nothing by default.
pub fn chains(plans: &Plans, config: &Config, names: &Names, family: Family, drops: bool) -> Chains {
    let mut render = Render { out: Chains::default(), config, names, family };
    render.base(drops);
    for plan in plans.values() {
        render.plan(plan);
    }
    render.node_ports();
    render.unknown();
    render.out
}

/// Chains of one family under construction.
pub(super) struct Render<'a> {
    pub out: Chains,
    pub config: &'a Config,
    pub names: &'a Names,
    family: Family,
}

impl Render<'_> {
    /// Adds a rule to a chain of `nat` that is there once.
    pub fn nat(&mut self, base: &str, rule: impl Into<String>) {
        self.out.add(Table::Nat, &self.names.base(base), rule);
    }

    /// The same of `filter`.
    pub fn filter(&mut self, base: &str, rule: impl Into<String>) {
        self.out.add(Table::Filter, &self.names.base(base), rule);
    }

    /// What is there without any service.
    fn base(&mut self, drops: bool) {
        for (table, chains) in [
            (Table::Nat, &[SERVICES, NODE_PORTS, POSTROUTING, MARK, OWN_POSTROUTING][..]),
            (Table::Filter, &[SERVICES, EXTERNAL, NODE_PORTS, FORWARD, FIREWALL, OWN_INPUT, OWN_OUTPUT][..]),
        ] {
            chains.iter().for_each(|chain| self.out.declare(table, self.names.base(chain)));
        }
        let mark = self.config.mark();
        self.nat(MARK, format!("-j MARK --or-mark {mark:#x}"));
        self.nat(POSTROUTING, format!("-m mark ! --mark {mark:#x}/{mark:#x} -j RETURN"));
        // The mark goes, so that the packet is not masqueraded again on its way through a tunnel.
        self.nat(POSTROUTING, format!("-j MARK --xor-mark {mark:#x}"));
        let requiring = comment("kubernetes service traffic requiring SNAT");
        self.nat(POSTROUTING, format!("{requiring}-j MASQUERADE --random-fully"));
        let bridge = self.config.bridge.clone();
        let groups = if self.family == Family::V4 { "224.0.0.0/4" } else { "ff00::/8" };
        self.nat(OWN_POSTROUTING, format!("-d {groups} -j RETURN"));
        let pods = self.config.pods(self.family);
        for to in &pods {
            self.nat(OWN_POSTROUTING, format!("-d {to} -j RETURN"));
        }
        for from in &pods {
            self.nat(OWN_POSTROUTING, format!("-s {from} ! -o {bridge} -j MASQUERADE --random-fully"));
        }
        // A packet outside any connection is not translated back: its receiver would reset the connection.
        self.filter(FORWARD, format!("-i {bridge} -m conntrack --ctstate INVALID -j DROP"));
        let rules = comment("kubernetes forwarding rules");
        self.filter(FORWARD, format!("{rules}-m mark --mark {mark:#x}/{mark:#x} -j ACCEPT"));
        if drops {
            self.filter(FORWARD, format!("-i {bridge} -j ACCEPT"));
            self.filter(FORWARD, format!("-o {bridge} -j ACCEPT"));
        }
        self.own(&bridge);
        self.dns();
    }

    fn own(&mut self, bridge: &str) {
        // Pods reach each other through the gateway; a redirect would send them past the translation.
        let redirect = match self.family {
            Family::V4 => "-p icmp --icmp-type redirect",
            Family::V6 => "-p ipv6-icmp --icmpv6-type redirect",
        };
        self.filter(OWN_OUTPUT, format!("-o {bridge} {redirect} -j DROP"));
        if self.family == Family::V4 {
            // `route_localnet` on the bridge lets replies to 127.0.0.1 in, and must let in nothing else.
            let martian = "-m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP";
            self.filter(OWN_INPUT, format!("-i {bridge} -d {LOCALHOST} {martian}"));
        }
    }

    /// The cluster's DNS addresses lead to this node's own server.
    fn dns(&mut self) {
        let family = self.family;
        for (ip, listener) in self.config.dns.iter().filter(|(ip, _)| Family::of(ip) == family) {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                let matching = to(protocol, Some(ip), 53);
                self.nat(SERVICES, format!("{matching}-j DNAT --to-destination {listener}"));
            }
        }
    }

    /// The last rules of the services' chain: what is for the node itself.
    fn node_ports(&mut self) {
        let localhost = if self.family == Family::V4 { LOCALHOST } else { LOCALHOST_6 };
        // There is no route_localnet for IPv6: a packet to ::1 never leaves the loopback interface.
        let localhost_too = self.family == Family::V4 && self.config.localhost_node_ports;
        let addresses = ranges(&self.config.node_port_addresses, self.family);
        let text = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain");
        let jump = format!("{text}-m addrtype --dst-type LOCAL -j {}", self.names.base(NODE_PORTS));
        if !localhost_too {
            self.nat(SERVICES, format!("-d {localhost} -j RETURN"));
        }
        match addresses.as_slice() {
            [] if self.config.node_port_addresses.is_empty() => self.nat(SERVICES, jump),
            some => some.iter().for_each(|range| self.nat(SERVICES, format!("-d {range} {jump}"))),
        }
    }

    /// What is still for a virtual address after translation is for no port of a service: there is nobody on the way.
    fn unknown(&mut self) {
        for range in ranges(&self.config.service_cidrs, self.family) {
            for (protocol, target) in [("-p tcp ", refusal(Protocol::Tcp)), ("", refusal(Protocol::Udp))] {
                self.filter(SERVICES, format!("{protocol}-d {range} -j {target}"));
            }
        }
    }

    fn plan(&mut self, plan: &Plan) {
        if let Some(port) = plan.health_check_node_port {
            let text = comment("health check node port");
            self.filter(NODE_PORTS, format!("{text}{}-j ACCEPT", to(Protocol::Tcp, None, port)));
        }
        let family = self.family;
        for port in plan.ports.iter().filter(|port| port.family == family) {
            port::Of { render: self, port }.render();
        }
    }
}

/// A comment of a rule. Names of services and ports have no quotes in them.
pub(super) fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\" ")
}

/// Packets of a protocol to a port, and to an address.
pub(super) fn to(protocol: Protocol, ip: Option<&IpAddr>, port: u16) -> String {
    let address = ip.map(|ip| format!("-d {} ", IpNet::from(*ip))).unwrap_or_default();
    format!("-p {protocol} -m {protocol} {address}--dport {port} ")
}

/// A refusal that clients understand at once: plain ICMP makes TCP clients on the host wait a second.
pub(super) fn refusal(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => "REJECT --reject-with tcp-reset".to_owned(),
        _ => "REJECT".to_owned(),
    }
}
