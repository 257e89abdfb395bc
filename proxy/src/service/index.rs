//! Services and EndpointSlices by service, and the plans that follow from them. Events go in, whole wanted
//! plans come out; only the services that events touched are planned anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::claims::Claims;
use super::model::{self, Service};
use super::plan::{self, Plans};
use super::{Config, Rules};
use crate::nft::RuleSet;

/// The rules for all services at once.
pub fn desired<'a>(
    services: impl IntoIterator<Item = &'a core::Service>,
    slices: impl IntoIterator<Item = &'a Arc<EndpointSlice>>,
    config: &Config,
) -> RuleSet {
    let mut index = Index::new(config.clone());
    services.into_iter().for_each(|s| index.apply_service(s));
    slices.into_iter().for_each(|s| index.apply_slice(s));
    Rules::new(config.clone()).of(&index.plans())
}

/// The observed world of the service proxy.
#[derive(Debug)]
pub struct Index {
    config: Config,
    services: BTreeMap<String, Service>,
    /// Slices by service, then by slice name: both as `namespace/name`.
    slices: BTreeMap<String, BTreeMap<String, Arc<EndpointSlice>>>,
    /// The service under which a slice is filed, since the label that says so may change.
    filed: HashMap<String, String>,
    claims: Claims,
    /// Services whose plan is out of date.
    dirty: BTreeSet<String>,
    plans: Plans,
}

impl Index {
    /// An empty world.
    pub fn new(config: Config) -> Index {
        Index {
            config,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            filed: HashMap::new(),
            claims: Claims::default(),
            dirty: BTreeSet::new(),
            plans: Plans::new(),
        }
    }

    /// Takes a Service as it is now. One without virtual addresses is as good as gone.
    pub fn apply_service(&mut self, object: &core::Service) {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let key = format!("{namespace}/{}", object.metadata.name.as_deref().unwrap_or_default());
        self.replace_service(key, Service::read(object));
    }

    /// Forgets a Service, by `namespace/name`.
    pub fn delete_service(&mut self, key: &str) {
        self.replace_service(key.to_owned(), None);
    }

    fn replace_service(&mut self, key: String, new: Option<Service>) {
        if self.services.get(&key) == new.as_ref() {
            return;
        }
        if let Some(old) = self.services.remove(&key) {
            for frontend in old.frontends() {
                self.dirty.extend(self.claims.remove(&key, &frontend));
            }
        }
        if let Some(new) = new {
            for frontend in new.frontends() {
                self.dirty.extend(self.claims.add(&key, frontend));
            }
            self.services.insert(key.clone(), new);
        }
        self.dirty.insert(key);
    }

    /// Takes an EndpointSlice as it is now.
    pub fn apply_slice(&mut self, slice: &Arc<EndpointSlice>) {
        let name = slice_key(slice);
        let owner = model::owner(slice);
        if self.filed.get(&name) != owner.as_ref() {
            self.delete_slice(&name);
        }
        if let Some(owner) = owner {
            self.filed.insert(name.clone(), owner.clone());
            self.slices.entry(owner.clone()).or_default().insert(name, slice.clone());
            self.dirty.insert(owner);
        }
    }

    /// Forgets an EndpointSlice, by `namespace/name`.
    pub fn delete_slice(&mut self, name: &str) {
        let Some(owner) = self.filed.remove(name) else { return };
        if let Some(of_service) = self.slices.get_mut(&owner) {
            of_service.remove(name);
            if of_service.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.dirty.insert(owner);
    }

    /// Forgets everything, as when a watch starts over; [`Index::plans`] then says what is still wanted.
    pub fn clear(&mut self) {
        *self = Index::new(self.config.clone());
    }

    /// What is to become of all services' traffic now.
    pub fn plans(&mut self) -> Plans {
        for key in std::mem::take(&mut self.dirty) {
            match self.plan(&key) {
                None => drop(self.plans.remove(&*key)),
                // An equal plan stays the same one, which is passed over when states are compared.
                Some(plan) if self.plans.get(&*key).is_some_and(|old| **old == plan) => {}
                Some(plan) => drop(self.plans.insert(key.into(), Arc::new(plan))),
            }
        }
        self.plans.clone()
    }

    /// Endpoints on this node of each service that tells load balancers of them: by its health check port,
    /// the service's key and their number.
    pub fn health_checks(&self) -> BTreeMap<u16, (String, usize)> {
        let with_port = self.services.iter().filter_map(|(k, s)| Some((s.health_check_node_port?, k)));
        with_port.map(|(port, key)| (port, (key.clone(), self.local_endpoints(key)))).collect()
    }

    /// Number of services with virtual addresses.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is no service.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    fn endpoints(&self, key: &str) -> model::Endpoints {
        let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
        model::endpoints(slices.map(|s| &**s), &self.config.node_name)
    }

    fn local_endpoints(&self, key: &str) -> usize {
        let endpoints = self.endpoints(key);
        let ips: BTreeSet<_> = endpoints
            .values()
            .flatten()
            .filter(|e| e.local && (e.ready || e.serving))
            .map(|e| e.address.ip())
            .collect();
        ips.len()
    }

    fn plan(&self, key: &str) -> Option<plan::Plan> {
        let service = self.services.get(key)?;
        let owns = |frontend: &model::Frontend| self.claims.owns(key, frontend);
        Some(plan::plan(service, &self.endpoints(key), &self.config, &owns))
    }
}

/// `namespace/name` of a slice.
fn slice_key(slice: &EndpointSlice) -> String {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    format!("{namespace}/{}", slice.metadata.name.as_deref().unwrap_or_default())
}
