//! Which addresses a Service gets.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};

use super::status_of;
use crate::{
    meta::{is_deleting, label, name},
    node_lifecycle::is_ready,
};

/// Protocol and number.
pub(super) type Port = (String, i32);

/// Label of nodes that take no traffic from outside.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Where addresses come from.
#[derive(Debug, Clone)]
pub(super) enum Offer {
    /// All addresses of nodes, whose own ports are not to be had.
    Nodes { addresses: Vec<IpAddr>, reserved: HashSet<Port> },
    /// One address of these.
    Pool(Vec<IpNet>),
}

/// Whether a Service is balanced by this controller.
pub(super) fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none()
    })
}

/// The addresses that a Service has.
pub(super) fn ingress_of(service: &Service) -> impl Iterator<Item = &str> {
    let ingress = status_of(service).into_iter().flat_map(|status| status.ingress.iter().flatten());
    ingress.filter_map(|ingress| ingress.ip.as_deref())
}

/// The ports of a Service.
pub(super) fn ports(service: &Service) -> Vec<Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".to_string()), port.port)).collect()
}

/// The addresses by which a node is reached; none for one that takes no traffic.
pub(super) fn node_addresses(node: &Node) -> Vec<IpAddr> {
    let excluded = label(&node.metadata, EXCLUDED).is_some() || is_deleting(&node.metadata);
    if excluded || !is_ready(node) {
        return Vec::new();
    }
    let of_kind = |kind: &str| -> Vec<IpAddr> {
        let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        all.filter(|address| address.type_ == kind)
            .filter_map(|address| address.address.parse().ok())
            .collect()
    };
    let external = of_kind("ExternalIP");
    if external.is_empty() { of_kind("InternalIP") } else { external }
}

/// The nodes among `all` that answer for a Service whose traffic stays where its ready pods are, `with_pods`. While
/// none is ready they are those that answered before, or all: an address must not come and go with the pods, whose
/// absence the health check of the Service tells.
pub(super) fn local_nodes(
    all: Vec<Arc<Node>>,
    with_pods: &HashSet<&str>,
    service: &Service,
) -> Vec<Arc<Node>> {
    let known: HashSet<&str> = ingress_of(service).collect();
    let answered =
        |node: &Node| node_addresses(node).iter().any(|address| known.contains(address.to_string().as_str()));
    let of = |keep: &dyn Fn(&Node) -> bool| -> Vec<Arc<Node>> {
        all.iter().filter(|node| !node_addresses(node).is_empty() && keep(node)).cloned().collect()
    };
    let choices = [of(&|node| with_pods.contains(name(&node.metadata))), of(&answered)];
    choices.into_iter().find(|nodes| !nodes.is_empty()).unwrap_or(all)
}

fn has_family(service: &Service, address: &IpAddr) -> bool {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    families.is_empty() || families.iter().any(|known| known == family)
}

/// The addresses of a Service, or why it gets none. `taken` has the ports of others, by address.
pub(super) fn choose(
    service: &Service,
    offer: &Offer,
    taken: &[(String, Port)],
) -> Result<Vec<String>, String> {
    let ports = ports(service);
    let conflict = |address: &str| {
        taken.iter().find(|(other, port)| other == address && ports.contains(port)).map(|(_, port)| port)
    };
    let wanted = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.as_deref()).unwrap_or_default();
    match offer {
        Offer::Nodes { addresses, reserved } => {
            if let Some((protocol, port)) = ports.iter().find(|port| reserved.contains(port)) {
                return Err(format!("port {port}/{protocol} belongs to the nodes themselves"));
            }
            let all: Vec<String> = addresses
                .iter()
                .filter(|address| has_family(service, address))
                .map(ToString::to_string)
                .filter(|address| wanted.is_empty() || wanted == address)
                .collect();
            if let Some((protocol, port)) = all.iter().find_map(|address| conflict(address)) {
                return Err(format!("port {port}/{protocol} of the nodes is taken by another Service"));
            }
            if all.is_empty() { Err("no node has a suitable address".to_string()) } else { Ok(all) }
        }
        Offer::Pool(pool) => {
            let suits = |address: &IpAddr| {
                has_family(service, address) && (wanted.is_empty() || wanted == address.to_string())
            };
            let all = || pool.iter().flat_map(IpNet::hosts).filter(suits).map(|address| address.to_string());
            let known = ingress_of(service).map(str::to_string).next();
            let kept =
                known.filter(|known| all().any(|address| address == *known) && conflict(known).is_none());
            let unused: HashSet<&str> = taken.iter().map(|(address, _)| address.as_str()).collect();
            let found = kept
                .or_else(|| all().find(|address| !unused.contains(address.as_str())))
                .or_else(|| all().find(|address| conflict(address).is_none()));
            found.map(|address| vec![address]).ok_or_else(|| "no address of the pool is free".to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(port: i32, known: &[&str]) -> Service {
        let ingress: Vec<_> = known.iter().map(|ip| json!({"ip": ip})).collect();
        serde_json::from_value(json!({
            "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4"],
                "ports": [{"port": port, "protocol": "TCP"}]},
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap()
    }

    fn taken(list: &[(&str, i32)]) -> Vec<(String, Port)> {
        list.iter().map(|(ip, port)| ((*ip).to_string(), ("TCP".to_string(), *port))).collect()
    }

    #[test]
    fn addresses_of_nodes() {
        let offer = Offer::Nodes {
            addresses: ["10.0.0.1", "10.0.0.2", "fd00::1"].iter().map(|ip| ip.parse().unwrap()).collect(),
            reserved: HashSet::from([("TCP".to_string(), 6443)]),
        };
        let check = |port, others: &[(&str, i32)], expected: Result<&[&str], &str>| {
            let found = choose(&service(port, &[]), &offer, &taken(others));
            let expected = expected
                .map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(ToString::to_string);
            assert_eq!(found, expected, "{port} {others:?}");
        };
        check(80, &[("10.0.0.1", 443)], Ok(&["10.0.0.1", "10.0.0.2"]));
        check(80, &[("10.0.0.2", 80)], Err("port 80/TCP of the nodes is taken by another Service"));
        check(6443, &[], Err("port 6443/TCP belongs to the nodes themselves"));
        let none = Offer::Nodes { addresses: Vec::new(), reserved: HashSet::new() };
        assert!(choose(&service(80, &[]), &none, &[]).is_err());
    }

    #[test]
    fn addresses_of_a_pool() {
        let offer = Offer::Pool(vec!["192.0.2.1/32".parse().unwrap(), "192.0.2.2/32".parse().unwrap()]);
        let check = |port, known: &[&str], others: &[(&str, i32)], expected: Option<&str>| {
            let found = choose(&service(port, known), &offer, &taken(others)).ok();
            assert_eq!(found, expected.map(|ip| vec![ip.to_string()]), "{port} {known:?} {others:?}");
        };
        check(80, &[], &[], Some("192.0.2.1"));
        check(80, &["192.0.2.2"], &[], Some("192.0.2.2"));
        check(80, &[], &[("192.0.2.1", 443)], Some("192.0.2.2"));
        check(80, &[], &[("192.0.2.1", 443), ("192.0.2.2", 80)], Some("192.0.2.1"));
        check(80, &["192.0.2.2"], &[("192.0.2.2", 80)], Some("192.0.2.1"));
        check(80, &[], &[("192.0.2.1", 80), ("192.0.2.2", 80)], None);
        check(80, &["203.0.113.1"], &[], Some("192.0.2.1"));
    }

    #[test]
    fn local_traffic_keeps_its_addresses() {
        let node = |number: u8| -> Arc<Node> {
            let address = json!({"type": "InternalIP", "address": format!("10.0.0.{number}")});
            let node = json!({"metadata": {"name": format!("n{number}")}, "status": {
                "addresses": [address], "conditions": [{"type": "Ready", "status": "True"}],
            }});
            Arc::new(serde_json::from_value(node).unwrap())
        };
        let check = |with_pods: &[&str], known: &[&str], expected: &[&str]| {
            let all = (1..4).map(node).collect();
            let with_pods = with_pods.iter().copied().collect();
            let found = local_nodes(all, &with_pods, &service(80, known));
            let found: Vec<&str> = found.iter().map(|node| name(&node.metadata)).collect();
            assert_eq!(found, expected, "{with_pods:?} {known:?}");
        };
        check(&["n2"], &["10.0.0.1"], &["n2"]);
        check(&[], &["10.0.0.1"], &["n1"]);
        check(&[], &[], &["n1", "n2", "n3"]);
        check(&["n9"], &["192.0.2.1"], &["n1", "n2", "n3"]);
    }

    #[test]
    fn nodes_that_take_traffic() {
        let node = |labels: serde_json::Value, ready: &str, kinds: &[&str]| -> Node {
            let addresses: Vec<_> =
                kinds.iter().map(|kind| json!({"type": kind, "address": "10.0.0.1"})).collect();
            serde_json::from_value(json!({"metadata": {"labels": labels}, "status": {
                "addresses": addresses, "conditions": [{"type": "Ready", "status": ready}],
            }}))
            .unwrap()
        };
        let count = |node: Node| node_addresses(&node).len();
        assert_eq!(count(node(json!({}), "True", &["InternalIP", "Hostname"])), 1);
        assert_eq!(count(node(json!({}), "Unknown", &["InternalIP"])), 0);
        assert_eq!(count(node(json!({EXCLUDED: ""}), "True", &["InternalIP"])), 0);
        assert_eq!(count(node(json!({}), "True", &["ExternalIP", "InternalIP"])), 1);
    }
}
