//! The rules of one service.
//!
//! Most front ends lead to a chain that all services of as many endpoints share ([`Shared::Lot`]). It draws a number,
//! and the front end's endpoint of that number is in a map: elements come and go at little cost, and the kernel walks
//! through all chains whenever one changes.
//!
//! Services with affinity have chains of their own, each of which leads to the next:
//! - `ext-`: traffic from outside: masquerades it, or keeps it on this node (policy Local);
//! - `svc-` and `local-`: choose among all endpoints, or among this node's, and remember the client.
//!
//! Before either, `fw-` lets only `loadBalancerSourceRanges` pass.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Config;
use super::base::{CLUSTER_IPS, MARK, NODE_PORTS, PUBLISHED, REFUSE, SERVICE_IPS};
use super::plan::{self, Outcome, Plan};
use super::shared::{Class, Shared};
use crate::nft::{
    Datum, Family, Field, Fragment, Holds, Key, Kind, Name, Rule, Set, Side, Statement, Value, Verdict,
};

/// What a service adds, and what it needs that others may need, too.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub fragment: Fragment,
    pub shared: BTreeSet<Shared>,
}

/// Renders a service.
pub(super) fn service(plan: &Plan, config: &Config) -> Rendered {
    let mut rendered = Rendered::default();
    for ip in &plan.cluster_ips {
        rendered.fragment.member(Family::of(ip), CLUSTER_IPS, vec![(*ip).into()]);
    }
    for port in &plan.ports {
        Port { port, config }.render(&mut rendered);
    }
    rendered
}

/// A service port in one family.
struct Port<'a> {
    port: &'a plan::Port,
    config: &'a Config,
}

impl Port<'_> {
    fn render(&self, out: &mut Rendered) {
        let port = self.port;
        if port.affinity.is_some() && !port.all.is_empty() {
            self.endpoints(out);
        }
        for ip in &port.internal {
            let verdict = self.inside(out, *ip);
            self.answer(&mut out.fragment, Some(*ip), port.port, verdict);
        }
        for ip in &port.external {
            let verdict = self.outside(out, Class::Outside, Some(*ip), port.port);
            self.answer(&mut out.fragment, Some(*ip), port.port, verdict);
        }
        for ip in &port.balanced {
            let through = self.outside(out, Class::Outside, Some(*ip), port.port);
            let verdict = self.firewall(&mut out.fragment, through);
            self.answer(&mut out.fragment, Some(*ip), port.port, verdict);
        }
        if let Some(number) = port.node_port {
            let verdict = self.outside(out, Class::NodePort, None, number);
            self.answer(&mut out.fragment, None, number, verdict);
            self.publish(out);
        }
    }

    /// What a client inside the cluster gets.
    fn inside(&self, out: &mut Rendered, ip: IpAddr) -> Verdict {
        match self.port.inside() {
            Outcome::Refuse => Verdict::Goto(REFUSE.into()),
            Outcome::Drop => Verdict::Drop,
            Outcome::Lead(_) if self.port.affinity.is_some() => {
                Verdict::Goto(self.name(if self.port.internal_local { "local" } else { "svc" }))
            }
            Outcome::Lead(endpoints) => {
                self.by_lot(out, Class::Inside, Some(ip), self.port.port, endpoints, None)
            }
        }
    }

    /// What a client outside gets.
    fn outside(&self, out: &mut Rendered, class: Class, ip: Option<IpAddr>, port: u16) -> Verdict {
        if self.port.all.is_empty() {
            Verdict::Goto(REFUSE.into())
        } else if self.port.affinity.is_some() {
            self.external(&mut out.fragment)
        } else {
            let local = self.port.external_local.then_some(self.port.local.as_slice());
            self.by_lot(out, class, ip, port, &self.port.all, local)
        }
    }

    /// Gives a front end numbered endpoints, of which the chain it leads to chooses; `local` are those for clients outside
    /// where they may use no others.
    fn by_lot(
        &self,
        out: &mut Rendered,
        class: Class,
        ip: Option<IpAddr>,
        port: u16,
        endpoints: &[SocketAddr],
        local: Option<&[SocketAddr]>,
    ) -> Verdict {
        let frontend: Key =
            ip.map(Datum::from).into_iter().chain([self.port.protocol.into(), port.into()]).collect();
        let mut fill = |map, endpoints: &[SocketAddr]| {
            for (number, endpoint) in (0..).zip(endpoints) {
                let key = frontend.iter().copied().chain([Datum::Lot(number)]).collect();
                let target = Value::Data(vec![endpoint.ip().into(), endpoint.port().into()]);
                out.fragment.map(self.port.family, map, key, target);
            }
            u32::try_from(endpoints.len()).unwrap_or(u32::MAX)
        };
        let of = fill(class.endpoints(), endpoints);
        let local = local.map(|local| fill(class.local_endpoints(), local));
        out.shared.extend(self.port.here.iter().map(|ip| Shared::Itself(*ip)));
        let lot = Shared::Lot { class, family: self.port.family, of, local };
        out.shared.insert(lot);
        Verdict::Goto(lot.key().into())
    }

    /// Leads published ports of the host where their node port leads.
    fn publish(&self, out: &mut Rendered) {
        for port in &self.port.published {
            let verdict = self.outside(out, Class::Published, None, *port);
            let key = vec![self.port.protocol.into(), (*port).into()];
            out.fragment.map(self.port.family, PUBLISHED, key, Value::Verdict(verdict));
        }
    }

    /// The chain of traffic from outside; whatever leads to it finds the same.
    fn external(&self, fragment: &mut Fragment) -> Verdict {
        let (svc, name) = (self.name("svc"), self.name("ext"));
        let rules = if self.port.external_local {
            let mut rules = Vec::new();
            // Pods and this host are inside: for them the policy does not count.
            let pods = self.config.pods(self.port.family);
            if !pods.is_empty() {
                rules.push(vec![Statement::within(Side::Source, pods), Statement::goto(svc.clone())]);
            }
            rules.push(vec![Statement::Local(Side::Source), Statement::jump(MARK)]);
            rules.push(vec![Statement::Local(Side::Source), Statement::goto(svc)]);
            rules.push(vec![match self.port.local.is_empty() {
                true => Statement::drop(),
                false => Statement::goto(self.name("local")),
            }]);
            rules
        } else {
            vec![vec![Statement::jump(MARK)], vec![Statement::goto(svc)]]
        };
        fragment.chain(self.port.family, name.clone(), rules);
        Verdict::Goto(name)
    }

    /// Restricts the load balancer's addresses to the service's source ranges, if it has any.
    fn firewall(&self, fragment: &mut Fragment, through: Verdict) -> Verdict {
        let Some(allowed) = &self.port.sources else { return through };
        let from = |ranges: Vec<IpNet>| {
            vec![Statement::within(Side::Source, ranges), Statement::Go(through.clone())]
        };
        let mut rules = Vec::new();
        if !allowed.is_empty() {
            rules.push(from(allowed.clone()));
        }
        // A node that carries the balancer's address itself calls from that address.
        let own = self.port.balanced.iter().copied();
        rules.extend(own.map(|own| from(vec![own.into()])));
        rules.push(vec![Statement::drop()]);
        let name = self.name("fw");
        fragment.chain(self.port.family, name.clone(), rules);
        Verdict::Goto(name)
    }

    /// Adds a front end.
    fn answer(&self, fragment: &mut Fragment, address: Option<IpAddr>, port: u16, verdict: Verdict) {
        let protocol = self.port.protocol;
        let value = Value::Verdict(verdict);
        match address {
            Some(ip) => {
                let key = vec![ip.into(), protocol.into(), port.into()];
                fragment.map(self.port.family, SERVICE_IPS, key, value);
            }
            None => {
                fragment.map(self.port.family, NODE_PORTS, vec![protocol.into(), port.into()], value);
            }
        }
    }

    /// Adds the chains that choose an endpoint, and the sets of its clients.
    fn endpoints(&self, out: &mut Rendered) {
        let port = self.port;
        for (endpoint, seconds) in port.either().iter().zip(port.affinity.into_iter().cycle()) {
            let clients = Set { key: &[Kind::Address], holds: Holds::Nothing, timeout: Some(seconds) };
            out.fragment.sets.insert((port.family, self.clients(endpoint, seconds)), clients);
        }
        // An endpoint that calls its own service would answer itself directly.
        out.shared.extend(port.here.iter().map(|ip| Shared::Itself(*ip)));
        let mut all = Vec::new();
        let pods = self.config.pods(port.family);
        if !pods.is_empty() {
            all.push(vec![Statement::outside(Side::Source, pods), Statement::jump(MARK)]);
        }
        all.extend(self.balance(&port.all));
        out.fragment.chain(port.family, self.name("svc"), all);
        if !port.local.is_empty() && (port.internal_local || port.external_local) {
            out.fragment.chain(port.family, self.name("local"), self.balance(&port.local));
        }
    }

    /// Rules that lead back to the client's endpoint, or else to any with equal chance, and remember the client. They do so
    /// themselves: the kernel walks through all chains whenever one changes.
    fn balance(&self, endpoints: &[SocketAddr]) -> Vec<Rule> {
        let Some(seconds) = self.port.affinity else { return Vec::new() };
        let lead = |endpoint: &SocketAddr, when: Option<Statement>| -> Rule {
            let remember = Statement::Remember(self.clients(endpoint, seconds));
            let protocol = Statement::Protocol(self.port.protocol);
            when.into_iter().chain([remember, protocol, Statement::Translate(*endpoint)]).collect()
        };
        let known = |endpoint| Statement::among(&[Field::Source], self.clients(endpoint, seconds));
        let back = endpoints.iter().map(|endpoint| lead(endpoint, Some(known(endpoint))));
        let left = (1..=u32::try_from(endpoints.len()).unwrap_or(u32::MAX)).rev();
        let any = left
            .zip(endpoints)
            .map(|(left, endpoint)| lead(endpoint, (left > 1).then_some(Statement::Drawn(left))));
        back.chain(any).collect()
    }

    /// The set of clients that return to an endpoint. The time is part of its name, since a set's timeout
    /// cannot be changed.
    fn clients(&self, endpoint: &SocketAddr, seconds: u32) -> Name {
        self.endpoint_name(&format!("clients{seconds}"), endpoint)
    }

    fn name(&self, kind: &str) -> Name {
        self.text(kind).into()
    }

    fn text(&self, kind: &str) -> String {
        let port = self.port;
        format!("{kind}-{}/{}/{}", port.service, port.protocol, port.port)
    }

    fn endpoint_name(&self, kind: &str, endpoint: &SocketAddr) -> Name {
        let ip = endpoint.ip().to_string().replace(':', "_");
        format!("{}/{ip}/{}", self.text(kind), endpoint.port()).into()
    }
}
