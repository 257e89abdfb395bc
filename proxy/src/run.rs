//! The proxy as a process: the node's bridge and CNI configuration, DNS, and the rules of services.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use hickory_proto::rr::Name;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_component::events::Recorder;
use knarr_component::health::Health;
use knarr_component::informer::{Change, Informer, Informers};
use knarr_component::{client, log};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::dns::{self, Forwarder, Handler, Upstreams, Zone};
use crate::flags::{Args, ProxyMode};
use crate::healthz::{self, ProxyHealth};
use crate::metrics::{DnsCollector, Metrics};
use crate::network::netlink::{Interface, Netlink};
use crate::network::overlay::{self, Local};
use crate::network::{gateway, mtu, peers};
use crate::service::{Config, Index};
use crate::sync::{Syncer, Told, Watched};
use crate::{Leftovers, cleanup, cni, config, mode, names, policy};

/// Label of a node with its zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// How long to wait before the API server is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Runs the proxy until `shutdown`. Rules and interfaces stay when it ends, so that a restart disturbs no
/// connection; `--cleanup` removes them.
pub async fn run(mut args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    if let Some(file) = args.config.clone() {
        config::load(&mut args, &file)?;
    }
    log::init(&args.logging);
    if args.cleanup {
        return cleanup(&leftovers(&args)).await.context("cannot remove the cluster's network");
    }
    let health = Health::new();
    let metrics = Metrics::default();
    health.metrics(|registry| metrics.register(registry));
    let kept = ProxyHealth::default();
    healthz::start(&args, &kept, &health, &shutdown).await?;

    let client = client::connect(args.connection.kubeconfig.as_deref(), "knarr-proxy").await?;
    let Some(node) = this_node(&args, &client, &shutdown).await? else { return Ok(()) };
    let netlink = Netlink::open()?;
    let interface = interface(&args, &node, &netlink).await?;
    let cni = cni::Configuration {
        cluster: args.cluster_name.clone(),
        pod_cidrs: node.pod_cidrs,
        service_cidrs: args.service_cluster_ip_range.clone(),
        mtu: mtu(&args, interface),
        state_dir: args.state_dir(),
    };
    let networked = pod_network(&args, &cni, &netlink).await?;
    if let Some(directory) = args.cni_conf_dir.as_ref().filter(|_| networked) {
        cni::write_config(directory, args.cni_bin_dir.as_deref(), &cni)
            .with_context(|| format!("cannot write the CNI configuration to {}", directory.display()))?;
    }

    let informers = Informers::new(client.clone(), shutdown.clone()).with_trim(policy::trim as fn(&mut Pod));
    follow_node(&args, &informers, &kept);
    if let Some(settings) = peers(&args, &cni, interface).filter(|_| networked) {
        let nodes = informers.get::<Node>();
        tokio::spawn(peers::run(settings, netlink, nodes, shutdown.clone()));
    }
    if networked {
        follow_policies(&args, &informers, &shutdown);
    }
    let (services, slices) = (informers.get::<Service>(), informers.get::<EndpointSlice>());
    let dns =
        Dns { args: &args, client: &client, cni: &cni, networked, health: &health, shutdown: &shutdown };
    let dns = dns.start(&services, &slices).await?;
    let config = config(&args, node.zone, dns);
    let watched = watch(&services, &slices, config.clone());
    let synced = (services.synced(), slices.synced());
    let is_synced = (services.clone(), slices.clone());
    health.ready("informers", move || match is_synced.0.has_synced() && is_synced.1.has_synced() {
        true => Ok(()),
        false => Err("services and endpoints are not known yet".to_owned()),
    });
    // Nothing is written before all is known: what runs on from before stays until then.
    futures::join!(synced.0, synced.1);
    if shutdown.is_cancelled() {
        return Ok(());
    }
    let last_sync = metrics.last_sync.clone();
    health.ready("rules", move || match last_sync.get() > 0.0 {
        true => Ok(()),
        false => Err("no rules have been written yet".to_owned()),
    });
    tracing::info!(node = args.node_name(), pods = ?cni.pod_cidrs, "the node's network is set up");
    let mode = mode::open(args.proxy_mode, &config, &cni).await.context("cannot write rules")?;
    Syncer::new(watched, mode, cni, Told { metrics, health: kept }, args.sync_period)
        .run(shutdown)
        .await
        .context("cannot hear of rule changes")
}

/// Makes the bridge; whether there is one. The mode that needs no privileges does without where it has none.
async fn pod_network(args: &Args, cni: &cni::Configuration, netlink: &Netlink) -> anyhow::Result<bool> {
    let copies = args.proxy_mode == ProxyMode::Userspace;
    match cni::bridge(cni).ensure(netlink).await {
        Ok(_) => Ok(true),
        Err(error) if copies => {
            tracing::warn!(%error, "no pod network: services are served at addresses that the host has");
            Ok(false)
        }
        Err(error) => Err(error).context("cannot set up the pod network"),
    }
}

/// Keeps up with whether the node is about to go.
fn follow_node(args: &Args, informers: &Informers, health: &ProxyHealth) {
    let (name, health) = (args.node_name(), health.clone());
    informers.get::<Node>().on_change(move |change| {
        if change.object().metadata.name.as_deref() == Some(name.as_str()) {
            health.node(change.object());
        }
    });
}

fn follow_policies(args: &Args, informers: &Informers, shutdown: &CancellationToken) {
    let policies = policy::Config { node_name: args.node_name(), bridge: names::bridge(&args.cluster_name) };
    let (cluster, informers, stop) = (args.cluster_name.clone(), informers.clone(), shutdown.clone());
    let period = args.sync_period;
    tokio::spawn(async move { policy::run(policies, &cluster, informers, period, stop).await });
}

fn leftovers(args: &Args) -> Leftovers {
    Leftovers {
        cluster: args.cluster_name.clone(),
        cluster_cidrs: args.cluster_cidr.clone(),
        state_dir: Some(args.state_dir()),
        cni_conf_dir: args.cni_conf_dir.clone(),
        cni_bin_dir: args.cni_bin_dir.clone(),
    }
}

/// What the proxy needs of its Node object.
struct ThisNode {
    pod_cidrs: Vec<IpNet>,
    zone: Option<String>,
    addresses: Vec<IpAddr>,
}

impl ThisNode {
    fn of(node: &Node, pod_cidrs: Vec<IpNet>) -> Self {
        Self { pod_cidrs, zone: zone(node), addresses: overlay::addresses(node) }
    }
}

/// The interface that has the node's address, unless that is one of the cluster's own bridges.
async fn interface(args: &Args, node: &ThisNode, netlink: &Netlink) -> anyhow::Result<Option<Interface>> {
    let Some(address) = node.addresses.first() else { return Ok(None) };
    if args.cluster_cidr.iter().any(|pods| pods.contains(address)) {
        return Ok(None);
    }
    Ok(netlink.interface_of(*address).await?)
}

/// Largest packet of pods, which leaves room for what the way to other nodes puts around it.
fn mtu(args: &Args, interface: Option<Interface>) -> u32 {
    match interface {
        _ if args.mtu > 0 => args.mtu,
        Some(interface) => {
            let whole = mtu::usable(interface.mtu);
            whole - args.network_backend.overhead(interface.network.addr())
        }
        None => mtu::of_default_route(),
    }
}

/// What leads to other nodes; none where this one has no address that they could reach.
fn peers(args: &Args, cni: &cni::Configuration, interface: Option<Interface>) -> Option<peers::Settings> {
    let interface = interface?;
    let local = Local {
        name: args.node_name(),
        network: interface.network,
        backend: args.network_backend,
        direct: args.direct_routing,
    };
    Some(peers::Settings {
        cluster: args.cluster_name.clone(),
        local,
        interface,
        pods: cni.pod_cidrs.clone(),
        cluster_cidrs: args.cluster_cidr.clone(),
        vxlan_id: args.vxlan_id,
        vxlan_port: args.vxlan_port,
    })
}

/// Waits until the node has ranges of pods, by flag or by its object; `None` on shutdown.
async fn this_node(
    args: &Args,
    client: &Client,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<ThisNode>> {
    let name = args.node_name();
    if !args.pod_cidr.is_empty() {
        let api: Api<Node> = Api::all(client.clone());
        // With ranges given the object is wanted for its zone only.
        let node = api.get_opt(&name).await.ok().flatten();
        return Ok(Some(ThisNode::of(&node.unwrap_or_default(), args.pod_cidr.clone())));
    }
    let nodes = watcher::watch_object(Api::<Node>::all(client.clone()), &name);
    let mut nodes = std::pin::pin!(nodes);
    loop {
        let next = tokio::select! {
            next = nodes.next() => next,
            () = shutdown.cancelled() => return Ok(None),
        };
        match next {
            Some(Ok(Some(node))) => match overlay::pod_cidrs(&node) {
                ranges if ranges.is_empty() => tracing::info!(name, "the node has no range of pods yet"),
                pod_cidrs => return Ok(Some(ThisNode::of(&node, pod_cidrs))),
            },
            Some(Ok(None)) => tracing::info!(name, "waiting for the node to be registered"),
            Some(Err(error)) => {
                tracing::debug!(%error, "cannot watch the node");
                tokio::time::sleep(RETRY).await;
            }
            None => bail!("the watch of node {name} ended"),
        }
    }
}

fn zone(node: &Node) -> Option<String> {
    node.metadata.labels.as_ref()?.get(ZONE).cloned()
}

fn config(args: &Args, zone: Option<String>, dns: Vec<(IpAddr, SocketAddr)>) -> Config {
    Config {
        node_name: args.node_name(),
        zone,
        cluster_cidrs: if args.cluster_cidr.is_empty() {
            args.pod_cidr.clone()
        } else {
            args.cluster_cidr.clone()
        },
        service_cidrs: args.service_cluster_ip_range.clone(),
        bridge: names::bridge(&args.cluster_name),
        node_port_addresses: args.nodeport_addresses.clone(),
        localhost_node_ports: args.localhost_nodeports,
        masquerade_bit: args.masquerade_bit,
        published: args.publish.clone(),
        dns,
    }
}

/// What the DNS server is made of.
struct Dns<'a> {
    args: &'a Args,
    client: &'a Client,
    cni: &'a cni::Configuration,
    networked: bool,
    health: &'a Health,
    shutdown: &'a CancellationToken,
}

impl Dns<'_> {
    /// Where it listens: on the gateway of the pods; without a network of pods, where the host has the address, on the
    /// cluster's own.
    async fn bind(&self) -> anyhow::Result<Vec<(UdpSocket, TcpListener)>> {
        let mut sockets = Vec::new();
        if self.networked {
            for gateway in self.cni.pod_cidrs.iter().map(gateway) {
                let at = SocketAddr::new(gateway, self.args.dns_port);
                sockets.push(dns::bind(at).await.with_context(|| format!("cannot serve DNS on {at}"))?);
            }
            return Ok(sockets);
        }
        for ip in &self.args.cluster_dns {
            match dns::bind(SocketAddr::new(*ip, self.args.dns_port)).await {
                Ok(bound) => sockets.push(bound),
                Err(error) => tracing::warn!(%ip, %error, "DNS is not served"),
            }
        }
        Ok(sockets)
    }

    /// Starts the server; returns which address of the service leads where.
    async fn start(
        &self,
        services: &Informer<Service>,
        slices: &Informer<EndpointSlice>,
    ) -> anyhow::Result<Vec<(IpAddr, SocketAddr)>> {
        let Self { args, client, cni, health, shutdown, .. } = *self;
        if args.cluster_dns.is_empty() {
            return Ok(Vec::new());
        }
        let gateways: Vec<_> = cni.pod_cidrs.iter().map(gateway).collect();
        let ranges = cni.service_cidrs.iter().chain(&args.cluster_cidr).copied().collect();
        let zone =
            Zone::new(&args.cluster_domain, args.cluster_dns.clone(), ranges).map_err(anyhow::Error::msg)?;
        let zone = Arc::new(RwLock::new(zone));
        fill(&zone, services, slices);
        let own: Vec<IpAddr> = args.cluster_dns.iter().chain(&gateways).copied().collect();
        let handler = Handler::new(zone, Forwarder::new(Upstreams::new(&args.resolv_conf, own.clone())));
        let place = dns::Place { domain: Name::from_ascii(&args.cluster_domain)?.to_lowercase(), own };
        let events = Recorder::new(client.clone(), "kube-proxy", &args.node_name(), shutdown.clone());
        let follow = dns::follow_settings(client.clone(), handler.forwarder(), place, events);
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(follow));
        health.metrics(|registry| registry.register_collector(Box::new(DnsCollector::new(&handler))));
        let (sockets, mut leads) = (self.bind().await?, Vec::new());
        for (udp, _) in &sockets {
            let listener = udp.local_addr()?;
            let of_family = args.cluster_dns.iter().filter(|ip| ip.is_ipv4() == listener.is_ipv4());
            // Where it listens on the service's own address nothing need lead there.
            let led = of_family.filter(|ip| **ip != listener.ip());
            leads.extend(led.map(|ip| (*ip, listener)));
        }
        let (shutdown, ready) = (shutdown.clone(), (services.synced(), slices.synced()));
        tokio::spawn(async move {
            // Until all names are known an answer would be that a name does not exist: better none yet. What
            // was asked meanwhile waits in the sockets.
            futures::join!(ready.0, ready.1);
            if let Err(error) = dns::serve(handler, sockets, shutdown.clone()).await {
                tracing::error!(error, "the DNS server ended");
                shutdown.cancel();
            }
        });
        Ok(leads)
    }
}

/// Keeps the zone up to date.
fn fill(zone: &Arc<RwLock<Zone>>, services: &Informer<Service>, slices: &Informer<EndpointSlice>) {
    let of_services = zone.clone();
    services.on_change(move |change| match change {
        Change::Deleted(service) => of_services.write().delete_service(&key(&service.metadata)),
        other => of_services.write().apply_service(other.object()),
    });
    let of_slices = zone.clone();
    slices.on_change(move |change| match change {
        Change::Deleted(slice) => of_slices.write().delete_slice(&key(&slice.metadata)),
        other => of_slices.write().apply_slice(other.object()),
    });
}

/// Keeps the index of services up to date.
fn watch(services: &Informer<Service>, slices: &Informer<EndpointSlice>, config: Config) -> Arc<Watched> {
    let watched = Arc::new(Watched { index: Mutex::new(Index::new(config)), changed: Notify::new() });
    let of_services = watched.clone();
    services.on_change(move |change| {
        match change {
            Change::Deleted(service) => of_services.index.lock().delete_service(&key(&service.metadata)),
            other => of_services.index.lock().apply_service(other.object()),
        }
        of_services.changed.notify_one();
    });
    let of_slices = watched.clone();
    slices.on_change(move |change| {
        match change {
            Change::Deleted(slice) => of_slices.index.lock().delete_slice(&key(&slice.metadata)),
            other => of_slices.index.lock().apply_slice(other.object()),
        }
        of_slices.changed.notify_one();
    });
    watched
}

fn key(meta: &kube::api::ObjectMeta) -> String {
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}
