//! By this process: it listens where services answer and copies to their endpoints, TCP and UDP, for hosts where no rules may
//! be written. Endpoints see this node as their client.
//!
//! Node ports and addresses that the host has need no privilege. Virtual addresses are the host's where their range is
//! within 127.0.0.0/8, or where the proxy may make it local
//! (`Netlink::add_local_route`). What has no endpoints is not listened on, so
//! that the kernel refuses it. [`routes`] says what is listened on, and whom a client is led to.

mod routes;
mod tcp;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::socket::sockopt::IpFreebind;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt};
use parking_lot::RwLock;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Applied, Mode};
use crate::conntrack::local_addresses;
use crate::network::netlink::{self, Netlink};
use crate::nft::Protocol;
use crate::service::{Config, Plans};
use crate::{cni, names};
use routes::{Affinities, Route, wanted};

/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;
/// How often it is looked whether the host has other addresses.
const LOOK: Duration = Duration::from_secs(10);

/// The way by copying.
pub struct Userspace {
    config: Arc<Config>,
    running: BTreeMap<Front, Running>,
    affinities: Affinities,
    /// Where listening failed, so that it is said once.
    failed: BTreeSet<Front>,
    /// Virtual addresses are the host's.
    owns: bool,
    /// The host's addresses when it was last looked.
    local: BTreeSet<IpAddr>,
}

/// Something to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// Address and port.
    pub at: SocketAddr,
    /// Protocol; SCTP is not copied.
    pub protocol: Protocol,
}

/// A listener and where it leads now.
struct Running {
    route: Arc<RwLock<Arc<Route>>>,
    _stop: DropGuard,
}

impl Userspace {
    /// One that does not listen yet; `owns` says that virtual addresses are the host's.
    pub fn open(config: Config, owns: bool) -> Userspace {
        Userspace {
            config: Arc::new(config),
            running: BTreeMap::new(),
            affinities: Affinities::default(),
            failed: BTreeSet::new(),
            owns,
            local: BTreeSet::new(),
        }
    }

    fn start(&self, front: Front, route: Arc<Route>) -> io::Result<Running> {
        // IPv6 addresses that a route makes local are not the host's to bind.
        let anywhere =
            self.owns && self.config.service_cidrs.iter().any(|range| range.contains(&front.at.ip()));
        let (stop, route) = (CancellationToken::new(), Arc::new(RwLock::new(route)));
        match front.protocol {
            Protocol::Tcp => {
                let listener = listen(front.at, anywhere)?;
                let work = tcp::serve(listener, route.clone(), self.config.clone());
                tokio::spawn(stop.clone().run_until_cancelled_owned(work));
            }
            Protocol::Udp => {
                let socket = datagrams(front.at, anywhere)?;
                let work = udp::serve(socket, route.clone(), self.config.clone());
                tokio::spawn(stop.clone().run_until_cancelled_owned(work));
            }
            Protocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(Running { route, _stop: stop.drop_guard() })
    }
}

/// Has the host take virtual addresses for its own, or no longer, by its bridge.
pub(super) async fn own(cni: &cni::Configuration, wanted: bool) -> Result<(), netlink::Error> {
    let netlink = Netlink::open()?;
    let index = netlink.index(&names::bridge(&cni.cluster)).await?;
    for range in &cni.service_cidrs {
        match wanted {
            true => netlink.add_local_route(*range, index).await?,
            false => netlink.delete_local_route(*range, index).await?,
        }
    }
    Ok(())
}

/// Listens; a port that a connection of a listener before still uses is no hindrance.
fn listen(at: SocketAddr, anywhere: bool) -> io::Result<TcpListener> {
    let socket =
        if at.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if anywhere {
        setsockopt(&socket, IpFreebind, &true)?;
    }
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// A socket for datagrams.
fn datagrams(at: SocketAddr, anywhere: bool) -> io::Result<UdpSocket> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(family, SockType::Datagram, flags, None)?;
    if anywhere {
        setsockopt(&socket, IpFreebind, &true)?;
    }
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    UdpSocket::from_std(socket.into())
}

#[async_trait]
impl Mode for Userspace {
    fn translates(&self) -> bool {
        false
    }

    async fn apply(&mut self, plans: &Plans) -> anyhow::Result<Applied> {
        self.local = local_addresses();
        let local: Vec<IpAddr> = self.local.iter().copied().collect();
        let wanted = wanted(plans, &self.config, &local, &mut self.affinities);
        let before = self.running.len();
        self.running.retain(|front, _| wanted.contains_key(front));
        let mut steps = before - self.running.len();
        self.failed.retain(|front| wanted.contains_key(front));
        for (front, route) in wanted {
            if let Some(running) = self.running.get(&front) {
                if **running.route.read() != *route {
                    *running.route.write() = route;
                    steps += 1;
                }
                continue;
            }
            match self.start(front, route) {
                Ok(running) => {
                    self.failed.remove(&front);
                    self.running.insert(front, running);
                    steps += 1;
                }
                Err(error) if self.failed.insert(front) => {
                    let (at, protocol) = (front.at, front.protocol);
                    tracing::warn!(%at, %protocol, %error, "a service is not served there");
                }
                Err(_) => {}
            }
        }
        Ok(Applied { steps, rules: self.running.len(), full: before == 0 })
    }

    /// What listens goes on; the next call finds out what else is wanted.
    fn forget(&mut self) {}

    async fn disturbed(&mut self) -> io::Result<()> {
        tokio::time::sleep(LOOK).await; // looking for other addresses costs less than following them
        Ok(())
    }

    /// Node ports are listened on at each of the host's addresses.
    async fn is_there(&mut self) -> bool {
        self.local == local_addresses()
    }

    /// Where listening failed it is tried again.
    async fn is_intact(&mut self) -> anyhow::Result<bool> {
        Ok(self.failed.is_empty())
    }
}
