//! What leads to the pods of other nodes, as plain data.
//!
//! Each node is the next hop of its own pods: by VXLAN, in which a node's address is the first of its range of pods and
//! its hardware address follows from that range, or by a plain route where both nodes are on one network (host-gw). So a
//! node needs to know nothing of another but what is in its Node object.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::ValueEnum;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

use crate::names;

/// How packets reach pods of other nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// In UDP packets from node to node, over any network
    #[default]
    Vxlan,
    /// By routes to the other nodes, which must all be on one network
    HostGw,
    /// By nothing of ours: the network around the nodes routes their ranges of pods
    None,
}

impl Backend {
    /// What a packet of pods gets longer by on its way, in bytes: outer headers of Ethernet, IP, UDP and VXLAN.
    pub fn overhead(self, node: IpAddr) -> u32 {
        match (self, node) {
            (Backend::Vxlan, IpAddr::V4(_)) => 50,
            (Backend::Vxlan, IpAddr::V6(_)) => 70,
            _ => 0,
        }
    }
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its ranges of pods.
    pub pods: Vec<IpNet>,
}

/// This node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub name: String,
    /// Its address with the network that it is in.
    pub network: IpNet,
    /// How packets leave it.
    pub backend: Backend,
    /// With VXLAN: whether nodes on this network are reached without it.
    pub direct: bool,
}

/// How a range of pods is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the tunnel, by this address in it.
    Tunnel(IpAddr),
    /// By this node.
    Direct(IpAddr),
}

/// What should be there for all peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ways by range of pods.
    pub routes: BTreeMap<IpNet, Way>,
    /// Hardware addresses by address in the tunnel.
    pub neighbours: BTreeMap<IpAddr, [u8; 6]>,
    /// Nodes by hardware address in the tunnel.
    pub forwarding: BTreeMap<[u8; 6], IpAddr>,
    /// Nodes that cannot be reached, since they are on another network.
    pub unreachable: Vec<IpAddr>,
}

/// The nodes besides `own` that have an address of the family of `like` and ranges of pods.
pub fn peers<'a>(nodes: impl Iterator<Item = &'a Node>, own: &str, like: IpAddr) -> Vec<Peer> {
    let others = nodes.filter(|node| node.metadata.name.as_deref() != Some(own));
    let peer = |node: &Node| {
        let pods = pod_cidrs(node);
        let address = addresses(node).into_iter().find(|ip| ip.is_ipv4() == like.is_ipv4())?;
        (!pods.is_empty()).then_some(Peer { address, pods })
    };
    others.filter_map(peer).collect()
}

/// The ranges of a node's pods.
pub fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let texts: Vec<&String> = match &spec.pod_cidrs {
        Some(all) if !all.is_empty() => all.iter().collect(),
        _ => spec.pod_cidr.iter().collect(),
    };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The addresses by which other nodes reach a node.
pub fn addresses(node: &Node) -> Vec<IpAddr> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect()
}

/// What leads to all peers.
pub fn plan(local: &Local, peers: &[Peer]) -> Plan {
    let mut plan = Plan::default();
    for peer in peers {
        let near = local.network.contains(&peer.address);
        match local.backend {
            Backend::None => {}
            Backend::HostGw if !near => plan.unreachable.push(peer.address),
            Backend::Vxlan if !(near && local.direct) => plan.tunnel(peer),
            // A next hop has the family of what it leads to.
            _ => plan.routes.extend(
                peer.pods
                    .iter()
                    .filter(|pods| pods.addr().is_ipv4() == peer.address.is_ipv4())
                    .map(|pods| (pods.trunc(), Way::Direct(peer.address))),
            ),
        }
    }
    plan
}

impl Plan {
    fn tunnel(&mut self, peer: &Peer) {
        let mac = mac(&peer.pods);
        self.forwarding.insert(mac, peer.address);
        for pods in &peer.pods {
            let end = pods.network();
            self.neighbours.insert(end, mac);
            self.routes.insert(pods.trunc(), Way::Tunnel(end));
        }
    }
}

/// The hardware address in the tunnel of the node that has these pods.
pub fn mac(pods: &[IpNet]) -> [u8; 6] {
    let [a, b, c, d] = match pods.first() {
        Some(IpNet::V4(net)) => net.network().octets(),
        Some(IpNet::V6(net)) => {
            let digest = names::digest(&net.trunc().to_string(), 8);
            u32::from_str_radix(&digest, 16).unwrap_or_default().to_be_bytes()
        }
        None => [0; 4],
    };
    [0x0a, 0x5a, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("range")
    }

    fn node(name: &str, addresses: &[&str], pods: &[&str]) -> Node {
        let addresses: Vec<_> =
            addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        let object = json!({"metadata": {"name": name}, "spec": {"podCIDRs": pods}, "status": {"addresses": addresses}});
        serde_json::from_value(object).expect("node")
    }

    #[test]
    fn peers_have_address_and_pods() {
        let nodes = [
            node("a", &["192.0.2.1"], &["10.42.0.0/24"]),
            node("b", &["fd00::2", "192.0.2.2"], &["10.42.1.0/24", "fd42:1::/64"]),
            node("c", &[], &["10.42.2.0/24"]),
            node("d", &["192.0.2.4"], &[]),
        ];
        let found = peers(nodes.iter(), "a", ip("192.0.2.1"));
        let pods = vec![net("10.42.1.0/24"), net("fd42:1::/64")];
        assert_eq!(found, [Peer { address: ip("192.0.2.2"), pods }]);
    }

    #[test]
    fn ways_follow_backend_and_network() {
        let near = Peer { address: ip("192.0.2.2"), pods: vec![net("10.42.1.0/24")] };
        let far = Peer { address: ip("198.51.100.3"), pods: vec![net("10.42.2.0/24"), net("fd42:2::/64")] };
        let peers = [near, far];
        let check = |backend, direct, expected: &[(&str, Way)], unreachable: &[&str]| {
            let local = Local { name: "a".into(), network: net("192.0.2.1/24"), backend, direct };
            let plan = plan(&local, &peers);
            let expected: BTreeMap<IpNet, Way> = expected.iter().map(|(to, way)| (net(to), *way)).collect();
            assert_eq!(plan.routes, expected, "{backend:?} {direct}");
            let unreachable: Vec<IpAddr> = unreachable.iter().map(|text| ip(text)).collect();
            assert_eq!(plan.unreachable, unreachable, "{backend:?} {direct}");
            // Whatever a route names in the tunnel is known there.
            let tunnel = plan.routes.values().filter_map(|way| match way {
                Way::Tunnel(end) => Some(plan.forwarding[&plan.neighbours[end]]),
                Way::Direct(_) => None,
            });
            assert!(tunnel.into_iter().all(|node| peers.iter().any(|peer| peer.address == node)));
        };
        let direct = ("10.42.1.0/24", Way::Direct(ip("192.0.2.2")));
        let tunnels = [
            ("10.42.1.0/24", Way::Tunnel(ip("10.42.1.0"))),
            ("10.42.2.0/24", Way::Tunnel(ip("10.42.2.0"))),
            ("fd42:2::/64", Way::Tunnel(ip("fd42:2::"))),
        ];
        check(Backend::Vxlan, false, &tunnels, &[]);
        check(Backend::Vxlan, true, &[direct, tunnels[1], tunnels[2]], &[]);
        check(Backend::HostGw, false, &[direct], &["198.51.100.3"]);
        check(Backend::None, false, &[], &[]);
    }

    #[test]
    fn hardware_addresses_differ_by_range() {
        assert_eq!(mac(&[net("10.42.7.0/24")]), [0x0a, 0x5a, 10, 42, 7, 0]);
        assert_ne!(mac(&[net("fd42:1::/64")]), mac(&[net("fd42:2::/64")]));
    }
}
