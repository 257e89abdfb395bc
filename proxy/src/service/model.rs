//! What the proxy needs of a Service and of its EndpointSlices.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use crate::nft::Protocol;

/// Label by which a Service says that another proxy implements it.
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Label of Services and EndpointSlices without a virtual address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Label of an EndpointSlice with the name of its Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_SECONDS: u32 = 10_800;

/// Where a service answers; at most one service may own each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// A virtual or external address; `None` is the node's own addresses (a node port).
    pub address: Option<IpAddr>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, empty for a single unnamed port. EndpointSlices refer to it.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port of the virtual addresses.
    pub port: u16,
    /// Port on every node.
    pub node_port: Option<u16>,
}

/// A service that has virtual addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Virtual addresses of the cluster, of either family.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses from outside that end at a node.
    pub external_ips: Vec<IpAddr>,
    /// Addresses that a load balancer delivers unchanged.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; everybody when empty.
    pub source_ranges: Vec<IpNet>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// `externalTrafficPolicy: Local`: only endpoints on this node, and the client's address is kept.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`: only endpoints on this node.
    pub internal_local: bool,
    /// Seconds for which a client returns to the same endpoint, if it does.
    pub affinity: Option<u32>,
    /// Port on every node whose HTTP answer tells load balancers whether endpoints are here.
    pub health_check_node_port: Option<u16>,
}

impl Service {
    /// Reads an API object; `None` if it has no virtual addresses, is another proxy's or no proxy's at all.
    pub fn read(object: &core::Service) -> Option<Service> {
        let labels = object.metadata.labels.as_ref();
        if [SERVICE_PROXY_NAME, HEADLESS].iter().any(|label| labels.is_some_and(|l| l.contains_key(*label))) {
            return None;
        }
        let spec = object.spec.as_ref()?;
        let cluster_ips = addresses(spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip));
        if spec.type_.as_deref() == Some("ExternalName") || cluster_ips.is_empty() {
            return None;
        }
        let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let balancer = spec.type_.as_deref() == Some("LoadBalancer");
        Some(Service {
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.metadata.name.clone().unwrap_or_default(),
            cluster_ips,
            external_ips: addresses(spec.external_ips.iter().flatten()),
            load_balancer_ips: if balancer { load_balancer_ips(object) } else { Vec::new() },
            source_ranges: spec
                .load_balancer_source_ranges
                .iter()
                .flatten()
                .filter_map(|r| r.trim().parse().ok())
                .collect(),
            ports: spec.ports.iter().flatten().filter_map(read_port).collect(),
            external_local: is_local(&spec.external_traffic_policy),
            internal_local: is_local(&spec.internal_traffic_policy),
            affinity: (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| affinity_seconds(spec)),
            health_check_node_port: spec.health_check_node_port.and_then(port),
        })
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// All places where the service wants to answer.
    pub fn frontends(&self) -> impl Iterator<Item = Frontend> + '_ {
        let addresses =
            || self.cluster_ips.iter().chain(&self.external_ips).chain(&self.load_balancer_ips).copied();
        self.ports.iter().flat_map(move |p| {
            let protocol = p.protocol;
            let own = addresses().map(move |ip| Frontend { address: Some(ip), protocol, port: p.port });
            own.chain(p.node_port.map(|port| Frontend { address: None, protocol, port }))
        })
    }
}

/// An endpoint of one service port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, whether or not it is going away.
    pub serving: bool,
    /// Is going away.
    pub terminating: bool,
    /// Is on this node.
    pub local: bool,
    /// Is on another node. Of some it is not known where they are.
    pub elsewhere: bool,
    /// Zones that should use it; no hint when empty.
    pub zones: Vec<String>,
    /// Nodes that should use it; no hint when empty.
    pub nodes: Vec<String>,
}

/// Endpoints by port name and protocol.
pub type Endpoints = BTreeMap<(String, Protocol), Vec<Endpoint>>;

/// `namespace/name` of the Service that a slice belongs to; `None` if it is none for the proxy.
pub(super) fn owner(slice: &discovery::EndpointSlice) -> Option<String> {
    let labels = slice.metadata.labels.as_ref()?;
    if slice.address_type == "FQDN" || labels.contains_key(HEADLESS) {
        return None;
    }
    let namespace = slice.metadata.namespace.as_deref()?;
    Some(format!("{namespace}/{}", labels.get(SERVICE_NAME)?))
}

/// Merges slices of one service. An address may be in two of them while it moves: the readier counts.
pub(super) fn endpoints<'a>(
    slices: impl IntoIterator<Item = &'a discovery::EndpointSlice>,
    node_name: &str,
) -> Endpoints {
    let mut merged: BTreeMap<(String, Protocol), BTreeMap<SocketAddr, Endpoint>> = BTreeMap::new();
    for slice in slices {
        for slice_port in slice.ports.iter().flatten() {
            let (Some(protocol), Some(number)) =
                (Protocol::parse(slice_port.protocol.as_deref()), slice_port.port.and_then(port))
            else {
                continue;
            };
            let name = slice_port.name.clone().unwrap_or_default();
            let of_port = merged.entry((name, protocol)).or_default();
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(endpoint) = read_endpoint(endpoint, number, node_name) else { continue };
                let known = of_port.get(&endpoint.address);
                if known.is_none_or(|k| (k.ready, k.serving) < (endpoint.ready, endpoint.serving)) {
                    of_port.insert(endpoint.address, endpoint);
                }
            }
        }
    }
    merged.into_iter().map(|(port, map)| (port, map.into_values().collect())).collect()
}

fn read_endpoint(object: &discovery::Endpoint, port: u16, node_name: &str) -> Option<Endpoint> {
    // All addresses of an entry are the same endpoint: the API says to use the first.
    let ip: IpAddr = object.addresses.first()?.parse().ok()?;
    let conditions = object.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let hints = object.hints.clone().unwrap_or_default();
    Some(Endpoint {
        address: SocketAddr::new(ip, port),
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        local: object.node_name.as_deref().is_some_and(|n| n == node_name),
        elsewhere: object.node_name.as_deref().is_some_and(|n| n != node_name),
        zones: hints.for_zones.into_iter().flatten().map(|z| z.name).collect(),
        nodes: hints.for_nodes.into_iter().flatten().map(|n| n.name).collect(),
    })
}

fn read_port(object: &core::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: object.name.clone().unwrap_or_default(),
        protocol: Protocol::parse(object.protocol.as_deref())?,
        port: port(object.port)?,
        node_port: object.node_port.and_then(port),
    })
}

/// Addresses that a load balancer announces, less those that it translates itself (`ipMode: Proxy`).
fn load_balancer_ips(object: &core::Service) -> Vec<IpAddr> {
    let ingress =
        object.status.iter().flat_map(|s| &s.load_balancer).flat_map(|l| l.ingress.iter().flatten());
    let delivered = ingress.filter(|i| i.ip_mode.as_deref() != Some("Proxy"));
    delivered.filter_map(|i| i.ip.as_ref()?.parse().ok()).collect()
}

fn affinity_seconds(spec: &core::ServiceSpec) -> u32 {
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|c| c.client_ip.as_ref()).and_then(|c| c.timeout_seconds);
    seconds.and_then(|s| u32::try_from(s).ok()).filter(|s| *s > 0).unwrap_or(AFFINITY_SECONDS)
}

/// Addresses that parse, each once, in order. `None` and the empty string of headless services do not.
fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for ip in texts.filter_map(|t| t.parse().ok()) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// A port number within its range; zero is none.
fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|p| *p > 0)
}
