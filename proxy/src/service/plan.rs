//! What is to become of a Service's traffic: which of its addresses and ports are served here, for whom, by which
//! endpoints. Every mode of the proxy carries out the same plans.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use ipnet::IpNet;

use super::model::{Endpoint, Endpoints, Frontend, Service, ServicePort};
use super::{Config, ranges};
use crate::conntrack::UdpFrontend;
use crate::nft::{Family, Protocol};

/// The plans of all services by `namespace/name`. Cloning costs nothing, and what two states share is passed over when
/// they are compared.
pub type Plans = OrdMap<Arc<str>, Arc<Plan>>;

/// The services whose plans differ between two states, with what they were and are.
pub fn changes<'a>(
    old: &'a Plans,
    new: &'a Plans,
) -> impl Iterator<Item = (&'a str, Option<&'a Plan>, Option<&'a Plan>)> {
    old.diff(new).map(|item| match item {
        DiffItem::Add(key, new) => (&**key, None, Some(&**new)),
        DiffItem::Update { old: (key, old), new: (_, new) } => (&**key, Some(&**old), Some(&**new)),
        DiffItem::Remove(key, old) => (&**key, Some(&**old), None),
    })
}

/// The plan of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its virtual addresses, but for those of the cluster's DNS.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports, in each family that it is served in.
    pub ports: Vec<Port>,
    /// UDP front ends, in order.
    pub udp: Vec<UdpFrontend>,
    /// Port on every node whose HTTP answer tells load balancers whether endpoints are here.
    pub health_check_node_port: Option<u16>,
}

/// A port of a service in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `namespace/name` of the service.
    pub service: String,
    /// Name of the port, empty for a single unnamed one.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port of the addresses.
    pub port: u16,
    /// Family of all addresses here.
    pub family: Family,
    /// Virtual addresses.
    pub internal: Vec<IpAddr>,
    /// Addresses from outside that end at a node.
    pub external: Vec<IpAddr>,
    /// Addresses that a load balancer delivers.
    pub balanced: Vec<IpAddr>,
    /// Port on the node's addresses.
    pub node_port: Option<u16>,
    /// Ports of the host that lead where the node port leads.
    pub published: Vec<u16>,
    /// Who may use the load balancer's addresses; everybody where there is nothing.
    pub sources: Option<Vec<IpNet>>,
    /// Seconds for which a client returns to the same endpoint, if it does.
    pub affinity: Option<u32>,
    /// Clients inside get endpoints on this node only.
    pub internal_local: bool,
    /// Clients outside get endpoints on this node only, and keep their address.
    pub external_local: bool,
    /// Endpoints that take connections, anywhere.
    pub all: Vec<SocketAddr>,
    /// Endpoints that take connections, on this node.
    pub local: Vec<SocketAddr>,
    /// Addresses of endpoints that may be on this node, whether or not they take connections.
    pub here: BTreeSet<IpAddr>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is refused: the service has no endpoints.
    Refuse,
    /// It comes to nothing: others have endpoints for it.
    Drop,
    /// One of these endpoints gets it.
    Lead(&'a [SocketAddr]),
}

impl Port {
    /// What clients of the virtual addresses get.
    pub fn inside(&self) -> Outcome<'_> {
        self.outcome(if self.internal_local { &self.local } else { &self.all })
    }

    /// What clients of the other addresses and of node ports get; the policy Local is not for pods and the host itself,
    /// which are inside whatever they call.
    pub fn outside(&self, is_inside: bool) -> Outcome<'_> {
        self.outcome(if self.external_local && !is_inside { &self.local } else { &self.all })
    }

    fn outcome<'a>(&'a self, endpoints: &'a [SocketAddr]) -> Outcome<'a> {
        match endpoints {
            _ if self.all.is_empty() => Outcome::Refuse,
            [] => Outcome::Drop,
            some => Outcome::Lead(some),
        }
    }

    /// Endpoints that take connections from anybody.
    pub fn either(&self) -> BTreeSet<SocketAddr> {
        self.all.iter().chain(&self.local).copied().collect()
    }

    /// Whether anything but the virtual addresses leads here.
    pub fn has_outside(&self) -> bool {
        !self.external.is_empty() || !self.balanced.is_empty() || self.node_port.is_some()
    }
}

/// Plans a service. `owns` says whether a front end is this service's, where several ask for it.
pub(super) fn plan(
    service: &Service,
    endpoints: &Endpoints,
    config: &Config,
    owns: &dyn Fn(&Frontend) -> bool,
) -> Plan {
    let is_dns = |ip: &&IpAddr| config.dns.iter().any(|(dns, _)| dns == *ip);
    let mut plan = Plan {
        cluster_ips: service.cluster_ips.iter().filter(|ip| !is_dns(ip)).copied().collect(),
        health_check_node_port: service.health_check_node_port,
        ..Plan::default()
    };
    for port in &service.ports {
        let of_port = endpoints.get(&(port.name.clone(), port.protocol));
        for family in Family::ALL {
            let of_family: Vec<&Endpoint> =
                of_port.into_iter().flatten().filter(|e| Family::of(&e.address.ip()) == family).collect();
            let planned = Planned { service, port, family, config, owns }.port(of_family);
            if !planned.internal.is_empty() || planned.has_outside() {
                plan.udp.extend(udp(&planned));
                plan.ports.push(planned);
            }
        }
    }
    plan.udp.sort();
    plan
}

/// The UDP front ends of a port.
fn udp(port: &Port) -> Vec<UdpFrontend> {
    if port.protocol != Protocol::Udp {
        return Vec::new();
    }
    let endpoints: Vec<SocketAddr> = port.either().into_iter().collect();
    let frontend = |address, port| UdpFrontend { address, port, endpoints: endpoints.clone() };
    let addresses = port.internal.iter().chain(&port.external).chain(&port.balanced);
    let of_addresses = addresses.map(|ip| frontend(Some(*ip), port.port));
    of_addresses.chain(port.node_port.map(|number| frontend(None, number))).collect()
}

/// What a port's plan follows from.
struct Planned<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
    config: &'a Config,
    owns: &'a dyn Fn(&Frontend) -> bool,
}

impl Planned<'_> {
    fn port(&self, endpoints: Vec<&Endpoint>) -> Port {
        let (service, port) = (self.service, self.port);
        let here = endpoints.iter().filter(|e| !e.elsewhere).map(|e| e.address.ip()).collect();
        let local: Vec<&Endpoint> = endpoints.iter().copied().filter(|e| e.local).collect();
        let node_port = port.node_port.filter(|p| self.has_family() && self.is_owned(None, *p));
        let leads_here = |to: &u16| node_port == Some(*to);
        let ranges_of = |all: &[IpNet]| ranges(all, self.family);
        Port {
            service: service.key(),
            name: port.name.clone(),
            protocol: port.protocol,
            port: port.port,
            family: self.family,
            internal: self.owned(&service.cluster_ips),
            external: self.owned(&service.external_ips),
            balanced: self.owned(&service.load_balancer_ips),
            node_port,
            published: self
                .config
                .published
                .iter()
                .filter(|(_, to)| leads_here(to))
                .map(|(from, _)| *from)
                .collect(),
            sources: (!service.source_ranges.is_empty()).then(|| ranges_of(&service.source_ranges)),
            affinity: service.affinity,
            internal_local: service.internal_local,
            external_local: service.external_local,
            all: choose(&nearest(endpoints, self.config)),
            local: choose(&local),
            here,
        }
    }

    /// Whether the service has this family: node ports answer in those of its virtual addresses only.
    fn has_family(&self) -> bool {
        self.service.cluster_ips.iter().any(|ip| Family::of(ip) == self.family)
    }

    /// The addresses of this family at which the service answers.
    fn owned(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let of_family = addresses.iter().copied().filter(|ip| Family::of(ip) == self.family);
        of_family.filter(|ip| !self.is_dns(ip) && self.is_owned(Some(*ip), self.port.port)).collect()
    }

    fn is_owned(&self, address: Option<IpAddr>, port: u16) -> bool {
        (self.owns)(&Frontend { address, protocol: self.port.protocol, port })
    }

    /// Whether the node answers at this address and port itself, as the cluster's DNS.
    fn is_dns(&self, ip: &IpAddr) -> bool {
        self.port.port == 53
            && self.port.protocol != Protocol::Sctp
            && self.config.dns.iter().any(|(dns, _)| dns == ip)
    }
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
