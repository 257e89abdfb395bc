//! What is listened on, and whom a client is led to. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;

use super::Front;
use crate::nft::{Family, Protocol};
use crate::service::Config;
use crate::service::plan::{Outcome, Plans, Port};

/// Clients that a service's port remembers at most; the ones not seen for longest go first.
const MOST_CLIENTS: usize = 100_000;

/// The clients that return to an endpoint, by service port.
pub type Affinities = HashMap<(String, String, Protocol, Family), Arc<Affinity>>;

/// Which client had which endpoint, and when last.
#[derive(Debug, Default)]
pub struct Affinity(Mutex<HashMap<IpAddr, (SocketAddr, Instant)>>);

/// Where a listener leads.
#[derive(Debug, Clone)]
pub struct Route {
    /// The service's port; none: the node's own DNS server.
    port: Option<Arc<Port>>,
    kind: Kind,
    affinity: Arc<Affinity>,
}

impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        (&self.port, &self.kind) == (&other.port, &other.kind)
    }
}

/// What kind of front end it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A virtual address.
    Inside,
    /// An address for clients outside.
    Outside,
    /// A load balancer's address.
    Balanced,
    /// A node port.
    NodePort,
    /// The cluster's DNS, which this server answers.
    Dns(SocketAddr),
}

/// Whom a client may be led to, best first; none: nobody.
pub type Candidates = Vec<SocketAddr>;

impl Route {
    /// Whom a client is led to that called `called`.
    pub fn candidates(&self, client: IpAddr, called: IpAddr, config: &Config, now: Instant) -> Candidates {
        let Some(port) = &self.port else {
            return match self.kind {
                Kind::Dns(server) => vec![server],
                _ => Vec::new(),
            };
        };
        let outcome = match self.kind {
            Kind::Inside => port.inside(),
            Kind::Balanced if !may_call(port, client) => Outcome::Drop,
            Kind::NodePort if called.is_loopback() && !config.localhost_node_ports => Outcome::Refuse,
            _ => port.outside(is_inside(client, called, config)),
        };
        let Outcome::Lead(endpoints) = outcome else { return Vec::new() };
        let first = rand::random_range(0..endpoints.len());
        let mut order: Candidates = endpoints[first..].iter().chain(&endpoints[..first]).copied().collect();
        if let Some(seconds) = port.affinity
            && let Some(known) = self.affinity.get(client, Duration::from_secs(seconds.into()), now)
            && let Some(at) = order.iter().position(|endpoint| *endpoint == known)
        {
            order.swap(0, at);
        }
        order
    }

    /// Notes that a client was led to an endpoint.
    pub fn led(&self, client: IpAddr, endpoint: SocketAddr, now: Instant) {
        if self.port.as_ref().is_some_and(|port| port.affinity.is_some()) {
            self.affinity.put(client, endpoint, now);
        }
    }
}

impl Affinity {
    fn get(&self, client: IpAddr, time: Duration, now: Instant) -> Option<SocketAddr> {
        let known = self.0.lock().get(&client).copied();
        known.filter(|(_, at)| now.saturating_duration_since(*at) < time).map(|(endpoint, _)| endpoint)
    }

    fn put(&self, client: IpAddr, endpoint: SocketAddr, now: Instant) {
        let mut clients = self.0.lock();
        if clients.len() >= MOST_CLIENTS && !clients.contains_key(&client) {
            let oldest = clients.iter().min_by_key(|(_, (_, at))| *at).map(|(client, _)| *client);
            oldest.map(|oldest| clients.remove(&oldest));
        }
        clients.insert(client, (endpoint, now));
    }
}

/// Whether a load balancer's source ranges let a client pass. A node that carries the balancer's address itself calls from
/// that address.
fn may_call(port: &Port, client: IpAddr) -> bool {
    let among = |ranges: &Vec<IpNet>| ranges.iter().any(|range| range.contains(&client));
    port.sources.as_ref().is_none_or(among) || port.balanced.contains(&client)
}

/// Pods and this host are inside: a call that leaves this host by its own address comes from it.
fn is_inside(client: IpAddr, called: IpAddr, config: &Config) -> bool {
    client == called || client.is_loopback() || config.cluster_cidrs.iter().any(|pods| pods.contains(&client))
}

/// All that is to be listened on. `local` are the host's addresses.
pub fn wanted(
    plans: &Plans,
    config: &Config,
    local: &[IpAddr],
    affinities: &mut Affinities,
) -> BTreeMap<Front, Arc<Route>> {
    let mut wanted = BTreeMap::new();
    let mut kept = Affinities::new();
    let mut add = |front: Front, route: Route| {
        wanted.entry(front).or_insert_with(|| Arc::new(route));
    };
    for (ip, server) in &config.dns {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let route = Route { port: None, kind: Kind::Dns(*server), affinity: Arc::default() };
            add(Front { at: SocketAddr::new(*ip, 53), protocol }, route);
        }
    }
    let ports = plans.values().flat_map(|plan| &plan.ports);
    for port in ports.filter(|port| !port.all.is_empty() && port.protocol != Protocol::Sctp) {
        let key = (port.service.clone(), port.name.clone(), port.protocol, port.family);
        let affinity = affinities.get(&key).cloned().unwrap_or_default();
        kept.insert(key, affinity.clone());
        let port = Arc::new(port.clone());
        for (ip, number, kind) in fronts(&port, config, local) {
            let front = Front { at: SocketAddr::new(ip, number), protocol: port.protocol };
            add(front, Route { port: Some(port.clone()), kind, affinity: affinity.clone() });
        }
    }
    *affinities = kept;
    wanted
}

/// Addresses and ports at which a service's port answers.
fn fronts(port: &Port, config: &Config, local: &[IpAddr]) -> Vec<(IpAddr, u16, Kind)> {
    let mut fronts = Vec::new();
    if matches!(port.inside(), Outcome::Lead(_)) {
        fronts.extend(port.internal.iter().map(|ip| (*ip, port.port, Kind::Inside)));
    }
    fronts.extend(port.external.iter().map(|ip| (*ip, port.port, Kind::Outside)));
    fronts.extend(port.balanced.iter().map(|ip| (*ip, port.port, Kind::Balanced)));
    if let Some(number) = port.node_port {
        let addresses = node_addresses(port, local, &config.node_port_addresses);
        fronts.extend(addresses.into_iter().map(|ip| (ip, number, Kind::NodePort)));
    }
    for number in &port.published {
        let addresses = node_addresses(port, local, &[]);
        fronts.extend(addresses.into_iter().map(|ip| (ip, *number, Kind::Outside)));
    }
    fronts
}

/// The node's addresses of a family, within ranges where there are any. Each is listened on: an answer must come from the
/// address that was called, and other addresses may be services'.
fn node_addresses(port: &Port, local: &[IpAddr], ranges: &[IpNet]) -> Vec<IpAddr> {
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let of_family = local.iter().filter(|ip| Family::of(ip) == port.family && !link_local(ip));
    let within = |ip: &&IpAddr| ranges.is_empty() || ranges.iter().any(|range| range.contains(*ip));
    of_family.filter(within).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Plan;

    fn port() -> Port {
        let at = |text: &str| text.parse().unwrap();
        Port {
            service: "a/b".to_owned(),
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            family: Family::V4,
            internal: vec!["10.96.0.20".parse().unwrap()],
            external: Vec::new(),
            balanced: vec!["203.0.113.9".parse().unwrap()],
            node_port: Some(30080),
            published: vec![8000],
            sources: Some(vec!["192.0.2.0/24".parse().unwrap()]),
            affinity: None,
            internal_local: false,
            external_local: true,
            all: vec![at("10.244.0.5:80"), at("10.244.1.5:80")],
            local: vec![at("10.244.0.5:80")],
            here: Default::default(),
        }
    }

    fn routes(port: Port, config: &Config) -> BTreeMap<Front, Arc<Route>> {
        let plan = Plan { ports: vec![port], ..Plan::default() };
        let plans = Plans::from_iter([(Arc::from("a/b"), Arc::new(plan))]);
        wanted(
            &plans,
            config,
            &["192.0.2.1", "127.0.0.1"].map(|ip| ip.parse().unwrap()),
            &mut Affinities::default(),
        )
    }

    fn config() -> Config {
        let cluster_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
        Config { cluster_cidrs, localhost_node_ports: false, ..Config::default() }
    }

    #[test]
    fn clients_are_led_as_their_front_end_says() {
        let (config, now) = (config(), Instant::now());
        let routes = routes(port(), &config);
        let at: Vec<String> = routes.keys().map(|front| front.at.to_string()).collect();
        assert_eq!(
            at,
            [
                "10.96.0.20:80",
                "127.0.0.1:8000",
                "127.0.0.1:30080",
                "192.0.2.1:8000",
                "192.0.2.1:30080",
                "203.0.113.9:80",
            ]
        );
        let check = |front: &str, client: &str, expected: usize| {
            let front = Front { at: front.parse().unwrap(), protocol: Protocol::Tcp };
            let found = routes[&front].candidates(client.parse().unwrap(), front.at.ip(), &config, now);
            assert_eq!(found.len(), expected, "{front:?} {client}");
        };
        check("10.96.0.20:80", "10.244.0.9", 2);
        check("192.0.2.1:30080", "198.51.100.1", 1);
        check("192.0.2.1:30080", "10.244.0.9", 2);
        check("192.0.2.1:30080", "192.0.2.1", 2);
        check("127.0.0.1:30080", "127.0.0.1", 0);
        check("203.0.113.9:80", "192.0.2.7", 1);
        check("203.0.113.9:80", "198.51.100.1", 0);
        check("127.0.0.1:8000", "127.0.0.1", 2);
    }

    #[test]
    fn clients_return_for_as_long_as_the_service_says() {
        let (config, now) = (config(), Instant::now());
        let routes = routes(Port { affinity: Some(60), ..port() }, &config);
        let front = Front { at: "10.96.0.20:80".parse().unwrap(), protocol: Protocol::Tcp };
        let (route, client) = (&routes[&front], "10.244.0.9".parse().unwrap());
        let first = |at| route.candidates(client, front.at.ip(), &config, at)[0];
        let known = "10.244.1.5:80".parse().unwrap();
        route.led(client, known, now);
        assert!((0..30).all(|_| first(now + Duration::from_secs(59)) == known));
        assert!((0..60).any(|_| first(now + Duration::from_secs(60)) != known));
    }
}
