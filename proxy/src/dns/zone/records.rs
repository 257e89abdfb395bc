//! What the zone keeps of each object: names and addresses, no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::endpoint_label;

/// Label of an EndpointSlice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port by which a service or an endpoint is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    /// Name in lower case; an unnamed port has no SRV record of its own.
    pub(super) name: String,
    /// Protocol in lower case.
    pub(super) protocol: String,
    /// Number.
    pub(super) number: u16,
}

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// By virtual addresses.
    Virtual(Vec<IpAddr>),
    /// By the addresses of its endpoints.
    Headless,
    /// By another name.
    External(Name),
}

/// An endpoint with a name: its addresses (of both families, when dual-stack) and ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) ips: BTreeSet<IpAddr>,
    pub(super) ports: BTreeSet<Port>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceNames {
    pub(super) kind: Kind,
    pub(super) ports: Vec<Port>,
    /// Endpoints by label: all of a headless service, those with a hostname of others.
    pub(super) endpoints: BTreeMap<String, Endpoint>,
}

impl ServiceNames {
    /// Reads an API object; `None` for an external name that is no name.
    pub(super) fn read(object: &core::Service) -> Option<ServiceNames> {
        let spec = object.spec.as_ref()?;
        let kind = if spec.type_.as_deref() == Some("ExternalName") {
            let mut name = Name::from_ascii(spec.external_name.as_deref()?).ok()?.to_lowercase();
            name.set_fqdn(true);
            Kind::External(name)
        } else {
            let texts = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
            let ips: BTreeSet<IpAddr> = texts.filter_map(|t| t.parse().ok()).collect();
            if ips.is_empty() { Kind::Headless } else { Kind::Virtual(ips.into_iter().collect()) }
        };
        let port = |p: &core::ServicePort| {
            Some(port(p.name.as_deref(), p.protocol.as_deref(), u16::try_from(p.port).ok()?))
        };
        let ports = spec.ports.iter().flatten().filter_map(port).collect();
        Some(ServiceNames { kind, ports, endpoints: BTreeMap::new() })
    }

    /// Takes the endpoints of all slices of the service.
    pub(super) fn set_endpoints<'a>(&mut self, slices: impl Iterator<Item = &'a Slice>) {
        self.endpoints.clear();
        let all = matches!(self.kind, Kind::Headless);
        for slice in slices {
            for (hostname, ips) in &slice.endpoints {
                let label = match hostname {
                    Some(hostname) => hostname.clone(),
                    None if !all => continue,
                    None => ips.first().map(endpoint_label).unwrap_or_default(),
                };
                let endpoint = self.endpoints.entry(label).or_default();
                endpoint.ips.extend(ips);
                endpoint.ports.extend(slice.ports.iter().cloned());
            }
        }
    }
}

/// A slice: hostname and addresses of each endpoint that takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    ports: Vec<Port>,
    endpoints: Vec<(Option<String>, Vec<IpAddr>)>,
}

impl Slice {
    /// Reads an API object. Endpoints that are not ready have no names; a service that publishes them all
    /// the same has slices that say they are ready.
    pub(super) fn read(object: &EndpointSlice) -> Slice {
        let ports = object.ports.iter().flatten().filter_map(|p| {
            Some(port(p.name.as_deref(), p.protocol.as_deref(), u16::try_from(p.port?).ok()?))
        });
        let endpoints = object
            .endpoints
            .iter()
            .flatten()
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
        let endpoints = endpoints.map(|e| {
            let ips = e.addresses.iter().filter_map(|a| a.parse().ok()).collect();
            (e.hostname.as_ref().map(|h| h.to_ascii_lowercase()), ips)
        });
        Slice { ports: ports.collect(), endpoints: endpoints.collect() }
    }
}

/// `namespace/name` of a slice, and of its service if it has one.
pub(super) fn slice_keys(object: &EndpointSlice) -> (String, Option<String>) {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let key = format!("{namespace}/{}", object.metadata.name.as_deref().unwrap_or_default());
    let service = object.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME));
    (key, service.map(|s| format!("{namespace}/{s}")))
}

fn port(name: Option<&str>, protocol: Option<&str>, number: u16) -> Port {
    let lower = |text: Option<&str>| text.unwrap_or_default().to_ascii_lowercase();
    Port { name: lower(name), protocol: lower(protocol.or(Some("tcp"))), number }
}
