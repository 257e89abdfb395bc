//! From a pod to the sandbox that the runtime is asked to make.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{hosts, pod_labels, security};
use crate::labels;
use crate::pod;
use crate::runtime::types::{
    DnsConfig, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
};

/// What the node adds to a sandbox.
pub struct Node<'a> {
    /// The cluster's domain.
    pub cluster_domain: &'a str,
    /// Where the pod's logs go.
    pub log_directory: String,
    /// The pod's cgroup.
    pub cgroup_parent: String,
    /// What `resolv.conf` says.
    pub dns: DnsConfig,
}

/// Configuration of the pod's sandbox number `attempt`.
pub fn config(pod: &Pod, attempt: u32, node: Node<'_>) -> PodSandboxConfig {
    let host_network = pod::host_network(pod);
    let (name, domain) = hosts::names(pod, node.cluster_domain);
    let fqdn = pod::spec(pod).set_hostname_as_fqdn == Some(true);
    let hostname = match domain {
        // With the node's network comes the node's name, which the runtime must not set.
        _ if host_network => String::new(),
        Some(domain) if fqdn => format!("{name}.{domain}"),
        _ => name,
    };
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    if host_network {
        annotations.insert(labels::HOST_NETWORK.to_owned(), "true".to_owned());
    }
    let sysctls = pod::security(pod).sysctls.iter().flatten();
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            namespace: pod::namespace(pod).to_owned(),
            attempt,
        }),
        hostname,
        log_directory: node.log_directory,
        dns_config: Some(node.dns),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
        labels: pod_labels(pod),
        annotations,
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: node.cgroup_parent,
            security_context: Some(security::sandbox(pod)),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
        }),
    }
}

fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
    let ports = |container: &Container| container.ports.clone().unwrap_or_default();
    sidecars
        .chain(pod::containers(pod))
        .flat_map(ports)
        .filter_map(|port| {
            Some(PortMapping {
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                } as i32,
                container_port: port.container_port,
                host_port: port.host_port.filter(|port| *port > 0)?,
                host_ip: port.host_ip.unwrap_or_default(),
            })
        })
        .collect()
}
