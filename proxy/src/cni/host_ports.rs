//! Ports of the host that lead to a port of a pod, in a table of the plugin's own.
//!
//! Host ports are few, so the whole table is written anew from the reservations whenever they change: what
//! somebody else flushed comes back with the next change, and with every full resync of the services.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state::Reservations;
use crate::conntrack::UdpFrontend;
use crate::names;
use crate::nft::{
    Family, Field, Fragment, Holds, Hook, HookKind, Key, Kind, Point, Protocol, RuleSet, Side, Statement,
    Value,
};
use crate::service::{LOCALHOST, LOCALHOST_6};

/// A host port, as the `portMappings` capability of CNI writes it. containerd begins the names with capitals, which
/// programs in Go do not tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port of the host; zero is none.
    #[serde(default, alias = "HostPort")]
    pub host_port: u16,
    /// Port of the pod.
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`, in any case.
    #[serde(default = "tcp", alias = "Protocol")]
    pub protocol: String,
    /// The host's address; empty or unspecified is all of them.
    #[serde(default, rename = "hostIP", alias = "HostIP", skip_serializing_if = "String::is_empty")]
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

/// What the table should hold; nothing without host ports.
pub(super) fn rules(cluster: &str, reservations: &Reservations) -> RuleSet {
    let mut fragment = Fragment::default();
    for family in Family::ALL {
        let mut mappings = Mappings { family, fragment: &mut fragment, any: false };
        for reservation in reservations.containers.values().filter(|r| !r.ports.is_empty()) {
            let pod = reservation.addresses.iter().find(|ip| Family::of(ip) == family);
            pod.into_iter().for_each(|pod| mappings.pod(*pod, &reservation.ports));
        }
        if mappings.any {
            mappings.chains(&names::bridge(cluster));
        }
    }
    RuleSet::new(Arc::new(fragment))
}

/// Targets by protocol and port.
const ANY: &str = "any";
/// Targets by address, protocol and port.
const BY_ADDRESS: &str = "by-address";
/// Pairs of a pod's address with itself: a pod that calls its own host port would answer itself directly.
const THEMSELVES: &str = "themselves";
/// Before the services' hooks, as a host port is more specific than a node port.
const BEFORE_SERVICES: i32 = -101;
const BEFORE_MASQUERADE: i32 = 99;

/// The mappings of one family.
struct Mappings<'a> {
    family: Family,
    fragment: &'a mut Fragment,
    /// Whether there is any.
    any: bool,
}

impl Mappings<'_> {
    fn pod(&mut self, pod: IpAddr, ports: &[PortMapping]) {
        ports.iter().for_each(|port| self.add(pod, port));
    }

    /// Adds a mapping; one of a protocol that is none leads nowhere.
    fn add(&mut self, pod: IpAddr, mapping: &PortMapping) {
        let Some(protocol) = Protocol::parse(Some(&mapping.protocol.to_ascii_uppercase())) else { return };
        let address = mapping.host_ip.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified());
        let key: Key = vec![protocol.into(), mapping.host_port.into()];
        let target = Value::Data(vec![pod.into(), mapping.container_port.into()]);
        match address {
            Some(ip) if Family::of(&ip) != self.family => return,
            Some(ip) => {
                let key = std::iter::once(ip.into()).chain(key).collect();
                self.fragment.map(self.family, BY_ADDRESS, key, target);
            }
            None => self.fragment.map(self.family, ANY, key, target),
        }
        self.fragment.member(self.family, THEMSELVES, vec![pod.into(), pod.into()]);
        self.any = true;
    }

    /// What stands around the mappings.
    fn chains(&mut self, bridge: &str) {
        const TARGET: Holds = Holds::Data(&[Kind::Address, Kind::Port]);
        let (family, fragment) = (self.family, &mut *self.fragment);
        fragment.declare_map(family, ANY, &[Kind::Protocol, Kind::Port], TARGET);
        fragment.declare_map(family, BY_ADDRESS, &[Kind::Address, Kind::Protocol, Kind::Port], TARGET);
        fragment.declare_set(family, THEMSELVES, &[Kind::Address, Kind::Address]);
        let not_localhost =
            (family == Family::V6).then(|| Statement::outside(Side::Destination, [LOCALHOST_6]));
        let to_host = [
            Statement::Local(Side::Destination),
            Statement::TranslateBy { fields: &[Field::Protocol, Field::Port], lot: None, map: ANY.into() },
        ];
        let by_address = &[Field::Destination, Field::Protocol, Field::Port];
        let rules = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().flat_map(|protocol| {
            let of = Statement::Protocol(protocol);
            let to = Statement::TranslateBy { fields: by_address, lot: None, map: BY_ADDRESS.into() };
            let first = vec![of.clone(), to];
            let then = not_localhost.iter().cloned().chain([of]).chain(to_host.clone()).collect();
            [first, then]
        });
        fragment.chain(family, "ports", rules.collect());
        let nat = |point, priority| Hook { kind: HookKind::Nat, point, priority };
        let jump = || vec![vec![Statement::jump("ports")]];
        fragment.hook(family, "prerouting", nat(Point::Prerouting, BEFORE_SERVICES), jump());
        fragment.hook(family, "output", nat(Point::Output, BEFORE_SERVICES), jump());
        let masquerade = Statement::Masquerade { random: false };
        let itself = Statement::among(&[Field::Source, Field::Destination], THEMSELVES);
        let mut rules = vec![vec![itself, masquerade.clone()]];
        if family == Family::V4 {
            let localhost = Statement::within(Side::Source, [LOCALHOST]);
            rules.push(vec![localhost, Statement::leaves_by(bridge), masquerade]);
        }
        fragment.hook(family, "postrouting", nat(Point::Postrouting, BEFORE_MASQUERADE), rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_in_either_spelling() {
        let expected = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: "udp".to_owned(),
            host_ip: "192.0.2.1".to_owned(),
        };
        let read = |text: &str| serde_json::from_str::<PortMapping>(text).expect("a mapping");
        let cni = r#"{"hostPort":8080,"containerPort":80,"protocol":"udp","hostIP":"192.0.2.1"}"#;
        assert_eq!(read(cni), expected);
        let containerd = r#"{"HostPort":8080,"ContainerPort":80,"Protocol":"udp","HostIP":"192.0.2.1"}"#;
        assert_eq!(read(containerd), expected);
        // No host port is asked for.
        assert_eq!(read(r#"{"ContainerPort":80}"#).host_port, 0);
    }
}
