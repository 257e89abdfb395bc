//! The names of a cluster: what Services and EndpointSlices are called, kept up to date by events.

mod answer;
mod records;
#[cfg(test)]
mod tests;

pub use answer::Answer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use hickory_proto::rr::Name;
use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use records::{Kind, ServiceNames, Slice};

use super::labels::dashed;

/// The cluster's zone and the reverse names of its addresses.
#[derive(Debug)]
pub struct Zone {
    /// The zone's name in lower case, for example `cluster.local.`.
    domain: Name,
    /// Addresses of the DNS service itself, for the zone's name server record.
    servers: Vec<IpAddr>,
    /// Ranges of the cluster: a reverse name in them that is unknown does not exist anywhere.
    ranges: Vec<IpNet>,
    /// Services by `namespace/name`.
    services: HashMap<String, ServiceNames>,
    /// Slices by service, then by slice, both as `namespace/name`.
    slices: HashMap<String, BTreeMap<String, Slice>>,
    /// The service under which a slice is filed.
    filed: HashMap<String, String>,
    /// Number of services by namespace: a namespace is a name as long as it has one.
    namespaces: HashMap<String, usize>,
    /// Names by address.
    reverse: HashMap<IpAddr, BTreeSet<Name>>,
    /// Serial number of the zone, which counts changes.
    serial: u32,
}

impl Zone {
    /// A zone without services. `domain` is the cluster's domain, with or without the final dot.
    pub fn new(domain: &str, servers: Vec<IpAddr>, ranges: Vec<IpNet>) -> Result<Zone, String> {
        let invalid = |e| format!("invalid cluster domain {domain:?}: {e}");
        let mut domain = Name::from_ascii(domain).map_err(invalid)?.to_lowercase();
        domain.set_fqdn(true);
        Ok(Zone {
            domain,
            servers,
            ranges,
            services: HashMap::new(),
            slices: HashMap::new(),
            filed: HashMap::new(),
            namespaces: HashMap::new(),
            reverse: HashMap::new(),
            serial: 1,
        })
    }

    /// Takes a Service as it is now.
    pub fn apply_service(&mut self, object: &core::Service) {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let key = format!("{namespace}/{name}");
        self.delete_service(&key);
        let Some(names) = ServiceNames::read(object) else { return };
        *self.namespaces.entry(namespace).or_default() += 1;
        self.services.insert(key.clone(), names);
        self.update(&key);
    }

    /// Forgets a Service, by `namespace/name`.
    pub fn delete_service(&mut self, key: &str) {
        let Some(old) = self.services.remove(key) else { return };
        self.forget_reverse(key, &old);
        let (namespace, _) = key.split_once('/').unwrap_or((key, ""));
        if let Some(count) = self.namespaces.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(namespace);
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Takes an EndpointSlice as it is now.
    pub fn apply_slice(&mut self, object: &EndpointSlice) {
        let (key, owner) = records::slice_keys(object);
        if self.filed.get(&key) != owner.as_ref() {
            self.delete_slice(&key);
        }
        let Some(owner) = owner else { return };
        self.filed.insert(key.clone(), owner.clone());
        self.slices.entry(owner.clone()).or_default().insert(key, Slice::read(object));
        self.update(&owner);
    }

    /// Forgets an EndpointSlice, by `namespace/name`.
    pub fn delete_slice(&mut self, key: &str) {
        let Some(owner) = self.filed.remove(key) else { return };
        if let Some(of_service) = self.slices.get_mut(&owner) {
            of_service.remove(key);
            if of_service.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.update(&owner);
    }

    /// Number of services.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is no service.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Rebuilds a service's endpoints and reverse names from its slices.
    fn update(&mut self, key: &str) {
        let Some(mut names) = self.services.remove(key) else { return };
        self.forget_reverse(key, &names);
        names.set_endpoints(self.slices.get(key).into_iter().flat_map(BTreeMap::values));
        for (ip, name) in self.reverse_names(key, &names) {
            self.reverse.entry(ip).or_default().insert(name);
        }
        self.services.insert(key.to_owned(), names);
        self.serial = self.serial.wrapping_add(1);
    }

    fn forget_reverse(&mut self, key: &str, names: &ServiceNames) {
        for (ip, name) in self.reverse_names(key, names) {
            if let Some(of_ip) = self.reverse.get_mut(&ip) {
                of_ip.remove(&name);
                if of_ip.is_empty() {
                    self.reverse.remove(&ip);
                }
            }
        }
    }

    /// The names that a service gives to addresses: its own to its virtual ones, or its endpoints' to theirs.
    fn reverse_names(&self, key: &str, names: &ServiceNames) -> Vec<(IpAddr, Name)> {
        let Some(own) = self.service_name(key) else { return Vec::new() };
        match &names.kind {
            Kind::Virtual(ips) => ips.iter().map(|ip| (*ip, own.clone())).collect(),
            Kind::External(_) => Vec::new(),
            Kind::Headless => {
                let of_endpoint = |(label, endpoint): (&String, &records::Endpoint)| {
                    let name = own.prepend_label(label.as_str()).ok()?;
                    Some(endpoint.ips.iter().map(move |ip| (*ip, name.clone())).collect::<Vec<_>>())
                };
                names.endpoints.iter().filter_map(of_endpoint).flatten().collect()
            }
        }
    }

    /// `NAME.NAMESPACE.svc.DOMAIN` of a service's key.
    fn service_name(&self, key: &str) -> Option<Name> {
        let (namespace, name) = key.split_once('/')?;
        let labels = [name, namespace, "svc"].into_iter().rev();
        labels.into_iter().try_fold(self.domain.clone(), |all, label| all.prepend_label(label).ok())
    }
}

/// The label of an endpoint that has no hostname of its own.
fn endpoint_label(ip: &IpAddr) -> String {
    dashed(ip)
}
