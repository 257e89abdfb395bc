//! The plugin's operations. Each is idempotent where the specification asks for it, and an `ADD` that fails
//! leaves nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use ipnet::IpNet;

use super::host_ports::{self, PortMapping};
use super::namespace::{self, in_namespace};
use super::state::{Reservations, State};
use super::{Bandwidth, Configuration, Error};
use crate::conntrack;
use crate::names;
use crate::network::netlink::{self, Netlink};
use crate::network::{Bridge, gateway, sysctl};
use crate::nft::{self, Nft, RuleSet};

/// A container's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The runtime's id of the container or sandbox.
    pub container: String,
    /// Name of the interface within it.
    pub interface: String,
    /// Path of its network namespace, if it still has one.
    pub namespace: Option<String>,
}

impl Attachment {
    fn key(&self) -> String {
        format!("{}/{}", self.container, self.interface)
    }
}

/// What [`add`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The container's addresses, one a range.
    pub addresses: Vec<IpAddr>,
    /// Hardware address of its interface.
    pub mac: String,
    /// The host's end of the pair.
    pub host_interface: String,
    /// The bridge.
    pub bridge: String,
}

/// Gives a container its network: an interface with addresses and routes, loopback, host ports, and limits of its traffic.
pub fn add(
    config: &Configuration,
    attachment: &Attachment,
    ports: &[PortMapping],
    bandwidth: &Bandwidth,
) -> Result<Attached, Error> {
    let path = attachment.namespace.as_deref().unwrap_or_default();
    let pod = namespace::open(path)?;
    let host = namespace::open("/proc/thread-self/ns/net")?;
    let result = connect(config, attachment, &pod, &host).and_then(|attached| {
        in_namespace(None, || async {
            bandwidth.apply(&Netlink::open()?, &attached.host_interface, config.mtu).await
        })?;
        map_ports(config, &attachment.key(), ports)?;
        Ok(attached)
    });
    if result.is_err() {
        // The first error is the one to report; the runtime calls DEL as well.
        let _ = delete(config, attachment);
    }
    result
}

fn connect(
    config: &Configuration,
    attachment: &Attachment,
    pod: &File,
    host: &File,
) -> Result<Attached, Error> {
    let state = State::new(&config.state_dir);
    let reservation = state.change(|all| all.reserve(&attachment.key(), &config.pod_cidrs))?;
    let addresses = reservation.addresses;
    let host_interface = names::host_veth(&config.cluster, &attachment.container, &attachment.interface);
    let mac = mac(&addresses);
    in_namespace(None, || async { Ok(disconnect(&Netlink::open()?, &host_interface).await?) })?;
    in_namespace(Some(pod), || inside(config, attachment, &addresses, mac, &host_interface, host))?;
    in_namespace(None, || outside(config, &host_interface))?;
    let mac = mac.map(|b| format!("{b:02x}")).join(":");
    Ok(Attached { addresses, mac, host_interface, bridge: names::bridge(&config.cluster) })
}

/// The pod's side: loopback, the pair, addresses, routes.
async fn inside(
    config: &Configuration,
    attachment: &Attachment,
    addresses: &[IpAddr],
    mac: [u8; 6],
    host_interface: &str,
    host: &File,
) -> Result<(), Error> {
    let (netlink, interface) = (Netlink::open()?, &attachment.interface);
    let loopback = netlink.index("lo").await?;
    netlink.up(loopback).await?;
    netlink.add_veth(interface, mac, host_interface, host.as_fd(), config.mtu).await?;
    sysctl::try_write(&format!("net/ipv4/conf/{interface}/accept_redirects"), "0");
    sysctl::try_write(&format!("net/ipv6/conf/{interface}/accept_redirects"), "0");
    sysctl::no_duplicate_detection(interface);
    if addresses.iter().any(IpAddr::is_ipv6) {
        sysctl::try_write(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0");
    }
    let index = netlink.index(interface).await?;
    netlink.up(index).await?;
    for address in addresses {
        netlink.add_address(index, IpNet::from(*address)).await?;
        let range = config.pod_cidrs.iter().find(|r| r.contains(address));
        let Some(gateway) = range.map(gateway) else { continue };
        netlink.add_route(IpNet::from(gateway), index, None, None).await?;
        netlink.add_route(default_route(address), index, Some(gateway), None).await?;
    }
    Ok(())
}

/// The host's side: the bridge, and the pair's other end as its port.
async fn outside(config: &Configuration, host_interface: &str) -> Result<(), Error> {
    let netlink = Netlink::open()?;
    let bridge = bridge(config).ensure(&netlink).await?;
    let index = netlink.index(host_interface).await?;
    Ok(netlink.join_bridge(index, bridge).await?)
}

/// Deletes the host's end of a pair, and before it what is found by its name.
pub(crate) async fn disconnect(netlink: &Netlink, host_interface: &str) -> Result<(), netlink::Error> {
    netlink.delete(&names::shaper(host_interface)).await?;
    netlink.delete(host_interface).await?;
    Ok(())
}

/// Takes a container's network away. What is not there is no error: runtimes repeat `DEL` until it succeeds.
/// The address is released last, so that no other pod gets it while packets still find this one.
pub fn delete(config: &Configuration, attachment: &Attachment) -> Result<(), Error> {
    remove(config, &attachment.key(), &attachment.container, &attachment.interface)
}

fn remove(config: &Configuration, key: &str, container: &str, interface: &str) -> Result<(), Error> {
    let host_interface = names::host_veth(&config.cluster, container, interface);
    in_namespace(None, || async { Ok(disconnect(&Netlink::open()?, &host_interface).await?) })?;
    map_ports(config, key, &[])?;
    State::new(&config.state_dir).change(|all| {
        all.containers.remove(key);
        Ok(())
    })
}

/// Verifies that a container has what [`add`] gave it.
pub fn check(config: &Configuration, attachment: &Attachment) -> Result<(), Error> {
    let changed = |problem: &str| Error::Changed {
        container: attachment.container.clone(),
        problem: problem.to_owned(),
    };
    let find = |all: Reservations| Ok(all.containers.get(&attachment.key()).cloned());
    let reservation =
        State::new(&config.state_dir).locked(find)?.ok_or_else(|| changed("no addresses are reserved"))?;
    let pod = namespace::open(attachment.namespace.as_deref().unwrap_or_default())?;
    let present = in_namespace(Some(&pod), || async {
        let netlink = Netlink::open()?;
        match netlink.find(&attachment.interface).await? {
            Some(link) if netlink::is_up(&link) => Ok(netlink.addresses(link.header.index).await?),
            _ => Err(changed("its interface is missing or down")),
        }
    })?;
    match reservation.addresses.iter().find(|ip| !present.contains(&IpNet::from(**ip))) {
        Some(missing) => Err(changed(&format!("address {missing} is missing"))),
        None => Ok(()),
    }
}

/// Whether the plugin can serve an `ADD`: there must be a range, and its file must be usable.
pub fn status(config: &Configuration) -> Result<(), Error> {
    if config.pod_cidrs.is_empty() {
        return Err(Error::Input("the node has no range of pod addresses yet".to_owned()));
    }
    State::new(&config.state_dir).locked(|_| Ok(()))
}

/// Takes away the network of every container that is not among `valid` (container and interface).
pub fn collect(config: &Configuration, valid: &BTreeSet<(String, String)>) -> Result<(), Error> {
    let all = State::new(&config.state_dir).locked(|all| Ok(all.containers))?;
    let mut first_error = Ok(());
    for key in all.keys() {
        let Some((container, interface)) = key.rsplit_once('/') else { continue };
        if !valid.contains(&(container.to_owned(), interface.to_owned())) {
            let removed = remove(config, key, container, interface);
            first_error = first_error.and(removed);
        }
    }
    first_error
}

/// Writes the table of host ports anew from the reservations, as after somebody flushed all rules.
pub fn restore_host_ports(config: &Configuration) -> Result<(), Error> {
    State::new(&config.state_dir).locked(|all| write_table(config, &all))
}

/// Records a container's host ports and writes the table, if anything changes. The lock is held over both,
/// so that the table always ends as the newest reservations ask.
fn map_ports(config: &Configuration, key: &str, ports: &[PortMapping]) -> Result<(), Error> {
    let wanted: Vec<PortMapping> = ports.iter().filter(|p| p.host_port > 0).cloned().collect();
    State::new(&config.state_dir).change(|all| {
        let Some(reservation) = all.containers.get_mut(key) else { return Ok(()) };
        if reservation.ports == wanted {
            return Ok(());
        }
        let before = std::mem::replace(&mut reservation.ports, wanted);
        let mut stale = host_ports::udp(&before, &[]);
        stale.extend(host_ports::udp(&reservation.ports, &reservation.addresses));
        write_table(config, all)?;
        in_namespace(None, || async {
            // The mapping works without: a client that was there before needs a new port, no more.
            conntrack::clean(&stale).inspect_err(|error| tracing::warn!(%error, "stale UDP flows stay")).ok();
            Ok(())
        })
    })
}

fn write_table(config: &Configuration, all: &Reservations) -> Result<(), Error> {
    let (table, rules) = (names::host_port_table(&config.cluster), host_ports::rules(&config.cluster, all));
    in_namespace(None, || async {
        let nft = Nft::open()?;
        match rules == RuleSet::default() {
            true => nft.delete_table(&table).await?,
            false => nft.apply(&nft::full(&table, &rules)).await?,
        }
        Ok(())
    })
}

/// The bridge that a configuration asks for.
pub(crate) fn bridge(config: &Configuration) -> Bridge {
    Bridge {
        name: names::bridge(&config.cluster),
        pods: config.pod_cidrs.clone(),
        services: config.service_cidrs.clone(),
        mtu: config.mtu,
    }
}

/// A hardware address that follows from the first address, so that neighbour tables stay right when the
/// address passes to another pod.
fn mac(addresses: &[IpAddr]) -> [u8; 6] {
    match addresses.first() {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            [0x0a, 0x58, a, b, c, d]
        }
        Some(IpAddr::V6(ip)) => {
            let [.., a, b, c, d] = ip.octets();
            [0x0a, 0x56, a, b, c, d]
        }
        None => [0x0a, 0x58, 0, 0, 0, 0],
    }
}

fn default_route(address: &IpAddr) -> IpNet {
    let unspecified = match address {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    IpNet::new(unspecified, 0).unwrap_or_else(|_| IpNet::from(unspecified))
}
