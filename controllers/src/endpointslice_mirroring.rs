//! Mirrors Endpoints that users keep by hand, for Services without a selector, as EndpointSlices:
//! what reads slices must find these addresses too.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointSlice},
};
use knarr_component::{
    informer::{Change, Informer},
    queue::Queue,
    runner::SyncResult,
    store::Key,
};
use kube::runtime::watcher::Config;

use crate::{
    context::Context,
    endpointslice::{
        MANAGED_BY, Port, SERVICE, carry_out,
        reconcile::{Changes, Frame, reconcile_family, reuse},
        trigger::LAST_CHANGE,
    },
    expectations::Expectations,
    meta::{annotation, controller_reference, is_deleting, label, name, namespace},
};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Label of Endpoints that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation with which `kubectl apply` remembers what it sent.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotation of Endpoints that once served for leader election.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses that are mirrored of one subset.
const MAX_OF_SUBSET: usize = 1000;

struct Controller {
    context: Context,
    endpoints: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    expectations: Expectations,
}

/// Whether these Endpoints are mirrored.
fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let selector = service.and_then(|service| service.spec.as_ref()?.selector.as_ref());
    service.is_some_and(|service| !is_deleting(&service.metadata))
        && selector.is_none_or(BTreeMap::is_empty)
        && label(&endpoints.metadata, SKIP) != Some("true")
        && annotation(&endpoints.metadata, LEADER).is_none()
        && !is_deleting(&endpoints.metadata)
}

/// Wanted endpoints by their ports.
fn mirror(endpoints: &Endpoints, is_v6: bool) -> BTreeMap<Vec<Port>, Vec<Endpoint>> {
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let of_family = |(address, _): &(&EndpointAddress, bool)| {
            address.ip.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6() == is_v6)
        };
        let all: Vec<Endpoint> = ready
            .chain(unready)
            .filter(of_family)
            .take(MAX_OF_SUBSET)
            .map(|(address, ready)| endpoint(address, ready))
            .collect();
        if !all.is_empty() {
            groups.entry(ports(subset)).or_default().extend(all);
        }
    }
    groups
}

fn ports(subset: &EndpointSubset) -> Vec<Port> {
    let all = subset.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_string()),
        port: port.port,
        app_protocol: port.app_protocol.clone(),
    });
    all.collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Default::default()
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    // What the Endpoints controller keeps has a selector and slices of its own.
    let by_hand = Config::default().labels("endpoints.kubernetes.io/managed-by!=endpoint-controller");
    let controller = Arc::new(Controller {
        endpoints: context.informers.get_selected(by_hand),
        services: context.informers.get(),
        slices: context.informers.get_selected(ours),
        expectations: Expectations::default(),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.endpoints.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let added = queue.clone();
    controller.services.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, this) = (queue.clone(), Arc::downgrade(&controller));
    controller.slices.on_change(move |change| {
        let slice = change.object();
        let Some(service) = label(&slice.metadata, SERVICE) else { return };
        let key = Key::new(namespace(&slice.metadata), service);
        if let (Change::Added(_), Some(this)) = (&change, this.upgrade()) {
            this.expectations.created(&key);
        }
        added.add(key);
    });
    let synced = {
        let (endpoints, services) = (controller.endpoints.synced(), controller.services.synced());
        let slices = controller.slices.synced();
        async {
            futures::join!(endpoints, services, slices);
        }
    };
    let context = controller.context.clone();
    context
        .work("endpointslice-mirroring-controller", synced, queue, 5, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let all = self.slices.list_namespace(&key.namespace).into_iter();
        let existing: Vec<Arc<EndpointSlice>> = all
            .filter(|slice| {
                label(&slice.metadata, SERVICE) == Some(&key.name) && !is_deleting(&slice.metadata)
            })
            .collect();
        let endpoints = self.endpoints.get(&key);
        let service = self.services.get(&key);
        let mut changes = Changes::default();
        match endpoints.filter(|endpoints| is_mirrored(endpoints, service.as_deref())) {
            None => changes.delete.extend(existing.iter().map(|slice| name(&slice.metadata).to_string())),
            Some(endpoints) => {
                if !self.expectations.satisfied(&key) {
                    return Ok(None);
                }
                let max = self.context.args.max_endpoints_per_slice;
                let frame = frame(&endpoints);
                for family in ["IPv4", "IPv6"] {
                    let have: Vec<&EndpointSlice> = existing
                        .iter()
                        .map(|slice| &**slice)
                        .filter(|slice| slice.address_type == family)
                        .collect();
                    reconcile_family(
                        &frame,
                        family,
                        mirror(&endpoints, family == "IPv6"),
                        &have,
                        max,
                        &mut changes,
                    );
                }
                reuse(&existing, &mut changes);
            }
        }
        carry_out(&self.context, &self.expectations, &key, changes).await.map(|()| None)
    }
}

fn frame(endpoints: &Endpoints) -> Frame {
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.to_string(), name(&endpoints.metadata).to_string());
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key != LAST_CHANGE && key != LAST_APPLIED);
    Frame {
        name: name(&endpoints.metadata).to_string(),
        namespace: namespace(&endpoints.metadata).to_string(),
        labels,
        annotations: Some(annotations),
        owner: controller_reference(endpoints),
        placeholder: false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceSpec;

    use super::*;
    use crate::meta::Map;

    #[test]
    fn only_services_without_selector_are_mirrored() {
        let service = |selector: bool| Service {
            spec: Some(ServiceSpec {
                selector: selector.then(|| [("app".to_string(), "web".to_string())].into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut endpoints = Endpoints::default();
        assert!(is_mirrored(&endpoints, Some(&service(false))));
        assert!(!is_mirrored(&endpoints, Some(&service(true))));
        assert!(!is_mirrored(&endpoints, None));
        endpoints.metadata.labels = Some([(SKIP.to_string(), "true".to_string())].into());
        assert!(!is_mirrored(&endpoints, Some(&service(false))));
    }

    #[test]
    fn annotations_are_mirrored() {
        let annotations =
            |keys: &[&str]| -> Map { keys.iter().map(|key| ((*key).to_string(), "x".to_string())).collect() };
        let mut endpoints = Endpoints::default();
        endpoints.metadata.annotations = Some(annotations(&["example.com/a", LAST_APPLIED, LAST_CHANGE]));
        let wanted = || [(Vec::new(), vec![Endpoint::default()])].into();
        let mut first = Changes::default();
        reconcile_family(&frame(&endpoints), "IPv4", wanted(), &[], 9, &mut first);
        let made = first.create.remove(0);
        assert_eq!(made.metadata.annotations, Some(annotations(&["example.com/a"])));
        let mut again = Changes::default();
        reconcile_family(&frame(&endpoints), "IPv4", wanted(), &[&made], 9, &mut again);
        assert_eq!(again.update, []);
        endpoints.metadata.annotations = None;
        reconcile_family(&frame(&endpoints), "IPv4", wanted(), &[&made], 9, &mut again);
        assert_eq!(again.update[0].metadata.annotations, Some(Map::new()));
    }

    #[test]
    fn families_are_separated() {
        let address = |ip: &str| EndpointAddress { ip: ip.into(), ..Default::default() };
        let endpoints = Endpoints {
            subsets: Some(vec![EndpointSubset {
                addresses: Some(vec![address("192.0.2.1"), address("2001:db8::1")]),
                not_ready_addresses: Some(vec![address("192.0.2.2")]),
                ports: None,
            }]),
            ..Default::default()
        };
        let seen = |is_v6| {
            let all: Vec<(String, bool)> = mirror(&endpoints, is_v6)
                .into_values()
                .flatten()
                .map(|endpoint| (endpoint.addresses[0].clone(), endpoint.conditions.unwrap().ready.unwrap()))
                .collect();
            all
        };
        assert_eq!(seen(false), [("192.0.2.1".to_string(), true), ("192.0.2.2".to_string(), false)]);
        assert_eq!(seen(true), [("2001:db8::1".to_string(), true)]);
    }
}
