//! Links, addresses and routes by rtnetlink, each as one idempotent step.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, RouteMessageBuilder};

mod remote;
mod shaping;

pub use remote::{Interface, Route, Tunnel};
pub use shaping::Bucket;

/// Why a step of the network failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] std::io::Error),
    /// The kernel refused a step.
    #[error("cannot {step}")]
    Step {
        /// What was tried, as a verb and its object.
        step: String,
        /// The kernel's answer.
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// A link that was there, or was just made, is not.
    #[error("no network interface {0}")]
    NoLink(String),
    /// An address that the kernel's message cannot hold.
    #[error("invalid route to {0}")]
    Route(IpNet),
}

impl Error {
    fn step(step: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Error {
        move |source| Error::Step { step: step.into(), source: Box::new(source) }
    }
}

/// A netlink connection, bound to the network namespace of the thread that opened it.
#[derive(Clone)]
pub struct Netlink(Handle);

impl Netlink {
    /// Opens a connection; its task runs on the current runtime and ends when the last handle is dropped.
    pub fn open() -> Result<Netlink, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        tokio::spawn(connection);
        Ok(Netlink(handle))
    }

    /// A link by name, if there is one.
    pub async fn find(&self, name: &str) -> Result<Option<LinkMessage>, Error> {
        match self.0.link().get().match_name(name).execute().try_next().await {
            Ok(link) => Ok(link),
            Err(error) if is(&error, nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(Error::step(format!("look up interface {name}"))(error)),
        }
    }

    /// The index of a link by name.
    pub async fn index(&self, name: &str) -> Result<u32, Error> {
        let link = self.find(name).await?.ok_or_else(|| Error::NoLink(name.to_owned()))?;
        Ok(link.header.index)
    }

    /// Makes sure of a bridge, and returns its index; a new one is down. Its address is fixed from the start: a
    /// bridge without one takes that of its lowest port, and would change it as pods come and go.
    pub async fn ensure_bridge(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<u32, Error> {
        let message = LinkBridge::new(name).down().address(mac.to_vec()).mtu(mtu).build();
        match self.0.link().add(message).execute().await {
            Err(error) if !is(&error, nix::libc::EEXIST) => {
                Err(Error::step(format!("add bridge {name}"))(error))
            }
            _ => self.index(name).await,
        }
    }

    /// Makes a veth pair, both ends down: `inner` in this connection's namespace, `outer` in that of
    /// `outer_netns`.
    pub async fn add_veth(
        &self,
        inner: &str,
        inner_mac: [u8; 6],
        outer: &str,
        outer_netns: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<(), Error> {
        let peer = LinkUnspec::new_with_name(outer).mtu(mtu).setns_by_fd(outer_netns.as_raw_fd()).build();
        let message = LinkVeth::new(inner, outer).address(inner_mac.to_vec()).mtu(mtu);
        let data = rtnetlink::packet_route::link::InfoVeth::Peer(peer);
        let message = message.set_info_data(rtnetlink::packet_route::link::InfoData::Veth(data)).build();
        self.0.link().add(message).execute().await.map_err(Error::step(format!("add veth pair {outer}")))
    }

    /// Makes a link a port of a bridge. Hairpin lets a packet leave by the port it came from, as it must
    /// when `br_netfilter` translates a pod's call to its own service within the bridge.
    pub async fn join_bridge(&self, index: u32, bridge: u32) -> Result<(), Error> {
        let join = LinkUnspec::new_with_index(index).controller(bridge).up().build();
        self.0.link().change(join).execute().await.map_err(Error::step("add a port to the bridge"))?;
        let port = LinkBridgePort::new(index).hairpin(true).build();
        self.0.link().set_port(port).execute().await.map_err(Error::step("set a bridge port to hairpin"))
    }

    /// Names of a bridge's ports; none if there is no such bridge.
    pub async fn ports(&self, bridge: &str) -> Result<Vec<String>, Error> {
        let Some(bridge) = self.find(bridge).await? else { return Ok(Vec::new()) };
        let all: Vec<LinkMessage> =
            self.0.link().get().execute().try_collect().await.map_err(Error::step("list interfaces"))?;
        let master = LinkAttribute::Controller(bridge.header.index);
        Ok(all.iter().filter(|l| l.attributes.contains(&master)).filter_map(name).collect())
    }

    /// Sets a link up.
    pub async fn up(&self, index: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.0.link().change(message).execute().await.map_err(Error::step("set an interface up"))
    }

    /// Deletes a link; one that is gone is no error. Returns whether it was there.
    pub async fn delete(&self, name: &str) -> Result<bool, Error> {
        let Some(link) = self.find(name).await? else { return Ok(false) };
        match self.0.link().del(link.header.index).execute().await {
            Err(error) if !is(&error, nix::libc::ENODEV) => {
                Err(Error::step(format!("delete interface {name}"))(error))
            }
            _ => Ok(true),
        }
    }

    /// Adds an address, or leaves it as it is. IPv6 addresses are usable at once: nobody else on the bridge
    /// can have them, so there is no duplicate to detect.
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<(), Error> {
        let mut request = self.0.address().add(index, address.addr(), address.prefix_len()).replace();
        if address.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await.map_err(Error::step(format!("add address {address}")))
    }

    /// Addresses of a link.
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, Error> {
        let stream = self.0.address().get().set_link_index_filter(index).execute();
        let messages: Vec<_> = stream.try_collect().await.map_err(Error::step("list addresses"))?;
        let of = |message: &rtnetlink::packet_route::address::AddressMessage| {
            message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(ip) => IpNet::new(*ip, message.header.prefix_len).ok(),
                _ => None,
            })
        };
        Ok(messages.iter().filter_map(of).collect())
    }

    /// Has the host take all addresses of a range for its own, for as long as a link is there.
    pub async fn add_local_route(&self, range: IpNet, index: u32) -> Result<(), Error> {
        let request = self.0.route().add(local(range, index)?).replace();
        request.execute().await.map_err(Error::step(format!("make {range} local")))
    }

    /// Undoes that; a route that is not there is no error.
    pub async fn delete_local_route(&self, range: IpNet, index: u32) -> Result<(), Error> {
        match self.0.route().del(local(range, index)?).execute().await {
            Err(error) if !is(&error, nix::libc::ESRCH) => {
                Err(Error::step(format!("no longer make {range} local"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Routes a range through a link, directly or by a gateway, or leaves such a route as it is.
    pub async fn add_route(
        &self,
        to: IpNet,
        index: u32,
        gateway: Option<IpAddr>,
        source: Option<IpAddr>,
    ) -> Result<(), Error> {
        let invalid = |_| Error::Route(to);
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to.network(), to.prefix_len())
            .map_err(invalid)?
            .output_interface(index);
        route = match gateway {
            Some(gateway) => route.gateway(gateway).map_err(invalid)?,
            // A link scope makes no sense for IPv6, where the kernel ignores it.
            None => route.scope(RouteScope::Link),
        };
        if let Some(source) = source {
            route = route.pref_source(source).map_err(invalid)?;
        }
        let request = self.0.route().add(route.build()).replace();
        request.execute().await.map_err(Error::step(format!("add route to {to}")))
    }
}

fn local(range: IpNet, index: u32) -> Result<RouteMessage, Error> {
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .map_err(|_| Error::Route(range))?;
    let table = u32::from(nix::libc::RT_TABLE_LOCAL);
    Ok(route.table_id(table).kind(RouteType::Local).scope(RouteScope::Host).output_interface(index).build())
}

/// Largest packet of a link in bytes.
pub fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The name of a link.
pub fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// Whether a link is up.
pub fn is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

/// Whether the kernel's answer was this error number.
fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}
