//! Ports of the host that lead to a port of a pod, in a table of the plugin's own.
//!
//! Host ports are few, so the whole table is written anew from the reservations whenever they change: what
//! somebody else flushed comes back with the next change, and with every full resync of the services.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::state::Reservations;
use crate::names;
use crate::nft::{Family, UdpFrontend};

/// A host port, as the `portMappings` capability of CNI writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port of the host; zero is none.
    pub host_port: u16,
    /// Port of the pod.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`, in any case.
    #[serde(default = "tcp")]
    pub protocol: String,
    /// The host's address; empty or unspecified is all of them.
    #[serde(default, rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

fn tcp() -> String {
    "tcp".to_owned()
}

/// The UDP host ports among these, with the pod's addresses as their only endpoints.
pub(super) fn udp(ports: &[PortMapping], pod: &[IpAddr]) -> Vec<UdpFrontend> {
    let udp = ports.iter().filter(|p| p.protocol.eq_ignore_ascii_case("udp"));
    let frontend = |p: &PortMapping| UdpFrontend {
        address: p.host_ip.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified()),
        port: p.host_port,
        endpoints: pod.iter().map(|ip| SocketAddr::new(*ip, p.container_port)).collect(),
    };
    udp.map(frontend).collect()
}

/// Commands that replace the table by what the reservations ask for.
pub(super) fn commands(cluster: &str, reservations: &Reservations) -> String {
    let table = names::host_port_table(cluster);
    let mut text = String::new();
    for family in Family::ALL {
        let ip = family.ip();
        let _ = writeln!(text, "add table {ip} {table}\ndelete table {ip} {table}");
        let mappings = Mappings::of(family, reservations);
        if !mappings.is_empty() {
            let _ = writeln!(text, "{}", mappings.table(&table, &names::bridge(cluster)));
        }
    }
    text
}

/// The mappings of one family.
struct Mappings {
    family: Family,
    /// Target by `protocol . port`.
    any: BTreeMap<String, String>,
    /// Target by `address . protocol . port`.
    by_address: BTreeMap<String, String>,
    /// Pods that have mappings.
    pods: Vec<IpAddr>,
}

impl Mappings {
    fn of(family: Family, reservations: &Reservations) -> Mappings {
        let mut mappings =
            Mappings { family, any: BTreeMap::new(), by_address: BTreeMap::new(), pods: Vec::new() };
        for reservation in reservations.containers.values().filter(|r| !r.ports.is_empty()) {
            let pod = reservation.addresses.iter().find(|ip| Family::of(ip) == family);
            if let Some(pod) = pod {
                mappings.pods.push(*pod);
                reservation.ports.iter().for_each(|p| mappings.add(*pod, p));
            }
        }
        mappings
    }

    fn add(&mut self, pod: IpAddr, mapping: &PortMapping) {
        let protocol = mapping.protocol.to_ascii_lowercase();
        let (host_port, target) = (mapping.host_port, format!("{pod} . {}", mapping.container_port));
        match mapping.host_ip.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => {
                self.any.insert(format!("{protocol} . {host_port}"), target);
            }
            Ok(ip) if Family::of(&ip) != self.family => {}
            Ok(ip) => {
                self.by_address.insert(format!("{ip} . {protocol} . {host_port}"), target);
            }
            Err(_) => {
                self.any.insert(format!("{protocol} . {host_port}"), target);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.by_address.is_empty()
    }

    fn table(&self, table: &str, bridge: &str) -> String {
        let (ip, address) = (self.family.ip(), self.family.address_type());
        let elements = |map: &BTreeMap<String, String>| {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k} : {v}")).collect();
            if pairs.is_empty() { String::new() } else { format!("elements = {{ {} }}", pairs.join(", ")) }
        };
        let (any, by_address) = (elements(&self.any), elements(&self.by_address));
        let themselves: Vec<String> = self.pods.iter().map(|p| format!("{p} . {p}")).collect();
        let themselves = themselves.join(", ");
        let localhost = match self.family {
            Family::V4 => format!("ip saddr 127.0.0.0/8 oifname \"{bridge}\" masquerade\n"),
            Family::V6 => String::new(),
        };
        let not_localhost = if self.family == Family::V6 { "ip6 daddr != ::1 " } else { "" };
        // Before the services' hooks, as a host port is more specific than a node port.
        format!(
            "table {ip} {table} {{
map any {{ type inet_proto . inet_service : {address} . inet_service; {any}
}}
map by-address {{ type {address} . inet_proto . inet_service : {address} . inet_service; {by_address}
}}
chain ports {{
meta l4proto {{ tcp, udp, sctp }} dnat {ip} addr . port to {ip} daddr . meta l4proto . th dport map @by-address
{not_localhost}fib daddr type local meta l4proto {{ tcp, udp, sctp }} dnat {ip} addr . port to meta l4proto . th dport map @any
}}
chain prerouting {{ type nat hook prerouting priority -101; policy accept; jump ports
}}
chain output {{ type nat hook output priority -101; policy accept; jump ports
}}
chain postrouting {{ type nat hook postrouting priority 99; policy accept;
{ip} saddr . {ip} daddr {{ {themselves} }} masquerade
{localhost}}}
}}"
        )
    }
}
