//! The rules of one service.
//!
//! Most front ends lead to a chain that all services of as many endpoints share ([`Shared::Lot`]). It draws a number,
//! and the front end's endpoint of that number is in a map: elements come and go at little cost, and the kernel walks
//! through all chains whenever one changes.
//!
//! Services with affinity have chains of their own, each of which leads to the next:
//! - `ext-`: traffic from outside: masquerades it, or keeps it on this node (policy Local);
//! - `svc-` and `local-`: choose among all endpoints, or among this node's;
//! - `ep-`: translates to one endpoint, and remembers the client where the service has affinity.
//!
//! Before either, `fw-` lets only `loadBalancerSourceRanges` pass.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::base::{CLUSTER_IPS, MARK, NODE_PORTS, PUBLISHED, REFUSE, SERVICE_IPS};
use super::model::{Endpoint, Endpoints, Frontend, Service, ServicePort};
use super::shared::{Class, Shared};
use super::{Config, ranges};
use crate::nft::{
    Datum, Family, Field, Fragment, Holds, Key, Kind, Name, Protocol, Rule, Set, Side, Statement,
    UdpFrontend, Value, Verdict,
};

/// What a service adds, and what it needs that others may need, too.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub fragment: Fragment,
    pub shared: BTreeSet<Shared>,
}

/// Renders a service. `owns` says whether a front end is this service's, where several ask for it.
pub(super) fn service(
    service: &Service,
    endpoints: &Endpoints,
    config: &Config,
    owns: &dyn Fn(&Frontend) -> bool,
) -> Rendered {
    let mut rendered = Rendered::default();
    for ip in service.cluster_ips.iter().filter(|ip| config.dns.iter().all(|(dns, _)| dns != *ip)) {
        rendered.fragment.member(Family::of(ip), CLUSTER_IPS, vec![(*ip).into()]);
    }
    for port in &service.ports {
        let of_port = endpoints.get(&(port.name.clone(), port.protocol));
        for family in Family::ALL {
            let all: Vec<&Endpoint> =
                of_port.into_iter().flatten().filter(|e| Family::of(&e.address.ip()) == family).collect();
            let local: Vec<&Endpoint> = all.iter().copied().filter(|e| e.local).collect();
            let here = all.iter().filter(|e| !e.elsewhere).map(|e| e.address.ip()).collect();
            let (all, local) = (choose(&nearest(all, config)), choose(&local));
            Port { service, port, family, config, owns, all, local, here }.render(&mut rendered);
        }
    }
    rendered.fragment.udp.sort();
    rendered
}

/// The endpoints that take connections: those ready, and if none is, those that still serve while they
/// terminate (KEP-1669).
fn choose(endpoints: &[&Endpoint]) -> Vec<SocketAddr> {
    let pick = |wanted: fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        endpoints.iter().filter(|e| wanted(e)).map(|e| e.address).collect()
    };
    let ready = pick(|e| e.ready);
    if ready.is_empty() { pick(|e| e.serving && e.terminating) } else { ready }
}

/// Follows topology hints (KEP-2433, KEP-3015), only if every ready endpoint has one and some are for us:
/// else a zone could be left without any.
fn nearest<'a>(endpoints: Vec<&'a Endpoint>, config: &Config) -> Vec<&'a Endpoint> {
    let hinted = |hints: fn(&Endpoint) -> &[String], mine: &str| -> Option<Vec<&'a Endpoint>> {
        let ready: Vec<&Endpoint> = endpoints.iter().copied().filter(|e| e.ready).collect();
        let near: Vec<&Endpoint> =
            ready.iter().copied().filter(|e| hints(e).iter().any(|h| h == mine)).collect();
        (!near.is_empty() && ready.iter().all(|e| !hints(e).is_empty())).then_some(near)
    };
    if let Some(near) = hinted(|e| &e.nodes, &config.node_name) {
        return near;
    }
    match config.zone.as_deref().and_then(|zone| hinted(|e| &e.zones, zone)) {
        Some(near) => near,
        None => endpoints,
    }
}

/// A service port in one family.
struct Port<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
    config: &'a Config,
    owns: &'a dyn Fn(&Frontend) -> bool,
    /// Endpoints that take connections, anywhere.
    all: Vec<SocketAddr>,
    /// Endpoints that take connections, on this node.
    local: Vec<SocketAddr>,
    /// Addresses of endpoints that may be on this node, whether or not they take connections.
    here: BTreeSet<IpAddr>,
}

impl Port<'_> {
    fn render(&self, out: &mut Rendered) {
        let internal = self.owned(&self.service.cluster_ips);
        let external = self.owned(&self.service.external_ips);
        let balanced = self.owned(&self.service.load_balancer_ips);
        let node_port = self.port.node_port.filter(|p| self.has_family() && self.is_owned(None, *p));
        let outside = !external.is_empty() || !balanced.is_empty() || node_port.is_some();
        if internal.is_empty() && !outside {
            return;
        }
        if self.service.affinity.is_some() && !self.all.is_empty() {
            self.endpoints(&mut out.fragment);
        }
        for ip in internal {
            let verdict = self.inside(out, ip);
            self.answer(&mut out.fragment, Some(ip), self.port.port, verdict);
        }
        for ip in external {
            let verdict = self.outside(out, Class::Outside, Some(ip), self.port.port);
            self.answer(&mut out.fragment, Some(ip), self.port.port, verdict);
        }
        for ip in balanced {
            let through = self.outside(out, Class::Outside, Some(ip), self.port.port);
            let verdict = self.firewall(&mut out.fragment, through);
            self.answer(&mut out.fragment, Some(ip), self.port.port, verdict);
        }
        if let Some(port) = node_port {
            let verdict = self.outside(out, Class::NodePort, None, port);
            self.answer(&mut out.fragment, None, port, verdict);
            self.publish(out, port);
        }
    }

    /// What a client inside the cluster gets.
    fn inside(&self, out: &mut Rendered, ip: IpAddr) -> Verdict {
        let local = self.service.internal_local;
        let endpoints = if local { &self.local } else { &self.all };
        if self.all.is_empty() {
            Verdict::Goto(REFUSE.into())
        } else if endpoints.is_empty() {
            Verdict::Drop
        } else if self.service.affinity.is_some() {
            Verdict::Goto(self.name(if local { "local" } else { "svc" }))
        } else {
            self.by_lot(out, Class::Inside, Some(ip), self.port.port, endpoints, None)
        }
    }

    /// What a client outside gets.
    fn outside(&self, out: &mut Rendered, class: Class, ip: Option<IpAddr>, port: u16) -> Verdict {
        if self.all.is_empty() {
            Verdict::Goto(REFUSE.into())
        } else if self.service.affinity.is_some() {
            self.external(&mut out.fragment)
        } else {
            let local = self.service.external_local.then_some(self.local.as_slice());
            self.by_lot(out, class, ip, port, &self.all, local)
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
                out.fragment.map(self.family, map, key, target);
            }
            u32::try_from(endpoints.len()).unwrap_or(u32::MAX)
        };
        let of = fill(class.endpoints(), endpoints);
        let local = local.map(|local| fill(class.local_endpoints(), local));
        out.shared.extend(self.here.iter().map(|ip| Shared::Itself(*ip)));
        let lot = Shared::Lot { class, family: self.family, of, local };
        out.shared.insert(lot);
        Verdict::Goto(lot.key().into())
    }

    /// Whether the service has this family: node ports answer in those of its virtual addresses only.
    fn has_family(&self) -> bool {
        self.service.cluster_ips.iter().any(|ip| Family::of(ip) == self.family)
    }

    /// Leads published ports of the host where their node port leads.
    fn publish(&self, out: &mut Rendered, node_port: u16) {
        for (port, _) in self.config.published.iter().filter(|(_, to)| *to == node_port) {
            let verdict = self.outside(out, Class::Published, None, *port);
            let key = vec![self.port.protocol.into(), (*port).into()];
            out.fragment.map(self.family, PUBLISHED, key, Value::Verdict(verdict));
        }
    }

    /// The addresses of this family at which the service answers.
    fn owned(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let of_family = addresses.iter().copied().filter(|ip| Family::of(ip) == self.family);
        of_family.filter(|ip| !self.is_dns(ip) && self.is_owned(Some(*ip), self.port.port)).collect()
    }

    fn is_owned(&self, address: Option<IpAddr>, port: u16) -> bool {
        (self.owns)(&Frontend { address, protocol: self.port.protocol, port })
    }

    /// Whether the base answers at this address and port, as the cluster's DNS.
    fn is_dns(&self, ip: &IpAddr) -> bool {
        self.port.port == 53
            && self.port.protocol != Protocol::Sctp
            && self.config.dns.iter().any(|(dns, _)| dns == ip)
    }

    /// The chain of traffic from outside; whatever leads to it finds the same.
    fn external(&self, fragment: &mut Fragment) -> Verdict {
        let (svc, name) = (self.name("svc"), self.name("ext"));
        let rules = if self.service.external_local {
            let mut rules = Vec::new();
            // Pods and this host are inside: for them the policy does not count.
            let pods = self.config.pods(self.family);
            if !pods.is_empty() {
                rules.push(vec![Statement::within(Side::Source, pods), Statement::goto(svc.clone())]);
            }
            rules.push(vec![Statement::Local(Side::Source), Statement::jump(MARK)]);
            rules.push(vec![Statement::Local(Side::Source), Statement::goto(svc)]);
            rules.push(vec![match self.local.is_empty() {
                true => Statement::drop(),
                false => Statement::goto(self.name("local")),
            }]);
            rules
        } else {
            vec![vec![Statement::jump(MARK)], vec![Statement::goto(svc)]]
        };
        fragment.chain(self.family, name.clone(), rules);
        Verdict::Goto(name)
    }

    /// Restricts the load balancer's addresses to the service's source ranges, if it has any.
    fn firewall(&self, fragment: &mut Fragment, through: Verdict) -> Verdict {
        if self.service.source_ranges.is_empty() {
            return through;
        }
        let from = |ranges: Vec<IpNet>| {
            vec![Statement::within(Side::Source, ranges), Statement::Go(through.clone())]
        };
        let mut rules = Vec::new();
        let allowed = ranges(&self.service.source_ranges, self.family);
        if !allowed.is_empty() {
            rules.push(from(allowed));
        }
        // A node that carries the balancer's address itself calls from that address.
        let own = self.owned(&self.service.load_balancer_ips);
        rules.extend(own.into_iter().map(|own| from(vec![own.into()])));
        rules.push(vec![Statement::drop()]);
        let name = self.name("fw");
        fragment.chain(self.family, name.clone(), rules);
        Verdict::Goto(name)
    }

    /// Adds a front end.
    fn answer(&self, fragment: &mut Fragment, address: Option<IpAddr>, port: u16, verdict: Verdict) {
        let protocol = self.port.protocol;
        let value = Value::Verdict(verdict);
        match address {
            Some(ip) => {
                let key = vec![ip.into(), protocol.into(), port.into()];
                fragment.map(self.family, SERVICE_IPS, key, value);
            }
            None => fragment.map(self.family, NODE_PORTS, vec![protocol.into(), port.into()], value),
        }
        if protocol == Protocol::Udp {
            let endpoints = self.either().into_iter().collect();
            fragment.udp.push(UdpFrontend { address, port, endpoints });
        }
    }

    /// Endpoints that take connections from anybody.
    fn either(&self) -> BTreeSet<SocketAddr> {
        self.all.iter().chain(&self.local).copied().collect()
    }

    /// Adds the chains that choose an endpoint, and those of the endpoints.
    fn endpoints(&self, fragment: &mut Fragment) {
        let chains: BTreeMap<SocketAddr, Name> =
            self.either().into_iter().map(|e| (e, self.endpoint_name("ep", &e))).collect();
        let mut all = Vec::new();
        let pods = self.config.pods(self.family);
        if !pods.is_empty() {
            all.push(vec![Statement::outside(Side::Source, pods), Statement::jump(MARK)]);
        }
        all.extend(self.balance(&self.all, &chains));
        fragment.chain(self.family, self.name("svc"), all);
        if !self.local.is_empty() && (self.service.internal_local || self.service.external_local) {
            fragment.chain(self.family, self.name("local"), self.balance(&self.local, &chains));
        }
        chains.into_iter().for_each(|(endpoint, chain)| self.endpoint(fragment, &endpoint, chain));
    }

    /// Rules that lead back to the client's endpoint, or else to any with equal chance.
    fn balance(&self, endpoints: &[SocketAddr], chains: &BTreeMap<SocketAddr, Name>) -> Vec<Rule> {
        let chains_of = || endpoints.iter().filter_map(|e| Some((e, chains.get(e)?.clone())));
        let affine = chains_of().filter_map(|(endpoint, chain)| {
            let set = self.affinity_set(endpoint)?;
            Some(vec![Statement::among(&[Field::Source], set), Statement::goto(chain)])
        });
        let mut rules: Vec<Rule> = affine.collect();
        let targets: Vec<Name> = chains_of().map(|(_, chain)| chain).collect();
        match targets.as_slice() {
            [] => {}
            [one] => rules.push(vec![Statement::goto(one.clone())]),
            _ => rules.push(vec![Statement::Choose(targets.into())]),
        }
        rules
    }

    fn endpoint(&self, fragment: &mut Fragment, endpoint: &SocketAddr, chain: Name) {
        // An endpoint that calls its own service would answer itself directly.
        let itself = Statement::within(Side::Source, [IpNet::from(endpoint.ip())]);
        let mut rules = vec![vec![itself, Statement::jump(MARK)]];
        if let (Some(set), Some(seconds)) = (self.affinity_set(endpoint), self.service.affinity) {
            rules.push(vec![Statement::Remember(set.clone())]);
            let clients = Set { key: &[Kind::Address], holds: Holds::Nothing, timeout: Some(seconds) };
            fragment.sets.insert((self.family, set), clients);
        }
        rules.push(vec![Statement::Protocol(self.port.protocol), Statement::Translate(*endpoint)]);
        fragment.chain(self.family, chain, rules);
    }

    /// The set of clients that return to an endpoint. The time is part of its name, since a set's timeout
    /// cannot be changed.
    fn affinity_set(&self, endpoint: &SocketAddr) -> Option<Name> {
        let seconds = self.service.affinity?;
        Some(self.endpoint_name(&format!("clients{seconds}"), endpoint))
    }

    fn name(&self, kind: &str) -> Name {
        self.text(kind).into()
    }

    fn text(&self, kind: &str) -> String {
        let (service, port) = (self.service, self.port);
        format!("{kind}-{}/{}/{}/{}", service.namespace, service.name, port.protocol, port.port)
    }

    fn endpoint_name(&self, kind: &str, endpoint: &SocketAddr) -> Name {
        let ip = endpoint.ip().to_string().replace(':', "_");
        format!("{}/{ip}/{}", self.text(kind), endpoint.port()).into()
    }
}
