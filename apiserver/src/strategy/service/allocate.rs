//! Allocation of addresses and node ports, as writes of the Service's commit group.
use super::families;
use super::{
    Companions, get, has_addresses, has_health_port, has_node_ports, health_port, is_headless, node_port,
    protocol, set, spec,
};
use crate::registry::{NODE_PORTS, codec, object};
use crate::storage::{Guard, Key, Write};
use crate::strategy::Scene;
use bytes::Bytes;
use ipnet::IpNet;
use knarr_api::Value;
use knarr_api::field::{Error, ErrorList};
use knarr_api::status::Status;
use rand::Rng;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ADDRESSES: &str = "networking.k8s.io/ipaddresses";
const CIDRS: &str = "networking.k8s.io/servicecidrs";
/// Random tries before the range is searched from its begin.
const TRIES: usize = 64;

/// Allocates for `object` what `old` does not hold yet, and releases what only `old` holds.
pub(super) fn companions(
    scene: &Scene<'_>,
    object: Option<&mut Value>,
    old: Option<&Value>,
) -> Result<Companions, Status> {
    let mut out = Companions::default();
    let held_addresses = old.map(addresses).unwrap_or_default();
    let held_ports = old.map(ports).unwrap_or_default();
    let (mut wanted_addresses, mut wanted_ports) = (BTreeSet::new(), BTreeSet::new());
    if let Some(service) = object {
        let mut errors = ErrorList::new();
        allocate_addresses(scene, service, &held_addresses, &mut errors)?;
        allocate_ports(scene, service, &held_ports, &mut errors)?;
        if !errors.is_empty() {
            return Err(Status::invalid("", "Service", object::name(service), &errors));
        }
        wanted_addresses = addresses(service);
        wanted_ports = ports(service);
        for address in wanted_addresses.difference(&held_addresses) {
            let key = Key::new(ADDRESSES, "", &address.to_string());
            out.guards.push(Guard::Absent(key.clone()));
            let mut value = ip_address(*address, scene.namespace, object::name(service));
            object::set_meta(&mut value, "uid", Some(uuid::Uuid::new_v4().to_string().into()));
            object::set_meta(&mut value, "creationTimestamp", Some(object::time(scene.now)));
            let value = match scene.registry.rows.find("networking.k8s.io", "v1", "ipaddresses") {
                Some(row) => codec::canonical(scene.registry.api, &row.stored, &mut value)?,
                None => text(&value),
            };
            out.writes.push(put(key, value));
        }
        for port in wanted_ports.difference(&held_ports) {
            let key = port_key(*port);
            out.guards.push(Guard::Absent(key.clone()));
            out.writes.push(put(key, text(&claim_object(*port, scene.namespace, object::name(service)))));
        }
    }
    let released =
        held_addresses.difference(&wanted_addresses).map(|a| Key::new(ADDRESSES, "", &a.to_string()));
    let released = released.chain(held_ports.difference(&wanted_ports).map(|p| port_key(*p)));
    // A claim that is already gone, or was taken over by hand, is not ours to remove.
    out.writes.extend(
        released.filter(|key| scene.registry.store.get(key).is_some()).map(|key| Write::Delete { key }),
    );
    Ok(out)
}

fn port_key(port: i64) -> Key {
    Key::new(NODE_PORTS, "", &port.to_string())
}

fn put(key: Key, value: Bytes) -> Write {
    Write::Put { key, value, expires: None }
}

fn text(value: &Value) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// The addresses a Service holds.
fn addresses(service: &Value) -> BTreeSet<IpAddr> {
    if !has_addresses(service) || is_headless(service) {
        return BTreeSet::new();
    }
    let list = object::list(service, &["spec", "clusterIPs"]);
    list.iter().filter_map(Value::as_str).filter_map(|a| a.parse().ok()).collect()
}

/// The ports of nodes a Service holds.
fn ports(service: &Value) -> BTreeSet<i64> {
    let mut held = BTreeSet::new();
    if has_node_ports(service) {
        held.extend(object::list(service, &["spec", "ports"]).iter().map(node_port));
    }
    if has_health_port(service) {
        held.insert(health_port(service));
    }
    held.remove(&0);
    held
}

/// The IPAddress of a Service.
pub(crate) fn ip_address(address: IpAddr, namespace: &str, service: &str) -> Value {
    json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address.to_string(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": families::name(address.is_ipv6()),
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}},
    })
}

fn claim_object(port: i64, namespace: &str, name: &str) -> Value {
    json!({
        "kind": "NodePortClaim",
        "apiVersion": "knarr.internal/v1",
        "metadata": {"name": port.to_string()},
        "service": {"namespace": namespace, "name": name},
    })
}

/// The ranges that addresses of a family come from: those of the flags and of ServiceCIDR objects that are not
/// being deleted.
fn ranges(scene: &Scene<'_>, v6: bool) -> Vec<IpNet> {
    let mut found: Vec<IpNet> = scene.registry.settings.service_ranges.clone();
    for stored in scene.registry.store.snapshot(CIDRS).iter(None, None) {
        let Ok(value) = stored.value() else { continue };
        if object::deleting(&value) {
            continue;
        }
        let listed = object::list(&value, &["spec", "cidrs"]).iter().filter_map(Value::as_str);
        found.extend(listed.filter_map(|c| c.parse::<IpNet>().ok()));
    }
    let mut unique: Vec<IpNet> = Vec::new();
    for range in found.into_iter().filter(|r| matches!(r, IpNet::V6(_)) == v6) {
        if !unique.contains(&range) {
            unique.push(range);
        }
    }
    unique
}

fn allocate_addresses(
    scene: &Scene<'_>,
    service: &mut Value,
    held: &BTreeSet<IpAddr>,
    errors: &mut ErrorList,
) -> Result<(), Status> {
    if !has_addresses(service) || is_headless(service) {
        return Ok(());
    }
    let families: Vec<String> = object::list(service, &["spec", "ipFamilies"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let required = spec(service, "ipFamilyPolicy") == "RequireDualStack";
    let families: Vec<String> = if spec(service, "ipFamilyPolicy") == "SingleStack" {
        families.into_iter().take(1).collect()
    } else {
        families
    };
    if required && families.len() < 2 {
        let text = "this cluster is not configured for dual-stack services";
        errors.push(Error::invalid("spec.ipFamilyPolicy", &"RequireDualStack".into(), text));
        return Ok(());
    }
    let asked: Vec<String> = object::list(service, &["spec", "clusterIPs"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let mut got: Vec<String> = Vec::new();
    for (at, family) in families.iter().enumerate() {
        let ranges = ranges(scene, family == "IPv6");
        if ranges.is_empty() {
            let text = "not configured on this cluster";
            errors.push(Error::invalid(format_args!("spec.ipFamilies[{at}]"), &family.as_str().into(), text));
            return Ok(());
        }
        match asked.get(at) {
            Some(text) => match claim(scene, text, &ranges, held) {
                Ok(()) => got.push(text.clone()),
                Err(cause) => {
                    let value = get(service, "clusterIPs").unwrap_or_default();
                    errors.push(Error::invalid(
                        "spec.clusterIPs",
                        &value,
                        format_args!("failed to allocate IP {text}: {cause}"),
                    ));
                    return Ok(());
                }
            },
            None => match pick(scene, &ranges) {
                Some(address) => got.push(address.to_string()),
                None => return Err(Status::internal("failed to allocate a serviceIP: range is full")),
            },
        }
    }
    set(service, "clusterIP", got.first().map(|a| a.as_str().into()));
    set(service, "clusterIPs", Some(json!(got)));
    Ok(())
}

/// May the Service have this very address?
fn claim(scene: &Scene<'_>, text: &str, ranges: &[IpNet], held: &BTreeSet<IpAddr>) -> Result<(), String> {
    // What is no address is for validation to say.
    let Ok(address) = text.parse::<IpAddr>() else { return Ok(()) };
    if held.contains(&address) {
        return Ok(());
    }
    if !ranges.iter().any(|r| usable(r, address)) {
        let list: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        return Err(format!(
            "provided IP is not in the valid range. The range of valid IPs is {}",
            list.join(",")
        ));
    }
    if taken(scene, address) {
        return Err("provided IP is already allocated".to_owned());
    }
    Ok(())
}

fn taken(scene: &Scene<'_>, address: IpAddr) -> bool {
    scene.registry.store.get(&Key::new(ADDRESSES, "", &address.to_string())).is_some()
}

/// An address that a Service may have: neither the network's own nor (IPv4) its broadcast address.
fn usable(range: &IpNet, address: IpAddr) -> bool {
    range.contains(&address)
        && address != range.network()
        && !(matches!(range, IpNet::V4(_)) && address == range.broadcast())
}

/// Addresses of a range by number.
fn nth(range: &IpNet, n: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(n as u32)).into(),
        IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(n)).into(),
    }
}

/// The first and the past-the-end number of usable addresses.
fn bounds(range: &IpNet) -> (u128, u128) {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(64);
    let size = 1u128 << bits;
    (1, if matches!(range, IpNet::V4(_)) { size.saturating_sub(1) } else { size })
}

/// A free address: random ones from the upper band first, whose lower neighbours are left for those who ask for a
/// fixed address (KEP-3070), then the first free one.
fn pick(scene: &Scene<'_>, ranges: &[IpNet]) -> Option<IpAddr> {
    let mut random = rand::rng();
    for range in ranges {
        let (first, end) = bounds(range);
        let band = ((end / 16).clamp(16, 256)).min(end.saturating_sub(1)).max(first);
        for _ in 0..TRIES {
            if band >= end {
                break;
            }
            let address = nth(range, random.random_range(band..end));
            if !taken(scene, address) {
                return Some(address);
            }
        }
        let limit = end.min(first + 65_536);
        if let Some(n) = (first..limit).rev().find(|n| !taken(scene, nth(range, *n))) {
            return Some(nth(range, n));
        }
    }
    None
}

fn allocate_ports(
    scene: &Scene<'_>,
    service: &mut Value,
    held: &BTreeSet<i64>,
    errors: &mut ErrorList,
) -> Result<(), Status> {
    let range = &scene.registry.settings.node_ports;
    let (low, high) = (i64::from(*range.start()), i64::from(*range.end()));
    let mut own: BTreeSet<i64> = BTreeSet::new();
    let taken = |port: i64| !held.contains(&port) && scene.registry.store.get(&port_key(port)).is_some();
    let free = |own: &BTreeSet<i64>| -> Result<i64, Status> {
        let mut random = rand::rng();
        let tried =
            (0..TRIES).map(|_| random.random_range(low..=high)).find(|p| !own.contains(p) && !taken(*p));
        let found = tried.or_else(|| (low..=high).find(|p| !own.contains(p) && !taken(*p)));
        found.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))
    };
    if has_node_ports(service) {
        let mut ports = object::list(service, &["spec", "ports"]).to_vec();
        // Ports of different protocols may share a number; what is not asked for follows its twin.
        let mut twins: BTreeMap<i64, (i64, String)> = BTreeMap::new();
        for (at, port) in ports.iter().enumerate() {
            let (asked, path) = (node_port(port), format!("spec.ports[{at}].nodePort"));
            if asked == 0 {
                continue;
            }
            if !(low..=high).contains(&asked) && !held.contains(&asked) {
                let text = format!(
                    "provided port is not in the valid range. The range of valid ports is {low}-{high}"
                );
                errors.push(Error::invalid(path, &asked.into(), text));
            } else if taken(asked) {
                errors.push(Error::invalid(path, &asked.into(), "provided port is already allocated"));
            }
            own.insert(asked);
            let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
            twins.insert(number, (asked, protocol(port).to_owned()));
        }
        for port in ports.iter_mut().filter(|p| node_port(p) == 0) {
            let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
            let twin = twins.get(&number).filter(|(_, p)| p != protocol(port)).map(|(n, _)| *n);
            let chosen = match twin {
                Some(chosen) => chosen,
                None => free(&own)?,
            };
            own.insert(chosen);
            twins.insert(number, (chosen, protocol(port).to_owned()));
            port["nodePort"] = chosen.into();
        }
        if !ports.is_empty() {
            set(service, "ports", Some(Value::Array(ports)));
        }
    }
    if has_health_port(service) {
        let asked = health_port(service);
        if asked == 0 {
            let chosen = free(&own)?;
            set(service, "healthCheckNodePort", Some(chosen.into()));
        } else if taken(asked) {
            let text = format!(
                "failed to allocate requested HealthCheck NodePort {asked}: provided port is already allocated"
            );
            return Err(Status::internal(text));
        }
    }
    Ok(())
}
