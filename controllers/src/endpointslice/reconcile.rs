//! From the pods behind a Service to its slices, touching as few slices as possible.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{
            Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
        },
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use knarr_component::events::Type;

use super::{MANAGED_BY, MANAGER, SERVICE, select::Port, targets, topology};
use crate::meta::{Map, controller_reference, name, namespace};
use crate::pods::Pod;

/// Label that marks slices of Services without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What to do about the slices of a Service.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    /// Names.
    pub delete: Vec<String>,
    /// Events about the Service: kind, reason, message.
    pub notes: Vec<(Type, &'static str, String)>,
}

/// What is known of zones.
pub(super) struct Zones<'a> {
    /// The zone of a node.
    pub of_node: &'a dyn Fn(&str) -> Option<String>,
    /// For Services with topology mode Auto: the share of each zone, or why there are none.
    pub shares: Option<&'a Result<BTreeMap<String, f64>, String>>,
}

/// What all slices of one owner share.
pub(crate) struct Frame {
    /// Name of the Service, from which those of the slices are made.
    pub name: String,
    pub namespace: String,
    pub labels: Map,
    /// All annotations, where they are not for others to set.
    pub annotations: Option<Map>,
    pub owner: OwnerReference,
    /// Whether one empty slice stands for no endpoints at all.
    pub placeholder: bool,
}

impl Frame {
    fn of_service(service: &Service) -> Self {
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.retain(|key, _| key != HEADLESS);
        if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
            labels.insert(HEADLESS.to_string(), String::new());
        }
        labels.insert(SERVICE.to_string(), name(&service.metadata).to_string());
        labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
        Self {
            name: name(&service.metadata).to_string(),
            namespace: namespace(&service.metadata).to_string(),
            labels,
            annotations: None,
            owner: controller_reference(service),
            placeholder: true,
        }
    }
}

/// Compares the slices of a Service with what they should be.
pub(super) fn reconcile(
    service: &Service,
    pods: &[Arc<Pod>],
    zones: &Zones<'_>,
    existing: &[Arc<EndpointSlice>],
    max: usize,
) -> Changes {
    let mut changes = Changes::default();
    let families = families(service);
    let frame = Frame::of_service(service);
    for family in &families {
        let mut wanted = endpoints(service, pods, zones, family);
        let have: Vec<&EndpointSlice> =
            existing.iter().map(|slice| &**slice).filter(|slice| slice.address_type == *family).collect();
        if let Some(shares) = zones.shares {
            changes.notes.extend(give_to_zones(&mut wanted, &have, shares, family));
        }
        reconcile_family(&frame, family, wanted, &have, max, &mut changes);
    }
    let of_other_families = existing.iter().filter(|slice| !families.contains(&slice.address_type));
    changes.delete.extend(of_other_families.map(|slice| name(&slice.metadata).to_string()));
    reuse(existing, &mut changes);
    changes
}

/// Turns pairs of a deletion and a creation into updates: whoever watches sees no gap in between.
pub(crate) fn reuse(existing: &[Arc<EndpointSlice>], changes: &mut Changes) {
    let doomed = std::mem::take(&mut changes.delete);
    for doomed in doomed {
        let old = existing.iter().find(|slice| name(&slice.metadata) == doomed);
        let fresh = old.and_then(|old| {
            let index = changes.create.iter().position(|slice| slice.address_type == old.address_type)?;
            Some((old, changes.create.swap_remove(index)))
        });
        match fresh {
            Some((old, fresh)) => {
                let mut metadata = old.metadata.clone();
                metadata.labels.clone_from(&fresh.metadata.labels);
                if fresh.metadata.annotations.is_some() {
                    metadata.annotations.clone_from(&fresh.metadata.annotations);
                }
                changes.update.push(EndpointSlice { metadata, ..fresh });
            }
            None => changes.delete.push(doomed),
        }
    }
}

fn families(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    if !families.is_empty() {
        return families;
    }
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
    let is_v6 = address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
    vec![if is_v6 { "IPv6" } else { "IPv4" }.to_string()]
}

/// Wanted endpoints by the ports they have: pods may resolve one named port differently.
fn endpoints(
    service: &Service,
    pods: &[Arc<Pod>],
    zones: &Zones<'_>,
    family: &str,
) -> BTreeMap<Vec<Port>, Vec<Endpoint>> {
    let spec = service.spec.as_ref();
    let publish_unready = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let distribution = spec.and_then(|spec| spec.traffic_distribution.as_deref()).unwrap_or_default();
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    for target in targets(service, pods) {
        let of_family = |address: &&String| {
            address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6() == (family == "IPv6"))
        };
        let Some(address) = target.addresses.iter().find(of_family) else { continue };
        let zone = target.node.as_deref().and_then(zones.of_node);
        let ready = publish_unready || (target.serving && !target.terminating);
        let preferred = ready && zones.shares.is_none();
        let hints =
            if preferred { hints(distribution, zone.as_deref(), target.node.as_deref()) } else { None };
        groups.entry(target.ports).or_default().push(Endpoint {
            addresses: vec![address.clone()],
            conditions: Some(EndpointConditions {
                ready: Some(ready),
                serving: Some(target.serving),
                terminating: Some(target.terminating),
            }),
            hints,
            hostname: target.hostname,
            node_name: target.node,
            target_ref: Some(target.pod),
            zone,
            ..Default::default()
        });
    }
    groups
}

/// Gives the endpoints of one family to zones; returns the event about it, if there is news.
fn give_to_zones(
    wanted: &mut BTreeMap<Vec<Port>, Vec<Endpoint>>,
    have: &[&EndpointSlice],
    shares: &Result<BTreeMap<String, f64>, String>,
    family: &str,
) -> Option<(Type, &'static str, String)> {
    let given = match shares {
        Ok(shares) => topology::assign(wanted.values_mut().flatten().collect(), shares),
        Err(reason) => Err(reason.clone()),
    };
    if let Err(reason) = given {
        wanted.values_mut().flatten().for_each(|endpoint| endpoint.hints = None);
        return Some((
            Type::Warning,
            "TopologyAwareHintsDisabled",
            format!("{reason}, addressType: {family}"),
        ));
    }
    let mut before = have.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let message = format!("Topology Aware Hints has been enabled, addressType: {family}");
    let news = before.all(|endpoint| endpoint.hints.is_none());
    news.then_some((Type::Normal, "TopologyAwareHintsEnabled", message))
}

/// Where traffic for an endpoint should come from (KEP-2433, KEP-4444, KEP-3015).
fn hints(distribution: &str, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.to_string() }]);
    match distribution {
        "PreferClose" | "PreferSameZone" => {
            for_zones.map(|zones| EndpointHints { for_zones: Some(zones), for_nodes: None })
        }
        "PreferSameNode" => Some(EndpointHints {
            for_zones,
            for_nodes: node.map(|node| vec![ForNode { name: node.to_string() }]),
        }),
        _ => None,
    }
}

/// Compares the slices of one address family with the endpoints that are wanted for each set of
/// ports.
pub(crate) fn reconcile_family(
    frame: &Frame,
    family: &str,
    wanted: BTreeMap<Vec<Port>, Vec<Endpoint>>,
    have: &[&EndpointSlice],
    max: usize,
    changes: &mut Changes,
) {
    let mut kept = BTreeSet::new();
    let is_empty = wanted.is_empty() && frame.placeholder;
    for (ports, endpoints) in wanted {
        let ports: Vec<EndpointPort> = ports.into_iter().map(slice_port).collect();
        let same: Vec<&EndpointSlice> = have
            .iter()
            .copied()
            .filter(|slice| slice.ports.as_ref().unwrap_or(&Vec::new()) == &ports)
            .collect();
        fill(frame, family, &ports, endpoints, &same, max, changes, &mut kept);
    }
    if is_empty {
        // One empty slice says that there is nothing, which no slice at all would not.
        let placeholder = new_slice(frame, family, Vec::new(), Vec::new());
        match have.iter().find(|slice| {
            slice.endpoints.as_ref().is_none_or(Vec::is_empty)
                && slice.ports.as_ref().is_none_or(Vec::is_empty)
        }) {
            Some(slice) => {
                kept.insert(name(&slice.metadata).to_string());
                changes.update.extend(renew(frame, slice, Vec::new(), Vec::new()));
            }
            None => changes.create.push(placeholder),
        }
    }
    let names = have.iter().map(|slice| name(&slice.metadata).to_string());
    changes.delete.extend(names.filter(|name| !kept.contains(name)));
}

/// Distributes endpoints with the same ports over slices: each stays where it is, new ones go to
/// slices that change anyway, then to one with room for all, then to new slices.
#[expect(clippy::too_many_arguments, reason = "all of it is the state of one step")]
fn fill(
    frame: &Frame,
    family: &str,
    ports: &[EndpointPort],
    wanted: Vec<Endpoint>,
    have: &[&EndpointSlice],
    max: usize,
    changes: &mut Changes,
    kept: &mut BTreeSet<String>,
) {
    let id = |endpoint: &Endpoint| {
        (endpoint.target_ref.as_ref().and_then(|pod| pod.uid.clone()), endpoint.addresses.clone())
    };
    let mut missing: BTreeMap<_, Endpoint> =
        wanted.into_iter().map(|endpoint| (id(&endpoint), endpoint)).collect();
    let mut slices: Vec<(&EndpointSlice, Vec<Endpoint>, bool)> = Vec::new();
    for slice in have {
        let old: &[Endpoint] = slice.endpoints.as_deref().unwrap_or_default();
        let stay: Vec<Endpoint> = old.iter().filter_map(|endpoint| missing.remove(&id(endpoint))).collect();
        let changed = stay.as_slice() != old;
        slices.push((slice, stay, changed));
    }
    let mut rest: Vec<Endpoint> = missing.into_values().collect();
    for (_, endpoints, _) in slices.iter_mut().filter(|(_, stay, changed)| *changed && !stay.is_empty()) {
        let room = max.saturating_sub(endpoints.len()).min(rest.len());
        endpoints.extend(rest.drain(..room));
    }
    if !rest.is_empty()
        && let Some((_, endpoints, changed)) = slices
            .iter_mut()
            .filter(|(_, have, _)| have.len() + rest.len() <= max)
            .max_by_key(|(_, have, _)| have.len())
    {
        endpoints.append(&mut rest);
        *changed = true;
    }
    while !rest.is_empty() {
        let chunk: Vec<Endpoint> = rest.drain(..rest.len().min(max)).collect();
        changes.create.push(new_slice(frame, family, ports.to_vec(), chunk));
    }
    for (slice, endpoints, _) in slices {
        if !endpoints.is_empty() {
            kept.insert(name(&slice.metadata).to_string());
            changes.update.extend(renew(frame, slice, ports.to_vec(), endpoints));
        }
    }
}

fn slice_port(port: Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name),
        port: Some(port.port),
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

fn new_slice(
    frame: &Frame,
    family: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    EndpointSlice {
        address_type: family.to_string(),
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", frame.name)),
            namespace: Some(frame.namespace.clone()),
            labels: Some(frame.labels.clone()),
            annotations: frame.annotations.clone(),
            owner_references: Some(vec![frame.owner.clone()]),
            ..Default::default()
        },
        ports: Some(ports),
        endpoints: Some(endpoints),
    }
}

/// The slice with new contents, unless it has them already.
fn renew(
    frame: &Frame,
    slice: &EndpointSlice,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> Option<EndpointSlice> {
    let same = slice.endpoints.as_deref().unwrap_or_default() == endpoints
        && slice.ports.as_deref().unwrap_or_default() == ports
        && slice.metadata.labels.as_ref() == Some(&frame.labels)
        && frame
            .annotations
            .as_ref()
            .is_none_or(|wanted| wanted == slice.metadata.annotations.as_ref().unwrap_or(&Map::new()));
    if same {
        return None;
    }
    let mut slice = slice.clone();
    slice.metadata.labels = Some(frame.labels.clone());
    if frame.annotations.is_some() {
        slice.metadata.annotations.clone_from(&frame.annotations);
    }
    slice.endpoints = Some(endpoints);
    slice.ports = Some(ports);
    Some(slice)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{ContainerPort, ServicePort, ServiceSpec},
        apimachinery::pkg::util::intstr::IntOrString,
    };

    use super::*;
    use crate::pods::{Container, tests::pod};

    fn service() -> Service {
        Service {
            metadata: ObjectMeta {
                name: Some("web".into()),
                namespace: Some("ns".into()),
                ..Default::default()
            },
            spec: Some(ServiceSpec {
                selector: Some([("app".to_string(), "web".to_string())].into()),
                ip_families: Some(vec!["IPv4".into()]),
                ports: Some(vec![ServicePort {
                    port: 80,
                    target_port: Some(IntOrString::String("http".into())),
                    ..Default::default()
                }]),
                ..Default::default()
            }),
            status: None,
        }
    }

    fn web(number: usize, port: i32, ready: bool) -> Arc<Pod> {
        let mut pod = pod(&format!("p{number:03}"), "Running", "n1", ready.then_some(5));
        pod.metadata.labels = Some([("app".to_string(), "web".to_string())].into());
        pod.status.as_mut().unwrap().pod_ip = Some(format!("10.0.{}.{}", number / 200, number % 200 + 1));
        pod.spec.as_mut().unwrap().containers = vec![Container {
            ports: Some(vec![ContainerPort {
                name: Some("http".into()),
                container_port: port,
                ..Default::default()
            }]),
            ..Default::default()
        }];
        Arc::new(pod)
    }

    fn run(pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Changes {
        let zones = Zones { of_node: &|_| Some("z1".into()), shares: None };
        reconcile(&service(), pods, &zones, existing, 10)
    }

    /// The slices as they are after the changes.
    fn apply(changes: Changes, existing: &[Arc<EndpointSlice>]) -> Vec<Arc<EndpointSlice>> {
        let mut all: BTreeMap<String, Arc<EndpointSlice>> =
            existing.iter().map(|slice| (name(&slice.metadata).to_string(), slice.clone())).collect();
        all.retain(|name, _| !changes.delete.contains(name));
        for mut slice in changes.create {
            let fresh =
                (0..).map(|number| format!("web-{number}")).find(|name| !all.contains_key(name)).unwrap();
            slice.metadata.name = Some(fresh.clone());
            all.insert(fresh, Arc::new(slice));
        }
        for slice in changes.update {
            all.insert(name(&slice.metadata).to_string(), Arc::new(slice));
        }
        all.into_values().collect()
    }

    fn counts(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
        slices.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).collect()
    }

    #[test]
    fn slices_follow_pods() {
        let pods: Vec<Arc<Pod>> = (0..25).map(|number| web(number, 8080, true)).collect();
        let slices = apply(run(&[], &[]), &[]);
        assert_eq!(counts(&slices), [0], "a placeholder");
        let slices = apply(run(&pods, &slices), &slices);
        assert_eq!(counts(&slices).iter().sum::<usize>(), 25);
        assert_eq!(slices.len(), 3);
        let changes = run(&pods, &slices);
        assert!(changes.create.is_empty() && changes.update.is_empty() && changes.delete.is_empty());
        let changes = run(&pods[1..], &slices);
        assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len()), (0, 1, 0));
        let slices = apply(run(&[], &slices), &slices);
        assert_eq!(counts(&slices), [0]);
    }

    #[test]
    fn endpoints_tell_their_state() {
        let mut leaving = (*web(1, 8080, true)).clone();
        leaving.metadata.deletion_timestamp = Some(crate::meta::now());
        let pods = [web(0, 8080, false), Arc::new(leaving), web(2, 9090, true)];
        let slices = apply(run(&pods, &[]), &[]);
        let mut seen: Vec<(i32, bool, bool, bool)> = slices
            .iter()
            .flat_map(|slice| {
                let port = slice.ports.as_ref().unwrap()[0].port.unwrap();
                slice.endpoints.clone().unwrap().into_iter().map(move |endpoint| {
                    let state = endpoint.conditions.unwrap();
                    (port, state.ready.unwrap(), state.serving.unwrap(), state.terminating.unwrap())
                })
            })
            .collect();
        seen.sort();
        assert_eq!(seen, [(8080, false, false, false), (8080, false, true, true), (9090, true, true, false)]);
        assert_eq!(slices.len(), 2, "different ports are in different slices");
    }
}
