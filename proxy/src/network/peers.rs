//! Keeps the ways to pods of other nodes as the Node objects want them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use knarr_component::informer::Informer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::netlink::{Error, Interface, Netlink, Route, Tunnel};
use super::overlay::{self, Local, Plan, Way};
use super::sysctl;
use crate::names;

/// How often everything is looked at, whether or not a node changed: somebody may have removed a route.
const PERIOD: Duration = Duration::from_secs(60);
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// What the ways of this node depend on besides the other nodes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the cluster.
    pub cluster: String,
    /// This node.
    pub local: Local,
    /// The interface that has its address.
    pub interface: Interface,
    /// Its ranges of pods.
    pub pods: Vec<IpNet>,
    /// Ranges of all pods of the cluster: routes within them are this cluster's.
    pub cluster_cidrs: Vec<IpNet>,
    /// Identifier of the virtual network.
    pub vxlan_id: u32,
    /// UDP port of the virtual network.
    pub vxlan_port: u16,
}

impl Settings {
    fn tunnel(&self) -> Tunnel {
        let address = self.local.network.addr();
        Tunnel {
            name: names::tunnel(&self.cluster),
            id: self.vxlan_id,
            port: self.vxlan_port,
            local: address,
            mac: overlay::mac(&self.pods),
            mtu: self.interface.mtu.saturating_sub(self.local.backend.overhead(address)),
        }
    }
}

/// Follows the nodes until `stop`. What was made stays, so that a restart disturbs nothing.
pub async fn run(settings: Settings, netlink: Netlink, nodes: Informer<Node>, stop: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let told = changed.clone();
    nodes.on_change(move |_| told.notify_one());
    tokio::select! {
        () = nodes.synced() => {}
        () = stop.cancelled() => return,
    }
    let mut keeper = Keeper { settings, netlink, applied: None };
    loop {
        let pause = match keeper.sync(&nodes).await {
            Ok(()) => PERIOD,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, cause, "pods of other nodes may not be reachable");
                keeper.applied = None;
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed.notified(), if keeper.applied.is_some() => {}
            () = tokio::time::sleep(pause) => keeper.applied = None,
        }
    }
}

struct Keeper {
    settings: Settings,
    netlink: Netlink,
    /// What the kernel has; none before the first time and after a failure.
    applied: Option<Plan>,
}

impl Keeper {
    async fn sync(&mut self, nodes: &Informer<Node>) -> Result<(), Error> {
        let local = &self.settings.local;
        let all = nodes.list();
        let peers = overlay::peers(all.iter().map(|node| &**node), &local.name, local.network.addr());
        let plan = overlay::plan(local, &peers);
        if self.applied.as_ref() == Some(&plan) {
            return Ok(());
        }
        for node in &plan.unreachable {
            tracing::warn!(%node, "its pods cannot be reached by host-gw: the node is on another network");
        }
        let tunnel = self.tunnel(&plan).await?;
        self.routes(&plan, tunnel).await?;
        if let (Some(before), Some(tunnel)) = (&self.applied, tunnel) {
            self.forget(before, &plan, tunnel).await?;
        }
        tracing::info!(nodes = peers.len(), "ways to pods of other nodes set");
        self.applied = Some(plan);
        Ok(())
    }

    /// The tunnel and what it must know; none where nobody is behind one.
    async fn tunnel(&self, plan: &Plan) -> Result<Option<u32>, Error> {
        let tunnel = self.settings.tunnel();
        if plan.forwarding.is_empty() {
            self.netlink.delete(&tunnel.name).await?;
            return Ok(None);
        }
        let index = self.netlink.ensure_tunnel(&tunnel).await?;
        sysctl::no_duplicate_detection(&tunnel.name);
        for pods in &self.settings.pods {
            self.netlink.add_address(index, IpNet::from(pods.network())).await?;
        }
        for (mac, node) in &plan.forwarding {
            self.netlink.add_forwarding(index, *mac, *node).await?;
        }
        for (end, mac) in &plan.neighbours {
            self.netlink.add_neighbour(index, *end, *mac).await?;
        }
        Ok(Some(index))
    }

    /// Sets the routes of the plan and removes this cluster's others.
    async fn routes(&self, plan: &Plan, tunnel: Option<u32>) -> Result<(), Error> {
        let wanted: Vec<Route> =
            plan.routes.iter().filter_map(|(to, way)| self.route(*to, *way, tunnel)).collect();
        let found = self.netlink.remote_routes().await?;
        let ours = |route: &&Route| is_of(route, &self.settings.cluster_cidrs);
        for stale in found.iter().filter(ours).filter(|route| !wanted.contains(route)) {
            // A route of the same range is replaced below, if not by the same interface.
            self.netlink.unroute_remote(*stale).await?;
        }
        for route in wanted.iter().filter(|route| !found.contains(route)) {
            self.netlink.route_remote(*route).await?;
        }
        Ok(())
    }

    fn route(&self, to: IpNet, way: Way, tunnel: Option<u32>) -> Option<Route> {
        Some(match way {
            Way::Tunnel(gateway) => Route { to, gateway, index: tunnel? },
            Way::Direct(gateway) => Route { to, gateway, index: self.settings.interface.index },
        })
    }

    /// Takes away what the tunnel knows of nodes that are gone.
    async fn forget(&self, before: &Plan, now: &Plan, tunnel: u32) -> Result<(), Error> {
        let gone: Vec<&IpAddr> =
            before.neighbours.keys().filter(|end| !now.neighbours.contains_key(end)).collect();
        for end in gone {
            self.netlink.forget_neighbour(tunnel, *end).await?;
        }
        for mac in before.forwarding.keys().filter(|mac| !now.forwarding.contains_key(*mac)) {
            self.netlink.forget_forwarding(tunnel, *mac).await?;
        }
        Ok(())
    }
}

fn is_of(route: &Route, cluster_cidrs: &[IpNet]) -> bool {
    cluster_cidrs.iter().any(|range| range.contains(&route.to))
}

/// Removes tunnel and routes of a cluster.
pub async fn remove(netlink: &Netlink, cluster: &str, cluster_cidrs: &[IpNet]) -> Result<(), Error> {
    netlink.delete(&names::tunnel(cluster)).await?;
    for route in netlink.remote_routes().await?.into_iter().filter(|route| is_of(route, cluster_cidrs)) {
        netlink.unroute_remote(route).await?;
    }
    Ok(())
}
