//! Topology mode Auto of a Service (KEP-2433): each endpoint is given to a zone, so that zones have as large a share of
//! the endpoints as they have of the cluster's CPUs.
//!
//! Endpoints begin in their own zone; zones with too many give to those with too few. Which ones are given follows from
//! the order of the endpoints, so that another look at the same world says the same.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::{Endpoint, EndpointHints, ForZone},
};
use knarr_api::quantity::Quantity;

use super::ZONE;
use crate::{
    meta::{annotation, label},
    node_lifecycle::is_ready,
};

/// By how much an endpoint may be loaded above the average before zones are left alone.
const OVERLOAD: f64 = 0.2;
/// Nodes with one of these labels run no ordinary pods.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Whether a Service asks for the mode.
pub(super) fn is_auto(service: &Service) -> bool {
    let meta = &service.metadata;
    let new = annotation(meta, "service.kubernetes.io/topology-mode");
    let mode = new.or_else(|| annotation(meta, "service.kubernetes.io/topology-aware-hints"));
    matches!(mode, Some("Auto" | "auto"))
}

/// What counts of a node: its zone and CPUs in thousandths, while it is ready for ordinary pods.
fn counted(node: &Node) -> Option<(Option<&str>, i64)> {
    let excluded = EXCLUDED.iter().any(|name| label(&node.metadata, name).is_some());
    if excluded || !is_ready(node) {
        return None;
    }
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let cpu = allocatable.and_then(|all| all.get("cpu")).and_then(|cpu| cpu.0.parse::<Quantity>().ok());
    Some((
        label(&node.metadata, ZONE).filter(|zone| !zone.is_empty()),
        cpu.map_or(0, |cpu| cpu.milli_value()),
    ))
}

/// Whether two states of a node count the same.
pub(super) fn same(old: &Node, new: &Node) -> bool {
    counted(old) == counted(new)
}

/// The share of the CPUs that each zone has; an error says why zones cannot be told apart.
pub(super) fn shares(nodes: &[Arc<Node>]) -> Result<BTreeMap<String, f64>, String> {
    let mut cpus: BTreeMap<String, i64> = BTreeMap::new();
    for (zone, cpu) in nodes.iter().filter_map(|node| counted(node)) {
        let known = zone.filter(|_| cpu > 0).ok_or_else(|| {
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
                .to_string()
        })?;
        *cpus.entry(known.to_string()).or_default() += cpu;
    }
    if cpus.len() < 2 {
        return Err("Nodes only ready in one zone".to_string());
    }
    let total: i64 = cpus.values().sum();
    Ok(cpus.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / total as f64)).collect())
}

/// How many endpoints a zone should have, and must have.
struct Share {
    desired: f64,
    minimum: usize,
    has: usize,
}

/// Gives the ready endpoints to zones; an error says why they are given to none.
pub(super) fn assign(endpoints: Vec<&mut Endpoint>, shares: &BTreeMap<String, f64>) -> Result<(), String> {
    let mut ready: Vec<&mut Endpoint> = endpoints.into_iter().filter(|one| is_endpoint_ready(one)).collect();
    if shares.len() > ready.len() {
        return Err(format!(
            "Insufficient number of endpoints ({} endpoints, {} zones)",
            ready.len(),
            shares.len()
        ));
    }
    let mut zones = share_out(ready.len(), shares)?;
    for endpoint in &ready {
        let zone = endpoint.zone.as_deref().filter(|zone| !zone.is_empty());
        let zone = zone.ok_or("One or more endpoints do not have a zone specified")?;
        // A zone without ready nodes may still have endpoints: it wants none of them.
        zones.entry(zone.to_string()).or_insert(Share { desired: 0.0, minimum: 0, has: 0 }).has += 1;
    }
    ready.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    for endpoint in &mut ready {
        give(endpoint, endpoint.zone.clone().unwrap_or_default());
    }
    while let Some((from, to)) = next_move(&zones) {
        let moved =
            ready.iter_mut().find(|one| one.zone.as_deref() == Some(&from) && hinted(one) == Some(&from));
        let Some(moved) = moved else { break };
        give(moved, to.clone());
        zones.entry(from).and_modify(|zone| zone.has -= 1);
        zones.entry(to).and_modify(|zone| zone.has += 1);
    }
    Ok(())
}

fn is_endpoint_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
}

fn give(endpoint: &mut Endpoint, zone: String) {
    endpoint.hints = Some(EndpointHints { for_zones: Some(vec![ForZone { name: zone }]), for_nodes: None });
}

fn hinted(endpoint: &Endpoint) -> Option<&str> {
    endpoint.hints.as_ref()?.for_zones.as_ref()?.first().map(|zone| zone.name.as_str())
}

/// What each zone should have of so many endpoints.
fn share_out(count: usize, shares: &BTreeMap<String, f64>) -> Result<BTreeMap<String, Share>, String> {
    let share = |share: &f64| {
        let desired = share * count as f64;
        Share { desired, minimum: (desired / (1.0 + OVERLOAD)).ceil() as usize, has: 0 }
    };
    let zones: BTreeMap<String, Share> =
        shares.iter().map(|(zone, part)| (zone.clone(), share(part))).collect();
    if zones.values().map(|zone| zone.minimum).sum::<usize>() > count {
        return Err(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
                .to_string(),
        );
    }
    Ok(zones)
}

/// From which zone to which an endpoint goes next; none when all have about what they should.
fn next_move(zones: &BTreeMap<String, Share>) -> Option<(String, String)> {
    let surplus = |zone: &Share| zone.has as f64 - zone.desired;
    let by_surplus = || zones.iter().map(|(name, zone)| (name, zone, surplus(zone)));
    let (from, giving, more) = by_surplus().max_by(|a, b| a.2.total_cmp(&b.2))?;
    let (to, receiving, less) = by_surplus().min_by(|a, b| a.2.total_cmp(&b.2))?;
    let whole = more >= 1.0 || -less >= 1.0;
    let needed = receiving.has < receiving.minimum || giving.minimum == 0 && giving.desired == 0.0;
    (more > 0.0 && less < 0.0 && (whole || needed)).then(|| (from.clone(), to.clone()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::EndpointConditions;
    use serde_json::json;

    use super::*;

    fn node(zone: &str, cpu: &str, ready: &str, label: &str) -> Arc<Node> {
        let labels = json!({"topology.kubernetes.io/zone": zone, label: ""});
        let status = json!({"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]});
        Arc::new(
            serde_json::from_value(json!({"metadata": {"labels": labels}, "status": status}))
                .expect("a node"),
        )
    }

    #[test]
    fn zones_have_shares_of_the_cpus() {
        let check = |nodes: &[Arc<Node>], expected: Result<&[(&str, f64)], &str>| {
            let found = shares(nodes).map(|shares| shares.into_iter().collect::<Vec<_>>());
            let expected = expected
                .map(|all| all.iter().map(|(zone, share)| (zone.to_string(), *share)).collect::<Vec<_>>());
            assert_eq!(
                found.map_err(|text| text.chars().take(12).collect::<String>()),
                expected.map_err(String::from)
            );
        };
        let (a, b) = (node("a", "1", "True", "x"), node("b", "3", "True", "x"));
        check(&[a.clone(), b.clone()], Ok(&[("a", 0.25), ("b", 0.75)]));
        check(&[a.clone(), node("b", "3", "False", "x")], Err("Nodes only r"));
        check(&[a.clone(), node("b", "3", "True", EXCLUDED[0])], Err("Nodes only r"));
        check(&[a, b, node("", "3", "True", "x")], Err("Insufficient"));
    }

    /// Endpoints by zone, in letters; the answer has the zones they are given to.
    fn check(endpoints: &str, zones: &[(&str, f64)], expected: Result<&str, &str>) {
        let zones = zones.iter().map(|(zone, share)| (zone.to_string(), *share)).collect();
        let endpoint = |(number, zone): (usize, char)| Endpoint {
            addresses: vec![format!("10.0.0.{number:03}")],
            conditions: Some(EndpointConditions { ready: Some(true), ..Default::default() }),
            zone: (zone != '-').then(|| zone.to_string()),
            ..Default::default()
        };
        let mut all: Vec<Endpoint> = endpoints.chars().enumerate().map(endpoint).collect();
        let assigned = assign(all.iter_mut().collect(), &zones);
        let given: String = all.iter().map(|one| hinted(one).unwrap_or("-")).collect();
        let found = assigned.map(|()| given).map_err(|text| text.chars().take(12).collect::<String>());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{endpoints}");
    }

    #[test]
    fn endpoints_are_given_to_zones() {
        let even = [("a", 0.5), ("b", 0.5)];
        check("aabb", &even, Ok("aabb"));
        check("aaaa", &even, Ok("bbaa"));
        check("aaab", &even, Ok("baab"));
        check("aaaaab", &even, Ok("bbaaab"));
        check("aab", &even, Err("Unable to al"));
        check("a", &even, Err("Insufficient"));
        check("aab-", &even, Err("One or more "));
        check("aabbcc", &[("a", 0.5), ("b", 0.5)], Ok("aabbab"));
    }
}
