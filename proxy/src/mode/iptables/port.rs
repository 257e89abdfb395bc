//! The chains of a service's port, and the rules that lead to them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::chains::Table;
use super::names::port_name;
use super::render::{EXTERNAL, FIREWALL, MARK, NODE_PORTS, Render, SERVICES, comment, refusal, to};
use crate::service::plan::{Outcome, Port};

/// The chains of a service's port.
pub(super) struct Of<'a, 'b> {
    pub render: &'a mut Render<'b>,
    pub port: &'a Port,
}

impl Of<'_, '_> {
    /// Adds them, and what leads to them.
    pub fn render(&mut self) {
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
