//! Addresses for Services of type `LoadBalancer`: of the nodes, or from a pool.
//!
//! Every node's proxy answers for the addresses in a Service's status, so that giving an address
//! is all there is to do. Services of a class of their own are left to others.

mod choose;

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::api::{
    core::v1::{LoadBalancerStatus, Node, Service},
    discovery::v1::EndpointSlice,
};
use knarr_component::{
    events::Recorder,
    informer::{Change, Informer},
    queue::Queue,
    runner::SyncResult,
    store::Key,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    context::Context,
    endpointslice::SERVICE,
    meta::{ignore_absent, is_deleting, namespace},
};

use choose::{Offer, Port, choose, ingress_of, is_ours, local_nodes, node_addresses, ports};

struct Controller {
    context: Context,
    services: Informer<Service>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    recorder: Recorder,
}

/// Runs the controller; with `--cloud-provider=external` somebody else does this.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    if context.args.cloud_provider.is_some() {
        return Ok(());
    }
    let controller = Arc::new(Controller {
        services: context.informers.get(),
        nodes: context.informers.get(),
        slices: context.informers.get(),
        recorder: context.recorder("service-controller"),
        context,
    });
    let queue = Queue::new();
    let (added, services) = (queue.clone(), controller.services.clone());
    controller.services.on_change(move |change| {
        let service = change.object();
        added.add(Key::of(&service.metadata));
        let frees = change.is_deletion() || !is_ours(service);
        if frees && ingress_of(service).next().is_some() {
            add_all(&services, &added);
        }
    });
    let (added, services) = (queue.clone(), controller.services.clone());
    controller.nodes.on_change(move |change| {
        let changed = match &change {
            Change::Updated { old, new } => node_addresses(old) != node_addresses(new),
            _ => true,
        };
        if changed {
            add_all(&services, &added);
        }
    });
    let (added, services) = (queue.clone(), controller.services.clone());
    controller.slices.on_change(move |change| slice_changed(&change, &services, &added));
    let (services, nodes, slices) =
        (controller.services.synced(), controller.nodes.synced(), controller.slices.synced());
    let synced = async {
        futures::join!(services, nodes, slices);
    };
    let context = controller.context.clone();
    // One worker: two Services must not be given the same port of an address.
    context
        .work("service-lb-controller", synced, queue, 1, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

fn add_all(services: &Informer<Service>, queue: &Queue<Key>) {
    let balanced = services.list().into_iter().filter(|service| is_ours(service));
    balanced.for_each(|service| queue.add(Key::of(&service.metadata)));
}

/// Where the ready pods of a Service are matters to one whose traffic stays on their nodes; where API servers are
/// matters to all.
fn slice_changed(change: &Change<'_, EndpointSlice>, services: &Informer<Service>, queue: &Queue<Key>) {
    let moved = match change {
        Change::Updated { old, new } => ready_nodes(old) != ready_nodes(new) || old.ports != new.ports,
        _ => true,
    };
    let meta = &change.object().metadata;
    let Some(service) = meta.labels.as_ref().and_then(|labels| labels.get(SERVICE)).filter(|_| moved) else {
        return;
    };
    let key = Key::new(namespace(meta), service);
    if key == api_service() {
        return add_all(services, queue);
    }
    if services.get(&key).is_some_and(|service| is_ours(&service) && is_local(&service)) {
        queue.add(key);
    }
}

/// The Service of the API servers, which run on nodes.
fn api_service() -> Key {
    Key::new("default", "kubernetes")
}

/// Nodes on which an endpoint is ready.
fn ready_nodes(slice: &EndpointSlice) -> HashSet<&str> {
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
    });
    ready.filter_map(|endpoint| endpoint.node_name.as_deref()).collect()
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(service) = self.services.get(&key).filter(|service| !is_deleting(&service.metadata)) else {
            return Ok(None);
        };
        let spec = service.spec.as_ref();
        if !is_ours(&service) {
            let balanced = spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
            if !balanced && ingress_of(&service).next().is_some() {
                self.write(&key, &service, Vec::new()).await?;
            }
            return Ok(None);
        }
        let offer = self.offer(&service);
        let taken = self.taken(&key);
        match choose(&service, &offer, &taken) {
            Ok(addresses) => self.write(&key, &service, addresses).await?,
            Err(text) => {
                let text = format!("Error syncing load balancer: failed to ensure load balancer: {text}");
                self.recorder.warning(&*service, "SyncLoadBalancerFailed", text);
                self.write(&key, &service, Vec::new()).await?;
            }
        }
        Ok(None)
    }

    /// Ports that other Services have.
    fn taken(&self, own: &Key) -> Vec<(String, Port)> {
        let mut taken = Vec::new();
        for other in self.services.list() {
            if Key::of(&other.metadata) == *own || !is_ours(&other) {
                continue;
            }
            for address in ingress_of(&other) {
                taken.extend(ports(&other).into_iter().map(|port| (address.to_string(), port)));
            }
        }
        taken
    }

    fn offer(&self, service: &Service) -> Offer {
        let pool = &self.context.args.load_balancer_addresses;
        if !pool.is_empty() {
            return Offer::Pool(pool.clone());
        }
        let mut nodes = self.nodes.list();
        if is_local(service) {
            let slices = self.slices_of(&Key::of(&service.metadata));
            let with_pods: HashSet<&str> = slices.iter().flat_map(|slice| ready_nodes(slice)).collect();
            nodes = local_nodes(nodes, &with_pods, service);
        }
        let addresses = nodes.iter().flat_map(|node| node_addresses(node)).collect();
        let mut reserved: HashSet<Port> = nodes
            .iter()
            .filter_map(|node| {
                let endpoints = node.status.as_ref()?.daemon_endpoints.as_ref()?;
                Some(("TCP".to_string(), endpoints.kubelet_endpoint.as_ref()?.port))
            })
            .collect();
        let slices = self.slices_of(&api_service());
        let ports = slices.iter().flat_map(|slice| slice.ports.iter().flatten());
        reserved.extend(ports.filter_map(|port| Some(("TCP".to_string(), port.port?))));
        Offer::Nodes { addresses, reserved }
    }

    fn slices_of(&self, service: &Key) -> Vec<Arc<EndpointSlice>> {
        let mut slices = self.slices.list_namespace(&service.namespace);
        slices.retain(|slice| {
            let labels = slice.metadata.labels.as_ref();
            labels.is_some_and(|labels| labels.get(SERVICE) == Some(&service.name))
        });
        slices
    }

    async fn write(&self, key: &Key, service: &Service, addresses: Vec<String>) -> anyhow::Result<()> {
        let known: Vec<&str> = ingress_of(service).collect();
        if known == addresses {
            return Ok(());
        }
        if !addresses.is_empty() {
            self.recorder.normal(service, "EnsuringLoadBalancer", "Ensuring load balancer");
        }
        let ingress: Vec<_> =
            addresses.iter().map(|address| json!({"ip": address, "ipMode": "VIP"})).collect();
        let status = json!({"loadBalancer": {"ingress": ingress}});
        let patch = Patch::Merge(json!({"metadata": {"uid": service.metadata.uid}, "status": status}));
        let api = self.context.api::<Service>(&key.namespace);
        ignore_absent(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
        if !addresses.is_empty() {
            self.recorder.normal(service, "EnsuredLoadBalancer", "Ensured load balancer");
        }
        Ok(())
    }
}

/// Whether only nodes that have its pods take traffic for a Service.
fn is_local(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.external_traffic_policy.as_deref() == Some("Local"))
}

/// The balancer's status of a Service.
fn status_of(service: &Service) -> Option<&LoadBalancerStatus> {
    service.status.as_ref()?.load_balancer.as_ref()
}
