//! Which pods stand behind a Service, at which addresses and ports.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{ObjectReference, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use knarr_component::{
    informer::{Change, Informer},
    store::Key,
};

use crate::{
    meta::{Map, contains_all, is_deleting, name, namespace},
    pods::{self, Container, Pod},
};

/// A port of an endpoint, as the pod has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub name: String,
    pub protocol: String,
    pub port: i32,
    pub app_protocol: Option<String>,
}

/// A pod behind a Service.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Addresses of all families.
    pub addresses: Vec<String>,
    pub ports: Vec<Port>,
    /// Takes new connections (as far as probes know), even if it is going away.
    pub serving: bool,
    pub terminating: bool,
    pub node: Option<String>,
    /// The pod's name within the Service's domain.
    pub hostname: Option<String>,
    pub pod: ObjectReference,
}

/// Whether a Service with this selector selects what has these labels.
pub(crate) fn selects(selector: Option<&Map>, labels: Option<&Map>) -> bool {
    selector.is_some_and(|selector| contains_all(selector, labels))
}

/// The pods that a Service selects and that have an address and are not finished.
pub(crate) fn targets(service: &Service, candidates: &[Arc<Pod>]) -> Vec<Target> {
    let spec = service.spec.clone().unwrap_or_default();
    let Some(selector) = spec.selector else { return Vec::new() };
    let ports = spec.ports.unwrap_or_default();
    candidates
        .iter()
        .filter(|pod| contains_all(&selector, pod.metadata.labels.as_ref()) && !pods::is_finished(pod))
        .filter_map(|pod| target(service, &ports, pod))
        .collect()
}

fn target(service: &Service, ports: &[ServicePort], pod: &Pod) -> Option<Target> {
    let addresses = addresses(pod);
    if addresses.is_empty() {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let resolved = ports.iter().filter_map(|port| {
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_string()),
            port: resolve(port, pod)?,
            app_protocol: port.app_protocol.clone(),
        })
    });
    let in_domain = spec.subdomain.as_deref() == service.metadata.name.as_deref();
    Some(Target {
        addresses,
        ports: resolved.collect(),
        serving: pods::is_ready(pod),
        terminating: is_deleting(&pod.metadata),
        node: spec.node_name.clone(),
        hostname: spec.hostname.clone().filter(|hostname| in_domain && !hostname.is_empty()),
        pod: ObjectReference {
            kind: Some("Pod".to_string()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        },
    })
}

fn addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all: Vec<String> = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    if all.is_empty() { status.pod_ip.iter().filter(|ip| !ip.is_empty()).cloned().collect() } else { all }
}

/// The number of a Service's port at a pod; named ones are looked up among its containers.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let wanted = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(wanted)) if wanted.is_empty() => return Some(port.port),
        Some(IntOrString::String(wanted)) => wanted,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let spec = pod.spec.as_ref()?;
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|have| {
            have.name.as_ref() == Some(wanted) && have.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .map(|have| have.container_port)
}

/// What a pod contributes to endpoints; changes of anything else do not matter.
fn contribution(pod: &Pod) -> impl PartialEq + use<'_> {
    let spec = pod.spec.as_ref();
    (
        (addresses(pod), pods::is_ready(pod), pods::is_finished(pod), is_deleting(&pod.metadata)),
        (pods::node_name(pod), spec.map(|spec| (&spec.hostname, &spec.subdomain)), &pod.metadata.labels),
    )
}

/// The Services that a change of a pod concerns.
pub(crate) fn services_of(change: &Change<'_, Pod>, services: &Informer<Service>) -> Vec<Key> {
    let pod = change.object();
    let old = match change {
        Change::Updated { old, new } if contribution(old) == contribution(new) => return Vec::new(),
        Change::Updated { old, .. } => Some(old),
        _ => None,
    };
    let selects = |service: &Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.filter(|selector| !selector.is_empty()).is_some_and(|selector| {
            contains_all(selector, pod.metadata.labels.as_ref())
                || old.is_some_and(|old| contains_all(selector, old.metadata.labels.as_ref()))
        })
    };
    let all = services.list_namespace(namespace(&pod.metadata));
    let concerned = all.iter().filter(|service| selects(service));
    concerned.map(|service| Key::new(namespace(&service.metadata), name(&service.metadata))).collect()
}
