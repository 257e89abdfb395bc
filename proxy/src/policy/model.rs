//! What policies and pods say, in the form in which rules are made from it.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knarr_component::selector::{Labels, matches};

use crate::names;
use crate::nft::Protocol;

/// A pod with addresses of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// The node on which it runs.
    pub node: String,
    /// Its ports that have names: name, protocol, number.
    pub ports: Vec<(String, Protocol, u16)>,
}

impl Pod {
    /// A pod as policies see it; none if it has no address of its own, or does not need it any more.
    pub fn read(pod: &core::Pod) -> Option<Pod> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let ips: Vec<IpAddr> = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
        if ended || spec.host_network == Some(true) || ips.is_empty() {
            return None;
        }
        // A sidecar's ports count as any other's.
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let ports = all.flat_map(|container| container.ports.iter().flatten());
        let named = |port: &core::ContainerPort| {
            let number = u16::try_from(port.container_port).ok()?;
            Some((port.name.clone()?, Protocol::parse(port.protocol.as_deref())?, number))
        };
        Some(Pod {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            ips,
            node: spec.node_name.clone().unwrap_or_default(),
            ports: ports.filter_map(named).collect(),
        })
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its namespace.
    pub namespace: String,
    /// The pods that it is about.
    pub selector: LabelSelector,
    /// What may come in; `None`: it says nothing about that.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out; `None`: it says nothing about that.
    pub egress: Option<Vec<Rule>>,
}

/// Traffic that is allowed: of any of the peers, at any of the ports.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The other ends; `None` is everybody.
    pub peers: Option<Vec<Peer>>,
    /// The ports; `None` is every port of every protocol.
    pub ports: Option<Vec<Port>>,
}

/// The other end of connections.
#[derive(Debug, Clone, PartialEq)]
pub enum Peer {
    /// Pods.
    Pods(Selection),
    /// Addresses in a range, but not in any of the others.
    Block {
        /// The range.
        range: IpNet,
        /// Ranges within it.
        except: Vec<IpNet>,
    },
}

/// Pods, by namespace and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Their namespaces.
    pub namespaces: Namespaces,
    /// Their labels; `None` is any.
    pub pods: Option<LabelSelector>,
}

/// Namespaces of a selection.
#[derive(Debug, Clone, PartialEq)]
pub enum Namespaces {
    /// The policy's own.
    Own(String),
    /// Those with such labels.
    Labelled(LabelSelector),
}

/// Ports at which connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Their protocol.
    pub protocol: Protocol,
    /// Which.
    pub numbers: Numbers,
}

/// Numbers of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbers {
    /// All.
    All,
    /// From the first to the last.
    Range(u16, u16),
    /// That which the receiving pod calls so.
    Named(String),
}

impl Policy {
    /// A policy as rules are made from it.
    pub fn read(policy: &networking::NetworkPolicy) -> Policy {
        let namespace = policy.metadata.namespace.clone().unwrap_or_default();
        let spec = policy.spec.clone().unwrap_or_default();
        // The API server fills the types in; without them they follow from the rules.
        let types = spec.policy_types.clone().unwrap_or_else(|| {
            let egress = spec.egress.as_ref().filter(|rules| !rules.is_empty()).map(|_| "Egress".to_owned());
            std::iter::once("Ingress".to_owned()).chain(egress).collect()
        });
        let has = |kind: &str| types.iter().any(|one| one == kind);
        let ingress = || {
            let rules = spec.ingress.iter().flatten();
            rules.map(|rule| Rule::read(rule.from.as_deref(), rule.ports.as_deref(), &namespace)).collect()
        };
        let egress = || {
            let rules = spec.egress.iter().flatten();
            rules.map(|rule| Rule::read(rule.to.as_deref(), rule.ports.as_deref(), &namespace)).collect()
        };
        Policy {
            selector: spec.pod_selector.clone().unwrap_or_default(),
            ingress: has("Ingress").then(ingress),
            egress: has("Egress").then(egress),
            namespace,
        }
    }

    /// Whether it is about a pod.
    pub fn is_about(&self, pod: &Pod) -> bool {
        pod.namespace == self.namespace && matches(&self.selector, Some(&pod.labels))
    }
}

impl Rule {
    fn read(
        peers: Option<&[networking::NetworkPolicyPeer]>,
        ports: Option<&[networking::NetworkPolicyPort]>,
        namespace: &str,
    ) -> Rule {
        let peers = peers.filter(|peers| !peers.is_empty());
        let ports = ports.filter(|ports| !ports.is_empty());
        Rule {
            // What cannot be read allows nobody.
            peers: peers.map(|peers| peers.iter().filter_map(|peer| Peer::read(peer, namespace)).collect()),
            ports: ports.map(|ports| ports.iter().filter_map(Port::read).collect()),
        }
    }
}

impl Peer {
    fn read(peer: &networking::NetworkPolicyPeer, namespace: &str) -> Option<Peer> {
        if let Some(block) = &peer.ip_block {
            let except = block.except.iter().flatten().map(|range| range.parse::<IpNet>());
            return Some(Peer::Block {
                range: block.cidr.parse::<IpNet>().ok()?.trunc(),
                except: except
                    .map(|range| range.map(|range| range.trunc()))
                    .collect::<Result<_, _>>()
                    .ok()?,
            });
        }
        if peer.namespace_selector.is_none() && peer.pod_selector.is_none() {
            return None;
        }
        let namespaces = match &peer.namespace_selector {
            Some(selector) => Namespaces::Labelled(selector.clone()),
            None => Namespaces::Own(namespace.to_owned()),
        };
        Some(Peer::Pods(Selection { namespaces, pods: peer.pod_selector.clone() }))
    }
}

impl Selection {
    /// Whether a pod is selected; `namespace` are the labels of its namespace.
    pub fn has(&self, pod: &Pod, namespace: Option<&Labels>) -> bool {
        let in_namespace = match &self.namespaces {
            Namespaces::Own(own) => pod.namespace == *own,
            Namespaces::Labelled(selector) => namespace.is_some_and(|labels| matches(selector, Some(labels))),
        };
        in_namespace && self.pods.as_ref().is_none_or(|selector| matches(selector, Some(&pod.labels)))
    }

    /// Name of the set of its pods' addresses; equal selections share one.
    pub fn set(&self) -> String {
        let text = |selector: &LabelSelector| serde_json::to_string(selector).unwrap_or_default();
        let namespaces = match &self.namespaces {
            Namespaces::Own(own) => format!("={own}"),
            Namespaces::Labelled(selector) => text(selector),
        };
        let pods = self.pods.as_ref().map(text).unwrap_or_default();
        format!("peers-{}", names::digest(&format!("{namespaces} {pods}"), 16))
    }
}

impl Port {
    fn read(port: &networking::NetworkPolicyPort) -> Option<Port> {
        let number = |number: i32| u16::try_from(number).ok();
        let numbers = match &port.port {
            None => Numbers::All,
            Some(IntOrString::Int(first)) => {
                let first = number(*first)?;
                Numbers::Range(first, port.end_port.map_or(Some(first), number)?)
            }
            Some(IntOrString::String(name)) => Numbers::Named(name.clone()),
        };
        Some(Port { protocol: Protocol::parse(port.protocol.as_deref())?, numbers })
    }
}

/// Name of the set of addresses, protocols and numbers of all ports of a name and protocol.
pub fn port_set(name: &str, protocol: Protocol) -> String {
    format!("ports-{}", names::digest(&format!("{protocol} {name}"), 16))
}
