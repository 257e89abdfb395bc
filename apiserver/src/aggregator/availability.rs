//! Can another server's group version be reached? What the objects tell is decided here without I/O; the last word has a
//! request for its discovery document.
use super::state::Remote;
use crate::objects::Objects;
use crate::outbound::service_port;
use knarr_api::Value;

/// The condition `Available`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It can be reached.
    pub available: bool,
    /// `ServiceNotFound`, …
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Verdict {
    fn not(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }

    /// Nothing is wrong.
    pub fn passed() -> Self {
        Self { available: true, reason: "Passed", message: "all checks passed".to_owned() }
    }

    /// This server answers itself.
    pub fn local() -> Self {
        let message = "Local APIServices are always available".to_owned();
        Self { available: true, reason: "Local", message }
    }

    /// It did not answer, or not as it should.
    pub fn no_discovery(message: String) -> Self {
        Self::not("FailedDiscoveryCheck", message)
    }

    /// Its certificate's authority cannot be read.
    pub fn unusable(message: String) -> Self {
        Self::not("ServiceAccessError", message)
    }
}

/// What speaks against a server before it is asked.
pub fn of_objects(objects: &dyn Objects, remote: &Remote) -> Option<Verdict> {
    let (namespace, name, port) = &remote.service;
    let Some(service) = objects.get("", "services", namespace, name) else {
        let text = format!("service/{name} in {namespace:?} is not present");
        return Some(Verdict::not("ServiceNotFound", text));
    };
    // Other types are taken to be reachable by other means.
    if service["spec"]["type"].as_str().unwrap_or("ClusterIP") != "ClusterIP" {
        return None;
    }
    let Some(found) = service_port(&service, *port) else {
        let text = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some(Verdict::not("ServicePortError", text));
    };
    let port_name = found["name"].as_str().unwrap_or_default();
    let of_service =
        |slice: &Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name.as_str();
    let slices = objects.list("discovery.k8s.io", "endpointslices", Some(namespace));
    if !slices.iter().any(|slice| of_service(slice)) {
        let text = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(Verdict::not("EndpointsNotFound", text));
    }
    if crate::outbound::ready_endpoints(objects, namespace, name, port_name).is_empty() {
        let text = format!(
            "endpoints for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Some(Verdict::not("MissingEndpoints", text));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use serde_json::json;

    #[test]
    fn what_objects_tell() {
        let objects = Memory::default();
        let remote = |port: u16| {
            let spec = json!({"group": "g", "version": "v1", "service": {"namespace": "n", "name": "s", "port": port}});
            Remote::of(&json!({"metadata": {"name": "v1.g"}, "spec": spec})).unwrap()
        };
        let check = |port: u16, expected: Option<&str>| {
            let found = of_objects(&objects, &remote(port));
            assert_eq!(found.as_ref().map(|verdict| verdict.reason), expected, "{found:?}");
        };
        check(443, Some("ServiceNotFound"));
        let service =
            json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"ports": [{"port": 443}]}});
        objects.put("", "services", service);
        check(444, Some("ServicePortError"));
        check(443, Some("EndpointsNotFound"));
        let mut slice = json!({"metadata": {"name": "s-1", "namespace": "n",
            "labels": {"kubernetes.io/service-name": "s"}}, "ports": [{"port": 8443}], "endpoints": []});
        objects.put("discovery.k8s.io", "endpointslices", slice.clone());
        check(443, Some("MissingEndpoints"));
        slice["endpoints"] = json!([{"addresses": ["10.0.0.1"]}]);
        objects.put("discovery.k8s.io", "endpointslices", slice);
        check(443, None);
    }
}
