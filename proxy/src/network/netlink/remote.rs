//! Steps that lead to pods of other nodes: tunnels, routes by a gateway, neighbours that are known beforehand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{LinkVxlan, RouteMessageBuilder};

use super::{Error, Netlink, is, mtu};

/// Marks routes to other nodes' pods (`rtm_protocol`), so that stale ones are found. The number is of those that the
/// kernel's header leaves to anybody.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(0x6b);

/// The interface that has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// The address with the length of its network.
    pub network: IpNet,
    /// Largest packet in bytes.
    pub mtu: u32,
}

/// A VXLAN interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Name of the interface.
    pub name: String,
    /// Identifier of the virtual network.
    pub id: u32,
    /// UDP port of all nodes.
    pub port: u16,
    /// This node's address, the source of its packets.
    pub local: IpAddr,
    /// Hardware address within the virtual network.
    pub mac: [u8; 6],
    /// Largest packet within it in bytes.
    pub mtu: u32,
}

/// A route to pods of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The pods.
    pub to: IpNet,
    /// The next hop.
    pub gateway: IpAddr,
    /// The interface that leads there.
    pub index: u32,
}

impl Netlink {
    /// The interface that has an address, if one has.
    pub async fn interface_of(&self, address: IpAddr) -> Result<Option<Interface>, Error> {
        let stream = self.0.address().get().set_address_filter(address).execute();
        let found: Vec<_> = stream.try_collect().await.map_err(Error::step("list addresses"))?;
        let has = |a: &AddressAttribute| matches!(a, AddressAttribute::Address(ip) | AddressAttribute::Local(ip) if *ip == address);
        let Some(found) = found.into_iter().find(|m| m.attributes.iter().any(has)) else { return Ok(None) };
        let index = found.header.index;
        let link = self.0.link().get().match_index(index).execute().try_next().await;
        let mtu = link.map_err(Error::step("look up an interface"))?.as_ref().and_then(mtu);
        let network = IpNet::new(address, found.header.prefix_len).unwrap_or_else(|_| IpNet::from(address));
        Ok(mtu.map(|mtu| Interface { index, network, mtu }))
    }

    /// Makes sure of a tunnel that is up, and returns its index. One that differs is made anew: what it is between
    /// cannot be changed.
    pub async fn ensure_tunnel(&self, tunnel: &Tunnel) -> Result<u32, Error> {
        let step = || Error::step(format!("add tunnel {}", tunnel.name));
        let index = match self.find(&tunnel.name).await? {
            Some(link) if is_same(&link, tunnel) => link.header.index,
            found => {
                if found.is_some() {
                    self.delete(&tunnel.name).await?;
                }
                let message = LinkVxlan::new(&tunnel.name, tunnel.id).port(tunnel.port).learning(false);
                let message = match tunnel.local {
                    IpAddr::V4(ip) => message.local(ip),
                    IpAddr::V6(ip) => message.local6(ip),
                };
                let message = message.address(tunnel.mac.to_vec()).mtu(tunnel.mtu).build();
                self.0.link().add(message).execute().await.map_err(step())?;
                self.index(&tunnel.name).await?
            }
        };
        self.up(index).await?;
        Ok(index)
    }

    /// Leads to pods of another node, whose next hop need not be an address of that link's network.
    pub async fn route_remote(&self, route: Route) -> Result<(), Error> {
        let invalid = |_| Error::Route(route.to);
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(route.to.network(), route.to.prefix_len())
            .map_err(invalid)?
            .output_interface(route.index)
            .gateway(route.gateway)
            .map_err(invalid)?
            .onlink()
            .protocol(PROTOCOL)
            .build();
        let added = self.0.route().add(message).replace().execute().await;
        added.map_err(Error::step(format!("add route to {}", route.to)))
    }

    /// Routes to pods of other nodes: all that [`route_remote`](Self::route_remote) made, of any cluster.
    pub async fn remote_routes(&self) -> Result<Vec<Route>, Error> {
        let mut all = Vec::new();
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let mut filter = RouteMessage::default();
            filter.header.address_family =
                if any.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let found: Vec<RouteMessage> = self
                .0
                .route()
                .get(filter)
                .execute()
                .try_collect()
                .await
                .map_err(Error::step("list routes"))?;
            all.extend(found.iter().filter(|m| m.header.protocol == PROTOCOL).filter_map(route));
        }
        Ok(all)
    }

    /// Takes a route to pods of another node away; one that is gone is no error.
    pub async fn unroute_remote(&self, route: Route) -> Result<(), Error> {
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(route.to.network(), route.to.prefix_len())
            .map_err(|_| Error::Route(route.to))?
            .output_interface(route.index)
            .protocol(PROTOCOL)
            .build();
        match self.0.route().del(message).execute().await {
            Err(error) if !is(&error, nix::libc::ESRCH) && !is(&error, nix::libc::ENODEV) => {
                Err(Error::step(format!("delete route to {}", route.to))(error))
            }
            _ => Ok(()),
        }
    }

    /// Says for good which hardware address an address on a link has.
    pub async fn add_neighbour(&self, index: u32, address: IpAddr, mac: [u8; 6]) -> Result<(), Error> {
        let request = self.0.neighbours().add(index, address).link_layer_address(&mac).replace();
        request.execute().await.map_err(Error::step(format!("add neighbour {address}")))
    }

    /// Says for good at which node a tunnel finds a hardware address.
    pub async fn add_forwarding(&self, index: u32, mac: [u8; 6], node: IpAddr) -> Result<(), Error> {
        let request = self.0.neighbours().add_bridge(index, &mac).flags(NeighbourFlags::Own);
        let added = request.destination(node).replace().execute().await;
        added.map_err(Error::step(format!("lead the tunnel to {node}")))
    }

    /// Forgets a neighbour; one that is gone is no error.
    pub async fn forget_neighbour(&self, index: u32, address: IpAddr) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        let (family, destination) = match address {
            IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
            IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
        };
        message.header.family = family;
        message.attributes.push(NeighbourAttribute::Destination(destination));
        self.forget(message).await
    }

    /// Forgets where a tunnel finds a hardware address; that it does not know is no error.
    pub async fn forget_forwarding(&self, index: u32, mac: [u8; 6]) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        message.header.family = AddressFamily::Bridge;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.forget(message).await
    }

    async fn forget(&self, message: NeighbourMessage) -> Result<(), Error> {
        match self.0.neighbours().del(message).execute().await {
            Err(error) if !is(&error, nix::libc::ENOENT) && !is(&error, nix::libc::ENODEV) => {
                Err(Error::step("delete a neighbour")(error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a link is such a tunnel.
fn is_same(link: &LinkMessage, tunnel: &Tunnel) -> bool {
    let infos = link.attributes.iter().find_map(|a| match a {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(all)) => Some(all),
            _ => None,
        }),
        _ => None,
    });
    let local = match tunnel.local {
        IpAddr::V4(ip) => InfoVxlan::Local(ip),
        IpAddr::V6(ip) => InfoVxlan::Local6(ip),
    };
    let wanted = [InfoVxlan::Id(tunnel.id), InfoVxlan::Port(tunnel.port), local];
    infos.is_some_and(|found| wanted.iter().all(|one| found.contains(one)))
        && mtu(link) == Some(tunnel.mtu)
        && link.attributes.contains(&LinkAttribute::Address(tunnel.mac.to_vec()))
}

fn route(message: &RouteMessage) -> Option<Route> {
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    let (mut to, mut gateway, mut index) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(oif) => index = Some(*oif),
            _ => {}
        }
    }
    let to = IpNet::new(to?, message.header.destination_prefix_length).ok()?;
    Some(Route { to, gateway: gateway?, index: index? })
}
