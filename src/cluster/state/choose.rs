//! Choosing what a new cluster gets, so that it meets neither the other clusters of the host nor the host itself.
use super::reserve::Reservations;
use super::{MORE_API_SERVERS, Ports, Publish, State};
use anyhow::{Context, Result, bail};
use ipnet::Ipv6Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

/// The clusters one host can hold: each takes a pair of /16 networks from 10.42.0.0 up.
const SLOTS: u8 = 100;

/// What the user asked for; the rest is chosen.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// API server's port.
    pub api_port: Option<u16>,
    /// Node name.
    pub node_name: Option<String>,
    /// Pod network.
    pub cluster_cidr: Option<String>,
    /// Service network.
    pub service_cidr: Option<String>,
    /// Host ports that lead to node ports.
    pub publish: Vec<Publish>,
    /// Ranges of IPv6 beside those of IPv4, where none are named.
    pub dual_stack: bool,
    /// Address of the host that other hosts reach it by.
    pub address: Option<IpAddr>,
    /// API servers beside the first.
    pub more_api_servers: usize,
}

/// Chooses slot, networks, address and ports of a new cluster beside the `others` of this host; nobody else chooses them
/// as long as the reservations are held.
pub fn choose(name: &str, wishes: &Wishes, others: &[State]) -> Result<(State, Reservations)> {
    let mut taken: Vec<Network> = addresses().into_iter().map(Network::of).collect();
    for other in others {
        let ranges = [&other.cluster_cidr, &other.service_cidr].into_iter().flat_map(|cidr| cidr.split(','));
        taken.extend(ranges.flat_map(str::parse::<Network>));
    }
    let mut reserved = Reservations::default();
    let slot = choose_slot(others, &taken, |slot| reserved.take(&format!("slot/{slot}")))?;
    let (cluster_cidr, pods6) =
        networks("cluster-cidr", wishes.cluster_cidr.as_deref(), slot_networks(slot).0, &mut taken)?;
    let (service_cidr, services6) =
        networks("service-cidr", wishes.service_cidr.as_deref(), slot_networks(slot).1, &mut taken)?;
    let (pods6, services6) = both_families(slot, wishes, pods6, services6)?;
    // The first cluster owns the host's address; the others answer on their bridge's, so that equal node
    // ports of two clusters do not meet.
    let bridge = IpAddr::V4(cluster_cidr.address(1));
    let node_ip = match wishes.address {
        Some(address) => own_address(address)?,
        None if slot == 0 => host_address().unwrap_or(bridge),
        None => bridge,
    };
    let mut chooser = PortChooser { taken: Vec::new(), reserved };
    for other in others {
        chooser.taken.extend(other.ports.all().map(|(_, port)| port));
        chooser.taken.extend(&other.more_api_ports);
        chooser.taken.extend(other.publish.iter().map(|publish| publish.port));
    }
    let api = wishes.api_port.map(|port| chooser.wished("api-port", port)).transpose()?;
    for publish in &wishes.publish {
        chooser.wished("publish", publish.port)?;
    }
    let ports = Ports {
        api: api.map_or_else(|| chooser.free_from(6443), Ok)?,
        kubelet: chooser.free_from(10250)?,
        controllers: chooser.free_from(10257)?,
        scheduler: chooser.free_from(10259)?,
        proxy: chooser.free_from(10256)?,
    };
    let more = (0..wishes.more_api_servers.min(MORE_API_SERVERS)).map(|_| chooser.free_from(6444));
    let more_api_ports = more.collect::<Result<Vec<_>>>()?;
    let state = State {
        slot,
        node_name: wishes.node_name.clone().map_or_else(host_name, Ok)?,
        node_ip,
        ports,
        node_ip6: pods6.and_then(|_| host_address6()),
        cluster_cidr: joined(cluster_cidr, pods6),
        service_cidr: joined(service_cidr, services6),
        publish: wishes.publish.clone(),
        more_api_ports,
        ..State::unknown(name)
    };
    Ok((state, chooser.reserved))
}

/// The address, which must be one of this host's.
fn own_address(address: IpAddr) -> Result<IpAddr> {
    if !matches!(address, IpAddr::V4(ip) if addresses().contains(&ip)) {
        bail!("{address} is no IPv4 address of this host; `ip address` lists those it has");
    }
    Ok(address)
}

/// The first slot that no other cluster has and whose networks are free. An address of the host in one of them may be
/// of another user's clusters, another program's, or of a real network.
fn choose_slot(others: &[State], taken: &[Network], mut reserve: impl FnMut(u8) -> bool) -> Result<u8> {
    let free = |slot: &u8| {
        let (pods, services) = slot_networks(*slot);
        others.iter().all(|other| other.slot != *slot)
            && taken.iter().all(|network| !pods.overlaps(*network) && !services.overlaps(*network))
    };
    (0..SLOTS)
        .find(|slot| free(slot) && reserve(*slot))
        .with_context(|| format!("this host already holds {SLOTS} clusters"))
}

/// The networks of the pods and of the Services of a slot.
fn slot_networks(slot: u8) -> (Network, Network) {
    let network = |second: u8| Network { base: u32::from(Ipv4Addr::new(10, second, 0, 0)), length: 16 };
    (network(42 + 2 * slot), network(43 + 2 * slot))
}

/// The IPv4 network and, behind a comma, the IPv6 network of a wish, or the `usual` IPv4 network.
fn networks(
    flag: &str,
    wish: Option<&str>,
    usual: Network,
    taken: &mut Vec<Network>,
) -> Result<(Network, Option<Ipv6Net>)> {
    let (wish, second) = match wish.and_then(|text| text.split_once(',')) {
        Some((first, second)) => (Some(first), Some(second)),
        None => (wish, None),
    };
    let second = second.map(|text| {
        let parsed = text.trim().parse::<Ipv6Net>().ok().filter(|net| net.trunc() == *net);
        parsed.with_context(|| format!("--{flag}: {text:?} is no IPv6 network, as in fd42:42::/56"))
    });
    Ok((network(flag, wish, usual, taken)?, second.transpose()?))
}

/// IPv6 networks of pods and Services: those that are wished, which must be both, or the slot's.
fn both_families(
    slot: u8,
    wishes: &Wishes,
    pods: Option<Ipv6Net>,
    services: Option<Ipv6Net>,
) -> Result<(Option<Ipv6Net>, Option<Ipv6Net>)> {
    let second = u16::from(42 + 2 * slot);
    let usual = |first: u16, length| {
        let base = Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0);
        Ipv6Net::new(base, length).context("a network of the slot")
    };
    match (pods, services) {
        (None, None) if wishes.dual_stack => Ok((Some(usual(0xfd42, 56)?), Some(usual(0xfd43, 112)?))),
        (None, None) => Ok((None, None)),
        (Some(pods), _) if pods.prefix_len() > 63 => {
            bail!("--cluster-cidr: {pods} has no room for networks of 64 bits, one a node")
        }
        (Some(_), Some(services)) if !(64..=120).contains(&services.prefix_len()) => {
            bail!("--service-cidr: {services} must have a length from 64 to 120 bits")
        }
        (Some(_), Some(_)) => Ok((pods, services)),
        _ => bail!("--cluster-cidr and --service-cidr must both name an IPv6 network, or neither"),
    }
}

fn joined(first: Network, second: Option<Ipv6Net>) -> String {
    second.map_or_else(|| first.to_string(), |second| format!("{first},{second}"))
}

/// The wished network, or the `usual` one, unless it meets a `taken` one.
fn network(flag: &str, wish: Option<&str>, usual: Network, taken: &mut Vec<Network>) -> Result<Network> {
    let chosen: Network = match wish {
        Some(text) => text.parse().map_err(|e| anyhow::anyhow!("--{flag}: {e}"))?,
        None => usual,
    };
    if taken.iter().any(|other| other.overlaps(chosen)) {
        bail!(
            "--{flag}: {chosen} is in use on this host; choose another, or leave it out to have one chosen"
        );
    }
    taken.push(chosen);
    Ok(chosen)
}

/// An IPv4 network that can hold a cluster's pods or Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    base: u32,
    length: u8,
}

impl Network {
    /// A single address.
    fn of(ip: Ipv4Addr) -> Self {
        Self { base: u32::from(ip), length: 32 }
    }

    fn address(self, last: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + last)
    }

    fn overlaps(self, other: Self) -> bool {
        let bits = u32::from(self.length.min(other.length));
        bits == 0 || (self.base ^ other.base) >> (32 - bits) == 0
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no IPv4 network of at most 24 bits, as in 10.42.0.0/16");
        let (ip, length) = text.split_once('/').ok_or_else(refused)?;
        let (ip, length): (Ipv4Addr, u8) =
            (ip.parse().map_err(|_| refused())?, length.parse().map_err(|_| refused())?);
        let network = Self { base: u32::from(ip), length };
        // Room for the gateway and cluster DNS, and no bits of a host.
        if !(8..=24).contains(&length) || network.base << length != 0 {
            return Err(refused());
        }
        Ok(network)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.length)
    }
}

/// Hands out ports that are free on the host and not promised to another cluster.
struct PortChooser {
    taken: Vec<u16>,
    reserved: Reservations,
}

impl PortChooser {
    fn wished(&mut self, flag: &str, port: u16) -> Result<u16> {
        if !self.take(port) {
            bail!(
                "--{flag}: port {port} is in use; choose another, or end what listens there (see `ss -ltnp`)"
            );
        }
        Ok(port)
    }

    fn free_from(&mut self, first: u16) -> Result<u16> {
        // Steps of 20 keep the ports of one cluster recognisable beside those of the next.
        let mut candidates = (0..500_u16).map(|n| first + 20 * n);
        let port = candidates.find(|port| self.take(*port));
        port.with_context(|| format!("no free port from {first} up"))
    }

    fn take(&mut self, port: u16) -> bool {
        // Whoever held it may have begun to listen since, so it is reserved first.
        let free =
            !self.taken.contains(&port) && self.reserved.take(&format!("port/{port}")) && is_free(port);
        if free {
            self.taken.push(port);
        }
        free
    }
}

/// Whether nobody listens on a port of this host.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// The host's IPv4 addresses; none where they cannot be read.
fn addresses() -> Vec<Ipv4Addr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces.filter_map(|one| one.address?.as_sockaddr_in().map(|address| address.ip())).collect()
}

/// The host's address on its default route, found without sending anything.
fn host_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737): connecting a UDP socket only looks up the route.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

/// The host's IPv6 address on its default route, if it has one.
fn host_address6() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    // The range of documentation (RFC 3849).
    socket.connect((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    Ok(name.to_string_lossy().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_strictly_and_overlaps_seen() {
        for wrong in
            ["10.42.0.0", "10.42.0.0/33", "10.42.1.0/16", "10.42.0.0/25", "x/16", "fd00::/64", "0.0.0.0/0"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let check = |a: &str, b: &str, expected: bool| {
            let (a, b): (Network, Network) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((a.overlaps(b), b.overlaps(a)), (expected, expected), "{a} {b}");
        };
        check("10.42.0.0/16", "10.43.0.0/16", false);
        check("10.42.0.0/16", "10.42.7.0/24", true);
        check("10.0.0.0/8", "10.43.0.0/16", true);
    }

    #[test]
    fn both_families_or_one() {
        let check =
            |dual_stack, pods: Option<&str>, services: Option<&str>, expected: Result<Option<&str>, &str>| {
                let wishes = Wishes { dual_stack, ..Wishes::default() };
                let read =
                    |text: &str| networks("x", Some(text), slot_networks(0).0, &mut Vec::new()).unwrap().1;
                let second = |text: Option<&str>| text.and_then(|text| read(&format!("10.0.0.0/16,{text}")));
                let found = both_families(1, &wishes, second(pods), second(services));
                let found = found.map(|(pods, _)| pods.map(|net| net.to_string())).map_err(|e| e.to_string());
                match (&found, expected) {
                    (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
                    (Err(found), Err(expected)) if found.contains(expected) => {}
                    _ => panic!("{pods:?} {services:?}: {found:?}"),
                }
            };
        check(false, None, None, Ok(None));
        check(true, None, None, Ok(Some("fd42:2c::/56")));
        check(false, Some("fd00::/48"), Some("fd01::/112"), Ok(Some("fd00::/48")));
        check(true, Some("fd00::/48"), None, Err("or neither"));
        check(false, Some("fd00::/64"), Some("fd01::/112"), Err("one a node"));
        check(false, Some("fd00::/48"), Some("fd01::/124"), Err("from 64 to 120"));
        assert!(networks("x", Some("10.0.0.0/16,fd00::1/48"), slot_networks(0).0, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_cluster_meets_neither_others_nor_the_host() {
        let first = State { slot: 0, ..State::unknown("a") };
        let slot = |others: &[State], host: &[[u8; 4]]| {
            let host: Vec<_> = host.iter().map(|ip| Network::of(Ipv4Addr::from(*ip))).collect();
            choose_slot(others, &host, |_| true).unwrap()
        };
        assert_eq!(slot(&[], &[[192, 168, 1, 2]]), 0);
        assert_eq!(slot(std::slice::from_ref(&first), &[]), 1);
        assert_eq!(slot(&[], &[[10, 42, 0, 1]]), 1);
        assert_eq!(slot(&[first], &[[10, 45, 0, 9]]), 2);
        assert_eq!(choose_slot(&[], &[], |slot| slot > 2).unwrap(), 3);
    }
}
