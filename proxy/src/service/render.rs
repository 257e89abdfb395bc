//! The rules of one service.
//!
//! A front end leads to one of these chains of a service port, each of which leads to the next:
//! - `fw-`: lets only `loadBalancerSourceRanges` pass;
//! - `ext-`: traffic from outside: masquerades it, or keeps it on this node (policy Local);
//! - `svc-` and `local-`: choose among all endpoints, or among this node's;
//! - `ep-`: translates to one endpoint, and remembers the client where the service has affinity.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::nft::{Family, Fragment, UdpFrontend};

use super::base::{CLUSTER_IPS, MARK, NODE_PORTS, PUBLISHED, REFUSE, SERVICE_IPS};
use super::model::{Endpoint, Endpoints, Frontend, Protocol, Service, ServicePort};
use super::{Config, ranges};

/// Renders a service. `owns` says whether a front end is this service's, where several ask for it.
pub(super) fn fragment(
    service: &Service,
    endpoints: &Endpoints,
    config: &Config,
    owns: &dyn Fn(&Frontend) -> bool,
) -> Fragment {
    let mut fragment = Fragment::default();
    for ip in service.cluster_ips.iter().filter(|ip| config.dns.iter().all(|(dns, _)| dns != *ip)) {
        fragment.member(Family::of(ip), CLUSTER_IPS, ip.to_string());
    }
    for port in &service.ports {
        let of_port = endpoints.get(&(port.name.clone(), port.protocol));
        for family in Family::ALL {
            let all: Vec<&Endpoint> =
                of_port.into_iter().flatten().filter(|e| Family::of(&e.address.ip()) == family).collect();
            let local: Vec<&Endpoint> = all.iter().copied().filter(|e| e.local).collect();
            let (all, local) = (choose(&nearest(all, config)), choose(&local));
            Port { service, port, family, config, owns, all, local }.render(&mut fragment);
        }
    }
    fragment.udp.sort();
    fragment
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
}

impl Port<'_> {
    fn render(&self, fragment: &mut Fragment) {
        let internal = self.owned(&self.service.cluster_ips);
        let external = self.owned(&self.service.external_ips);
        let balanced = self.owned(&self.service.load_balancer_ips);
        let node_port = self.port.node_port.filter(|p| self.has_family() && self.is_owned(None, *p));
        let outside = !external.is_empty() || !balanced.is_empty() || node_port.is_some();
        if internal.is_empty() && !outside {
            return;
        }
        self.endpoints(fragment);
        let inside = self.internal_verdict();
        internal.iter().for_each(|ip| self.answer(fragment, Some(*ip), self.port.port, &inside));
        if !outside {
            return;
        }
        let through = self.external(fragment);
        let balancer = if balanced.is_empty() { String::new() } else { self.firewall(fragment, &through) };
        external.iter().for_each(|ip| self.answer(fragment, Some(*ip), self.port.port, &through));
        balanced.iter().for_each(|ip| self.answer(fragment, Some(*ip), self.port.port, &balancer));
        if let Some(port) = node_port {
            self.answer(fragment, None, port, &through);
            self.publish(fragment, port, &through);
        }
    }

    /// Whether the service has this family: node ports answer in those of its virtual addresses only.
    fn has_family(&self) -> bool {
        self.service.cluster_ips.iter().any(|ip| Family::of(ip) == self.family)
    }

    /// Leads published ports of the host where their node port leads.
    fn publish(&self, fragment: &mut Fragment, node_port: u16, verdict: &str) {
        for (port, _) in self.config.published.iter().filter(|(_, to)| *to == node_port) {
            fragment.map(self.family, PUBLISHED, format!("{} . {port}", self.port.protocol), verdict);
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

    /// What a client inside the cluster gets.
    fn internal_verdict(&self) -> String {
        if self.all.is_empty() {
            format!("goto {REFUSE}")
        } else if !self.service.internal_local {
            format!("goto {}", self.name("svc"))
        } else if self.local.is_empty() {
            "drop".to_owned()
        } else {
            format!("goto {}", self.name("local"))
        }
    }

    /// What a client outside gets: the verdict, and the chain it leads to.
    fn external(&self, fragment: &mut Fragment) -> String {
        if self.all.is_empty() {
            return format!("goto {REFUSE}");
        }
        let (ip, svc) = (self.family.ip(), self.name("svc"));
        let rules = if self.service.external_local {
            let mut rules = Vec::new();
            // Pods and this host are inside: for them the policy does not count.
            rules.extend(self.config.pods(self.family).map(|pods| format!("{ip} saddr {pods} goto {svc}")));
            rules.push(format!("fib saddr type local jump {MARK}"));
            rules.push(format!("fib saddr type local goto {svc}"));
            rules.push(match self.local.is_empty() {
                true => "drop".to_owned(),
                false => format!("goto {}", self.name("local")),
            });
            rules
        } else {
            vec![format!("jump {MARK}"), format!("goto {svc}")]
        };
        fragment.chain(self.family, self.name("ext"), rules);
        format!("goto {}", self.name("ext"))
    }

    /// Restricts the load balancer's addresses to the service's source ranges, if it has any.
    fn firewall(&self, fragment: &mut Fragment, through: &str) -> String {
        if self.service.source_ranges.is_empty() {
            return through.to_owned();
        }
        let ip = self.family.ip();
        let mut rules = Vec::new();
        let allowed = ranges(&self.service.source_ranges, self.family);
        rules.extend(allowed.map(|ranges| format!("{ip} saddr {ranges} {through}")));
        // A node that carries the balancer's address itself calls from that address.
        for own in self.owned(&self.service.load_balancer_ips) {
            rules.push(format!("{ip} saddr {own} {through}"));
        }
        rules.push("drop".to_owned());
        fragment.chain(self.family, self.name("fw"), rules);
        format!("goto {}", self.name("fw"))
    }

    /// Adds a front end.
    fn answer(&self, fragment: &mut Fragment, address: Option<IpAddr>, port: u16, verdict: &str) {
        let protocol = self.port.protocol;
        match address {
            Some(ip) => {
                fragment.map(self.family, SERVICE_IPS, format!("{ip} . {protocol} . {port}"), verdict)
            }
            None => fragment.map(self.family, NODE_PORTS, format!("{protocol} . {port}"), verdict),
        }
        if protocol == Protocol::Udp {
            let endpoints: BTreeSet<SocketAddr> = self.all.iter().chain(&self.local).copied().collect();
            fragment.udp.push(UdpFrontend { address, port, endpoints: endpoints.into_iter().collect() });
        }
    }

    /// Adds the chains that choose an endpoint, and those of the endpoints.
    fn endpoints(&self, fragment: &mut Fragment) {
        let mut all = Vec::new();
        if let Some(pods) = self.config.pods(self.family) {
            all.push(format!("{} saddr != {pods} jump {MARK}", self.family.ip()));
        }
        all.extend(self.balance(&self.all));
        if !self.all.is_empty() {
            fragment.chain(self.family, self.name("svc"), all);
        }
        if !self.local.is_empty() && (self.service.internal_local || self.service.external_local) {
            fragment.chain(self.family, self.name("local"), self.balance(&self.local));
        }
        let endpoints: BTreeSet<SocketAddr> = self.all.iter().chain(&self.local).copied().collect();
        endpoints.iter().for_each(|e| self.endpoint(fragment, e));
    }

    /// Rules that lead back to the client's endpoint, or else to any with equal chance.
    fn balance(&self, endpoints: &[SocketAddr]) -> Vec<String> {
        let ip = self.family.ip();
        let affine = endpoints.iter().filter_map(|e| {
            let set = self.affinity_set(e)?;
            Some(format!("{ip} saddr @{set} goto {}", self.endpoint_name("ep", e)))
        });
        let mut rules: Vec<String> = affine.collect();
        let targets: Vec<String> =
            endpoints.iter().map(|e| format!("goto {}", self.endpoint_name("ep", e))).collect();
        match targets.as_slice() {
            [] => {}
            [one] => rules.push(one.clone()),
            many => {
                let numbered: Vec<String> =
                    many.iter().enumerate().map(|(i, t)| format!("{i} : {t}")).collect();
                rules.push(format!("numgen random mod {} vmap {{ {} }}", many.len(), numbered.join(", ")));
            }
        }
        rules
    }

    fn endpoint(&self, fragment: &mut Fragment, endpoint: &SocketAddr) {
        let ip = self.family.ip();
        // An endpoint that calls its own service would answer itself directly.
        let mut rules = vec![format!("{ip} saddr {} jump {MARK}", endpoint.ip())];
        if let (Some(set), Some(seconds)) = (self.affinity_set(endpoint), self.service.affinity) {
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
            let address = self.family.address_type();
            let declaration = format!("type {address}; flags dynamic,timeout; timeout {seconds}s;");
            fragment.declare_set(self.family, set, declaration);
        }
        rules.push(format!("meta l4proto {} dnat to {endpoint}", self.port.protocol));
        fragment.chain(self.family, self.endpoint_name("ep", endpoint), rules);
    }

    /// The set of clients that return to an endpoint. The time is part of its name, since a set's timeout
    /// cannot be changed.
    fn affinity_set(&self, endpoint: &SocketAddr) -> Option<String> {
        let seconds = self.service.affinity?;
        Some(self.endpoint_name(&format!("clients{seconds}"), endpoint))
    }

    fn name(&self, kind: &str) -> String {
        let (service, port) = (self.service, self.port);
        format!("{kind}-{}/{}/{}/{}", service.namespace, service.name, port.protocol, port.port)
    }

    fn endpoint_name(&self, kind: &str, endpoint: &SocketAddr) -> String {
        let ip = endpoint.ip().to_string().replace(':', "_");
        format!("{}/{ip}/{}", self.name(kind), endpoint.port())
    }
}
