//! Services: addresses, node ports, and what changes with the type.
//!
//! An address is an `IPAddress` object and a node port is a claim; both are written in the commit group of the
//! Service, guarded by their absence, so that two Services can never hold the same.
mod allocate;
mod families;

use super::{Companions, Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;
use knarr_api::status::Status;

/// Rules of `services`.
pub struct Service;

impl Strategy for Service {
    fn prepare_create(&self, scene: &Scene<'_>, value: &mut Value) {
        object::remove(value, "status");
        value["status"] = serde_json::json!({"loadBalancer": {}});
        sync_addresses(value, None);
        families::complete(value, &scene.registry.settings.service_ranges);
    }

    fn prepare_update(&self, scene: &Scene<'_>, value: &mut Value, old: &Value) {
        take_over(value, old);
        drop_for_type(value, old);
        sync_addresses(value, Some(old));
        families::trim(value, old);
        families::complete(value, &scene.registry.settings.service_ranges);
    }

    fn companions(
        &self,
        scene: &Scene<'_>,
        object: Option<&mut Value>,
        old: Option<&Value>,
    ) -> Result<Companions, Status> {
        allocate::companions(scene, object, old)
    }
}

/// Member of `spec` as text.
fn spec<'a>(service: &'a Value, name: &str) -> &'a str {
    object::text(service, &["spec", name])
}

/// Has the type addresses of the cluster?
fn has_addresses(service: &Value) -> bool {
    spec(service, "type") != "ExternalName"
}

/// Is the Service without a virtual address?
fn is_headless(service: &Value) -> bool {
    has_addresses(service) && spec(service, "clusterIP") == "None"
}

/// Does the Service hold node ports?
fn has_node_ports(service: &Value) -> bool {
    match spec(service, "type") {
        "NodePort" => true,
        "LoadBalancer" => {
            object::at(service, &["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool)
                != Some(false)
        }
        _ => false,
    }
}

/// Does the Service hold a port for health checks?
fn has_health_port(service: &Value) -> bool {
    spec(service, "type") == "LoadBalancer" && spec(service, "externalTrafficPolicy") == "Local"
}

fn set(service: &mut Value, name: &str, value: Option<Value>) {
    let members = object::child_mut(service, "spec");
    match value.filter(|v| !v.is_null()) {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
}

fn get(service: &Value, name: &str) -> Option<Value> {
    object::at(service, &["spec", name]).filter(|v| !v.is_null()).cloned()
}

/// Allocated values that the client left out come from the stored Service.
fn take_over(value: &mut Value, old: &Value) {
    if has_addresses(value) && has_addresses(old) {
        if spec(value, "clusterIP").is_empty() {
            set(value, "clusterIP", get(old, "clusterIP"));
        }
        let unset = object::list(value, &["spec", "clusterIPs"]).is_empty();
        if unset && spec(value, "clusterIP") == spec(old, "clusterIP") {
            set(value, "clusterIPs", get(old, "clusterIPs"));
        }
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if get(value, name).is_none_or(|v| v.as_array().is_some_and(Vec::is_empty)) {
                set(value, name, get(old, name));
            }
        }
    }
    if has_node_ports(value) && has_node_ports(old) {
        let stored = object::list(old, &["spec", "ports"]).to_vec();
        if let Some(Value::Array(ports)) = value.pointer_mut("/spec/ports") {
            for port in ports.iter_mut().filter(|p| node_port(p) == 0) {
                let same = |s: &&Value| s["port"] == port["port"] && protocol(s) == protocol(port);
                if let Some(number) = stored.iter().find(same).map(node_port).filter(|n| *n != 0) {
                    port["nodePort"] = number.into();
                }
            }
        }
    }
    if has_health_port(value) && has_health_port(old) && health_port(value) == 0 {
        set(value, "healthCheckNodePort", get(old, "healthCheckNodePort"));
    }
}

fn node_port(port: &Value) -> i64 {
    port.get("nodePort").and_then(Value::as_i64).unwrap_or(0)
}

fn protocol(port: &Value) -> &str {
    port.get("protocol").and_then(Value::as_str).unwrap_or("TCP")
}

fn health_port(service: &Value) -> i64 {
    object::at(service, &["spec", "healthCheckNodePort"]).and_then(Value::as_i64).unwrap_or(0)
}

/// What the former type needed and the new one has no use for goes, if the client left it as it was.
fn drop_for_type(value: &mut Value, old: &Value) {
    let unchanged = |value: &Value, name: &str| get(value, name) == get(old, name);
    if has_addresses(old) && !has_addresses(value) {
        for (name, more) in
            [("clusterIP", Some("clusterIPs")), ("ipFamilies", None), ("ipFamilyPolicy", None)]
        {
            if unchanged(value, name) {
                set(value, name, None);
                more.into_iter().for_each(|more| set(value, more, None));
            }
        }
    }
    if has_node_ports(old)
        && !has_node_ports(value)
        && node_ports(value).iter().all(|port| *port == 0 || node_ports(old).contains(port))
        && let Some(Value::Array(ports)) = value.pointer_mut("/spec/ports")
    {
        ports.iter_mut().filter_map(Value::as_object_mut).for_each(|p| drop(p.remove("nodePort")));
    }
    if has_health_port(old) && !has_health_port(value) && unchanged(value, "healthCheckNodePort") {
        set(value, "healthCheckNodePort", None);
    }
    let was_balanced = spec(old, "type") == "LoadBalancer" && spec(value, "type") != "LoadBalancer";
    for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if was_balanced && unchanged(value, name) {
            set(value, name, None);
        }
    }
    let external = |s: &Value| matches!(spec(s, "type"), "NodePort" | "LoadBalancer") || exposes(s);
    if external(old) && !external(value) && unchanged(value, "externalTrafficPolicy") {
        set(value, "externalTrafficPolicy", None);
    }
}

fn exposes(service: &Value) -> bool {
    spec(service, "type") == "ClusterIP" && !object::list(service, &["spec", "externalIPs"]).is_empty()
}

fn node_ports(service: &Value) -> Vec<i64> {
    object::list(service, &["spec", "ports"]).iter().map(node_port).collect()
}

/// `clusterIP` and the first of `clusterIPs` are one: the one that the client changed wins.
fn sync_addresses(value: &mut Value, old: Option<&Value>) {
    if !has_addresses(value) {
        return;
    }
    let single = spec(value, "clusterIP").to_owned();
    let list = object::list(value, &["spec", "clusterIPs"]).to_vec();
    match old {
        None if !single.is_empty() && list.is_empty() => {
            set(value, "clusterIPs", Some(serde_json::json!([single])));
        }
        Some(old) => {
            let (was, were) = (spec(old, "clusterIP"), object::list(old, &["spec", "clusterIPs"]));
            let list_as_it_was = list == were;
            if single.is_empty() && !was.is_empty() && list_as_it_was {
                set(value, "clusterIPs", None);
            } else if single != was && list_as_it_was {
                let new = (!single.is_empty()).then(|| serde_json::json!([single]));
                set(value, "clusterIPs", new);
            }
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(mut new: Value, old: Value, expected: Value) {
        let old = json!({"spec": old});
        new = json!({"spec": new});
        take_over(&mut new, &old);
        drop_for_type(&mut new, &old);
        sync_addresses(&mut new, Some(&old));
        assert_eq!(new["spec"], expected);
    }

    #[test]
    fn transitions() {
        let node = json!({"type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]});
        // An apply without the allocated values keeps them.
        check(
            json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}),
            node.clone(),
            node.clone(),
        );
        // The type falls back: node ports go.
        check(
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}),
            node,
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
                "ports": [{"port": 80, "protocol": "TCP"}]}),
        );
        // Also where a port goes at the same time; another node port is the client's own wish.
        let two = json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080},
            {"port": 81, "protocol": "TCP", "nodePort": 30081}]});
        check(
            json!({"type": "ClusterIP", "ports": [{"port": 81, "protocol": "TCP", "nodePort": 30081}]}),
            two.clone(),
            json!({"type": "ClusterIP", "ports": [{"port": 81, "protocol": "TCP"}]}),
        );
        let other =
            json!({"type": "ClusterIP", "ports": [{"port": 81, "protocol": "TCP", "nodePort": 30085}]});
        check(other.clone(), two, other);
        // To ExternalName: families go, whether the client has cleared the address or not.
        check(
            json!({"type": "ExternalName", "externalName": "a.b", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}),
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack"}),
            json!({"type": "ExternalName", "externalName": "a.b"}),
        );
        // To ExternalName: the address goes.
        check(
            json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}),
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}),
            json!({"type": "ExternalName", "externalName": "a.b"}),
        );
    }
}
