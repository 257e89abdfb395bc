//! The bridge of a cluster on this node.

use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::{Error, Netlink};
use super::sysctl;
use crate::names;

/// The gateway of a range of pods: its first address.
pub fn gateway(pods: &IpNet) -> IpAddr {
    match pods {
        IpNet::V4(net) => IpAddr::V4((u32::from(net.network()).saturating_add(1)).into()),
        IpNet::V6(net) => IpAddr::V6((u128::from(net.network()).saturating_add(1)).into()),
    }
}

/// What the bridge of a cluster should be.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// Name of the interface.
    pub name: String,
    /// Ranges of the node's pods, at most one of each family.
    pub pods: Vec<IpNet>,
    /// Ranges of virtual addresses, routed to the bridge so that the host reaches services even where it
    /// has no default route. They never get that far: they are translated before.
    pub services: Vec<IpNet>,
    /// Largest packet in bytes.
    pub mtu: u32,
}

impl Bridge {
    /// Makes the bridge so, or leaves it so; safe to call from several processes at once. Returns its index.
    pub async fn ensure(&self, netlink: &Netlink) -> Result<u32, Error> {
        let index = netlink.ensure_bridge(&self.name, self.mac(), self.mtu).await?;
        self.settings();
        netlink.up(index).await?;
        for pods in &self.pods {
            let own = IpNet::new(gateway(pods), pods.prefix_len()).unwrap_or(*pods);
            netlink.add_address(index, own).await?;
        }
        for range in &self.services {
            let source = self.pods.iter().find(|p| p.addr().is_ipv4() == range.addr().is_ipv4());
            netlink.add_route(*range, index, None, source.map(gateway)).await?;
        }
        Ok(index)
    }

    /// Kernel settings: forwarding on, and what must not disturb it. Except forwarding all are the bridge's
    /// own and go with it.
    fn settings(&self) {
        let bridge = &self.name;
        if self.pods.iter().any(|p| p.addr().is_ipv4()) {
            sysctl::try_write("net/ipv4/ip_forward", "1");
            sysctl::try_write(&format!("net/ipv4/conf/{bridge}/forwarding"), "1");
            // Node ports on 127.0.0.1 leave by the bridge with that address as their source.
            sysctl::try_write(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1");
            sysctl::try_write(&format!("net/ipv4/conf/{bridge}/rp_filter"), "0");
            sysctl::try_write(&format!("net/ipv4/conf/{bridge}/send_redirects"), "0");
        }
        if self.pods.iter().any(|p| p.addr().is_ipv6()) {
            sysctl::try_write("net/ipv6/conf/all/forwarding", "1");
        }
        sysctl::no_duplicate_detection(bridge);
    }

    /// A local address that depends on the name only, so that pods keep the gateway's in their neighbour
    /// tables when the bridge is made anew.
    fn mac(&self) -> [u8; 6] {
        let digest = names::digest(&self.name, 8);
        let byte = |i: usize| u8::from_str_radix(&digest[2 * i..2 * i + 2], 16).unwrap_or_default();
        [0x0a, 0x59, byte(0), byte(1), byte(2), byte(3)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_is_the_first_address() {
        let of = |net: &str| gateway(&net.parse().expect("range")).to_string();
        assert_eq!(of("10.244.3.0/24"), "10.244.3.1");
        assert_eq!(of("10.244.3.7/24"), "10.244.3.1");
        assert_eq!(of("fd00:3::/64"), "fd00:3::1");
    }
}
