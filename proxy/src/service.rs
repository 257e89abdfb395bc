//! Services and their endpoints, and the rules that carry their traffic.
//!
//! `model` reads API objects, `index` keeps them by service and knows which changed, `plan` decides what is to become of
//! their traffic. For nftables `render` writes the rules of one service, `base` those that are always there, `rules` keeps
//! all of them. None of it does I/O.

mod base;
mod claims;
mod index;
mod model;
pub mod plan;
mod render;
mod rules;
mod shared;
#[cfg(test)]
mod tests;

pub(crate) use base::{LOCALHOST, LOCALHOST_6};
pub use index::{Index, desired};
pub use model::{Endpoint, Frontend, Service, ServicePort};
pub use plan::{Plan, Plans};
pub use rules::Rules;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::nft::Family;

/// What the rules depend on besides services and endpoints.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Name of this node, as in `nodeName` of endpoints.
    pub node_name: String,
    /// Zone of this node, for endpoints with topology hints.
    pub zone: Option<String>,
    /// Range or ranges of all pods of the cluster. Traffic from elsewhere to a ClusterIP is masqueraded,
    /// and so is traffic of pods to elsewhere.
    pub cluster_cidrs: Vec<IpNet>,
    /// Range or ranges of virtual addresses. What is sent to one that no service has stays here.
    pub service_cidrs: Vec<IpNet>,
    /// The bridge of the pods on this node.
    pub bridge: String,
    /// Addresses of the node that answer node ports; all when empty.
    pub node_port_addresses: Vec<IpNet>,
    /// Whether node ports answer on 127.0.0.1 too.
    pub localhost_node_ports: bool,
    /// Ports of the host and the node ports that they lead to, on all of the host's addresses.
    pub published: Vec<(u16, u16)>,
    /// The bit of the packet mark that asks for masquerading.
    pub masquerade_bit: u8,
    /// Addresses of the cluster's DNS service and where this node's DNS server listens. The Service of
    /// these addresses has no endpoints: every node answers for itself.
    pub dns: Vec<(IpAddr, SocketAddr)>,
}

impl Config {
    /// The mark that asks for masquerading.
    pub(crate) fn mark(&self) -> u32 {
        1 << self.masquerade_bit
    }

    /// The cluster's ranges of one family; empty if there are none.
    pub(crate) fn pods(&self, family: Family) -> Vec<IpNet> {
        ranges(&self.cluster_cidrs, family)
    }
}

/// Ranges of one family.
pub(crate) fn ranges(all: &[IpNet], family: Family) -> Vec<IpNet> {
    all.iter().filter(|net| Family::of(&net.addr()) == family).map(IpNet::trunc).collect()
}
