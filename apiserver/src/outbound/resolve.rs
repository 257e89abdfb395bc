//! Where a Service is: its cluster address as the original has it, or one of its ready endpoints. No I/O.
use super::Target;
use crate::objects::Objects;
use knarr_api::Value;
use rand::seq::SliceRandom;
use std::net::SocketAddr;

/// Host and port to connect to, best first; never empty.
///
/// # Errors
/// Why there is none.
pub fn addresses(
    objects: &dyn Objects,
    to_endpoints: bool,
    own: Option<SocketAddr>,
    target: &Target,
) -> Result<Vec<(String, u16)>, String> {
    let (namespace, name, port) = match target {
        Target::Host { host, port } => return Ok(vec![(host.clone(), *port)]),
        Target::Service { namespace, name, port } => (namespace, name, *port),
    };
    if let (Some(own), "default", "kubernetes", 443) = (own, namespace.as_str(), name.as_str(), port) {
        return Ok(vec![(own.ip().to_string(), own.port())]);
    }
    let service = objects.get("", "services", namespace, name);
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
    match kind {
        "ClusterIP" | "NodePort" | "LoadBalancer" => {}
        "ExternalName" if !to_endpoints => {
            let external = service["spec"]["externalName"].as_str().unwrap_or_default();
            return Ok(vec![(external.to_owned(), port)]);
        }
        other => return Err(format!("unsupported service type {other:?}")),
    }
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = ports.iter().find(|p| p["port"].as_u64() == Some(u64::from(port)));
    let found = found.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    if to_endpoints {
        return endpoints(objects, namespace, name, found["name"].as_str().unwrap_or_default());
    }
    match service["spec"]["clusterIP"].as_str().unwrap_or_default() {
        "None" => Err("cannot route to service with ClusterIP \"None\"".to_owned()),
        address => Ok(vec![(address.to_owned(), port)]),
    }
}

fn endpoints(
    objects: &dyn Objects,
    namespace: &str,
    name: &str,
    port_name: &str,
) -> Result<Vec<(String, u16)>, String> {
    let mut found = ready_endpoints(objects, namespace, name, port_name);
    if found.is_empty() {
        return Err(format!("no endpoints available for service {name:?}"));
    }
    found.shuffle(&mut rand::rng());
    Ok(found.into_iter().map(|ready| (ready.address, ready.port)).collect())
}

/// An endpoint that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its address.
    pub address: String,
    /// The port there.
    pub port: u16,
    /// The node that it is on, where that is said.
    pub node: Option<String>,
}

/// The ready endpoints of a Service behind its port of a name.
pub fn ready_endpoints(objects: &dyn Objects, namespace: &str, service: &str, port_name: &str) -> Vec<Ready> {
    let mut found = Vec::new();
    for slice in objects.list("discovery.k8s.io", "endpointslices", Some(namespace)) {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] != service {
            continue;
        }
        let ports = slice["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let port = ports.iter().find(|p| p["name"].as_str().unwrap_or_default() == port_name);
        let Some(port) = port.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        let ready = slice["endpoints"].as_array().into_iter().flatten();
        let ready = ready.filter(|endpoint| endpoint["conditions"]["ready"] != false);
        found.extend(ready.filter_map(|endpoint| {
            let address = endpoint["addresses"][0].as_str()?.to_owned();
            Some(Ready { address, port, node: endpoint["nodeName"].as_str().map(str::to_owned) })
        }));
    }
    found
}

/// The Service's own port entry of a number.
pub fn service_port(service: &Value, port: u16) -> Option<&Value> {
    service["spec"]["ports"].as_array()?.iter().find(|p| p["port"].as_u64() == Some(u64::from(port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use serde_json::json;

    #[test]
    fn services_are_found() {
        let objects = Memory::default();
        let put = |name: &str, spec: Value| {
            let metadata = json!({"name": name, "namespace": "n"});
            objects.put("", "services", json!({"metadata": metadata, "spec": spec}));
        };
        put("plain", json!({"clusterIP": "10.0.0.1", "ports": [{"name": "web", "port": 443}]}));
        put("headless", json!({"clusterIP": "None", "ports": [{"name": "web", "port": 443}]}));
        put("outside", json!({"type": "ExternalName", "externalName": "example.com"}));
        objects.put(
            "discovery.k8s.io",
            "endpointslices",
            json!({"metadata": {"name": "x", "namespace": "n", "labels": {"kubernetes.io/service-name": "plain"}},
                "ports": [{"name": "web", "port": 8443}],
                "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true}},
                    {"addresses": ["10.1.0.2"], "conditions": {"ready": false}}]}),
        );
        let own: SocketAddr = "127.0.0.1:6443".parse().unwrap();
        let check = |namespace: &str, name: &str, port: u16, routed: bool, expected: &str| {
            let target = Target::Service { namespace: namespace.into(), name: name.into(), port };
            let found = addresses(&objects, routed, Some(own), &target);
            let found =
                found.map(|list| list.iter().map(|(h, p)| format!("{h}:{p}")).collect::<Vec<_>>().join(","));
            assert_eq!(found.unwrap_or_else(|text| text), expected, "{name} {routed}");
        };
        check("n", "plain", 443, false, "10.0.0.1:443");
        check("n", "plain", 443, true, "10.1.0.1:8443");
        check("n", "plain", 444, true, "no service port 444 found for service \"plain\"");
        check("n", "headless", 443, false, "cannot route to service with ClusterIP \"None\"");
        check("n", "headless", 443, true, "no endpoints available for service \"headless\"");
        check("n", "outside", 443, false, "example.com:443");
        check("n", "outside", 443, true, "unsupported service type \"ExternalName\"");
        check("n", "gone", 443, true, "service \"gone\" not found");
        check("default", "kubernetes", 443, false, "127.0.0.1:6443");
    }
}
