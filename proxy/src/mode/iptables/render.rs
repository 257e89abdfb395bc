//! Plans as chains of iptables, laid out as the original's:
//! - `KUBE-SERVICES` and `KUBE-NODEPORTS` find the front end;
//! - `KUBE-EXT-` takes traffic from outside: masquerades it, or keeps it on this node (policy Local);
//! - `KUBE-FW-` lets only `loadBalancerSourceRanges` pass, and `KUBE-PROXY-FIREWALL` drops what it did not;
//! - `KUBE-SVC-` and `KUBE-SVL-` choose among all endpoints, or among this node's;
//! - `KUBE-SEP-` translates to one endpoint, and remembers the client where the service has affinity.
//!
//! Chains in `filter` refuse what has no endpoints. What a node's network needs beside (pods that leave the cluster, the
//! node's DNS) is in chains `KNARR-`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::chains::{Chains, Jump, Table};
use super::names::{Names, port_name};
use crate::nft::{Family, Protocol};
use crate::service::plan::{Outcome, Port};
use crate::service::{Config, LOCALHOST, LOCALHOST_6, Plan, Plans, ranges};

const SERVICES: &str = "KUBE-SERVICES";
const EXTERNAL: &str = "KUBE-EXTERNAL-SERVICES";
const NODE_PORTS: &str = "KUBE-NODEPORTS";
const FORWARD: &str = "KUBE-FORWARD";
const FIREWALL: &str = "KUBE-PROXY-FIREWALL";
const POSTROUTING: &str = "KUBE-POSTROUTING";
const MARK: &str = "KUBE-MARK-MASQ";
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

struct Render<'a> {
    out: Chains,
    config: &'a Config,
    names: &'a Names,
    family: Family,
}

impl Render<'_> {
    fn nat(&mut self, base: &str, rule: impl Into<String>) {
        self.out.add(Table::Nat, &self.names.base(base), rule);
    }

    fn filter(&mut self, base: &str, rule: impl Into<String>) {
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
            Of { render: self, port }.render();
        }
    }
}

/// The chains of a service's port.
struct Of<'a, 'b> {
    render: &'a mut Render<'b>,
    port: &'a Port,
}

impl Of<'_, '_> {
    fn render(&mut self) {
        let port = self.port;
        let (service, local) = (self.chain("KUBE-SVC"), self.chain("KUBE-SVL"));
        let inside = if port.internal_local { &local } else { &service };
        for ip in &port.internal {
            let matching = self.matching("cluster IP", Some(ip), port.port);
            match port.inside() {
                Outcome::Lead(_) => self.render.nat(SERVICES, format!("{matching}-j {inside}")),
                other => self.turn_away(SERVICES, "", Some(ip), port.port, other, "cluster IP"),
            }
        }
        let lead = self.chain("KUBE-EXT");
        for ip in &port.external {
            self.outside("external IP", ip, &lead);
        }
        for ip in &port.balanced {
            match port.sources {
                Some(_) => self.firewall(ip, &lead),
                None => self.outside("loadbalancer IP", ip, &lead),
            }
        }
        for number in port.node_port.iter().chain(&port.published) {
            self.on_node(*number, &lead);
        }
        if port.all.is_empty() {
            return;
        }
        if port.has_outside() {
            self.external(&lead, &service, &local);
        }
        self.endpoints(&service, &local);
    }

    /// An address for clients outside.
    fn outside(&mut self, what: &str, ip: &IpAddr, lead: &str) {
        let port = self.port;
        if !port.all.is_empty() {
            let matching = self.matching(what, Some(ip), port.port);
            self.render.nat(SERVICES, format!("{matching}-j {lead}"));
        }
        match port.outside(false) {
            Outcome::Lead(_) => {}
            // Pods and this host are led elsewhere before they get here.
            other => self.turn_away(EXTERNAL, "", Some(ip), port.port, other, what),
        }
    }

    /// A port of the node.
    fn on_node(&mut self, number: u16, lead: &str) {
        let port = self.port;
        let is_published = port.published.contains(&number);
        const LOCAL: &str = "-m addrtype --dst-type LOCAL ";
        if !port.all.is_empty() {
            let text = comment(&self.name());
            let matching = to(port.protocol, None, number);
            match is_published {
                true => self.render.nat(SERVICES, format!("{text}{matching}{LOCAL}-j {lead}")),
                false => self.render.nat(NODE_PORTS, format!("{text}{matching}-j {lead}")),
            }
        }
        match port.outside(false) {
            Outcome::Lead(_) => {}
            other => self.turn_away(EXTERNAL, LOCAL, None, number, other, ""),
        }
    }

    /// A rule of `filter` for what has no endpoints.
    fn turn_away(
        &mut self,
        chain: &str,
        matching: &str,
        ip: Option<&IpAddr>,
        number: u16,
        outcome: Outcome<'_>,
        what: &str,
    ) {
        let protocol = self.port.protocol;
        let (why, target) = match outcome {
            Outcome::Drop => ("has no local endpoints", "DROP".to_owned()),
            _ => ("has no endpoints", refusal(protocol)),
        };
        let name = self.name();
        let text = match what {
            "" => comment(&format!("{name} {why}")),
            what => comment(&format!("{name} {what} {why}")),
        };
        let to = to(protocol, ip, number);
        self.render.filter(chain, format!("{text}{matching}{to}-j {target}"));
    }

    /// A load balancer's address that not everybody may use.
    fn firewall(&mut self, ip: &IpAddr, lead: &str) {
        let port = self.port;
        let chain = self.chain("KUBE-FW");
        let allowed = port.sources.iter().flatten().copied();
        // A node that carries the balancer's address itself calls from that address.
        let own = port.balanced.iter().map(|ip| IpNet::from(*ip));
        let first = port.balanced.first() == Some(ip);
        if port.all.is_empty() {
            return self.turn_away(EXTERNAL, "", Some(ip), port.port, Outcome::Refuse, "loadbalancer IP");
        }
        if first {
            for range in allowed.chain(own) {
                self.render.out.add(Table::Nat, &chain, format!("-s {range} -j {lead}"));
            }
        }
        let matching = self.matching("loadbalancer IP", Some(ip), port.port);
        self.render.nat(SERVICES, format!("{matching}-j {chain}"));
        // What is still for the balancer's address was not let through.
        let text = comment(&format!("{} traffic not accepted by {chain}", self.name()));
        let to = to(port.protocol, Some(ip), port.port);
        self.render.filter(FIREWALL, format!("{text}{to}-j DROP"));
    }

    /// The chain of traffic from outside.
    fn external(&mut self, lead: &str, service: &str, local: &str) {
        let (port, mark) = (self.port, self.render.names.base(MARK));
        let mut rules = Vec::new();
        if port.external_local {
            // Pods and this host are inside: for them the policy does not count.
            for pods in self.render.config.pods(port.family) {
                let text = comment(&format!("pod traffic for {} external destinations", self.name()));
                rules.push(format!("{text}-s {pods} -j {service}"));
            }
            rules.push(format!("-m addrtype --src-type LOCAL -j {mark}"));
            rules.push(format!("-m addrtype --src-type LOCAL -j {service}"));
            if !port.local.is_empty() {
                rules.push(format!("-j {local}"));
            }
        } else {
            let text = comment(&format!("masquerade traffic for {} external destinations", self.name()));
            rules.push(format!("{text}-j {mark}"));
            rules.push(format!("-j {service}"));
        }
        self.render.out.declare(Table::Nat, lead);
        rules.into_iter().for_each(|rule| self.render.out.add(Table::Nat, lead, rule));
    }

    /// The chains that choose an endpoint, and those of the endpoints.
    fn endpoints(&mut self, service: &str, local: &str) {
        let port = self.port;
        let is_local = !port.local.is_empty() && (port.internal_local || port.external_local);
        self.choose(service, &port.all);
        if is_local {
            self.choose(local, &port.local);
        }
        let mark = self.render.names.base(MARK);
        let text = comment(&self.name());
        for endpoint in port.either() {
            let chain = self.endpoint(&endpoint);
            // An endpoint that calls its own service would answer itself directly.
            let itself = format!("{text}-s {} -j {mark}", IpNet::from(endpoint.ip()));
            let remember =
                port.affinity.map(|_| format!("-m recent --name {chain} --set ")).unwrap_or_default();
            let protocol = port.protocol;
            let translate =
                format!("{text}{remember}-p {protocol} -m {protocol} -j DNAT --to-destination {endpoint}");
            self.render.out.add(Table::Nat, &chain, itself);
            self.render.out.add(Table::Nat, &chain, translate);
        }
    }

    /// Rules that lead back to the client's endpoint, or else to any with equal chance. What comes from elsewhere to a
    /// virtual address is masqueraded.
    fn choose(&mut self, chain: &str, endpoints: &[SocketAddr]) {
        let (port, mark) = (self.port, self.render.names.base(MARK));
        let mut rules = Vec::new();
        for ip in &port.internal {
            for pods in self.render.config.pods(port.family).iter().take(1) {
                let matching = self.matching("cluster IP", Some(ip), port.port);
                rules.push(format!("{matching}! -s {pods} -j {mark}"));
            }
        }
        let text = |endpoint: &SocketAddr| comment(&format!("{} -> {endpoint}", self.name()));
        if let Some(seconds) = port.affinity {
            for endpoint in endpoints {
                let to = self.endpoint(endpoint);
                let known = format!("-m recent --name {to} --rcheck --seconds {seconds} --reap");
                rules.push(format!("{}{known} -j {to}", text(endpoint)));
            }
        }
        for (left, endpoint) in (1..=endpoints.len()).rev().zip(endpoints) {
            let draw = match left {
                1 => String::new(),
                left => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
            };
            rules.push(format!("{}{draw}-j {}", text(endpoint), self.endpoint(endpoint)));
        }
        self.render.out.declare(Table::Nat, chain);
        rules.into_iter().for_each(|rule| self.render.out.add(Table::Nat, chain, rule));
    }

    fn name(&self) -> String {
        port_name(&self.port.service, &self.port.name)
    }

    fn chain(&self, kind: &str) -> String {
        let port = self.port;
        self.render.names.of_port(kind, &port.service, &port.name, port.protocol)
    }

    fn endpoint(&self, endpoint: &SocketAddr) -> String {
        let port = self.port;
        self.render.names.of_endpoint(&port.service, &port.name, port.protocol, endpoint)
    }

    fn matching(&self, what: &str, ip: Option<&IpAddr>, number: u16) -> String {
        comment(&format!("{} {what}", self.name())) + &to(self.port.protocol, ip, number)
    }
}

/// A comment of a rule. Names of services and ports have no quotes in them.
fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\" ")
}

/// Packets of a protocol to a port, and to an address.
fn to(protocol: Protocol, ip: Option<&IpAddr>, port: u16) -> String {
    let address = ip.map(|ip| format!("-d {} ", IpNet::from(*ip))).unwrap_or_default();
    format!("-p {protocol} -m {protocol} {address}--dport {port} ")
}

/// A refusal that clients understand at once: plain ICMP makes TCP clients on the host wait a second.
fn refusal(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => "REJECT --reject-with tcp-reset".to_owned(),
        _ => "REJECT".to_owned(),
    }
}
