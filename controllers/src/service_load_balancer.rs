//! Addresses for Services of type `LoadBalancer`: of the nodes, or from a pool.
//!
//! Every node's proxy answers for the addresses in a Service's status, so that giving an address
//! is all there is to do. Services of a class of their own are left to others.

mod choose;

use std::{collections::HashSet, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{LoadBalancerStatus, Node, Service},
    discovery::v1::EndpointSlice,
};
use knarr_component::{
    events::Recorder,
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::{
    context::Context,
    endpointslice::SERVICE,
    meta::{ignore_absent, is_deleting, name, namespace},
};

use choose::{Offer, Port, choose, ingress_of, is_ours, node_addresses, ports};

/// How often the nodes of a Service's own pods are looked up.
const LOCAL_PERIOD: Duration = Duration::from_secs(5);

struct Controller {
    context: Context,
    services: Informer<Service>,
    nodes: Informer<Node>,
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
    let synced = {
        let (services, nodes) = (controller.services.synced(), controller.nodes.synced());
        async {
            futures::join!(services, nodes);
        }
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
        let offer = self.offer(&service).await?;
        let taken = self.taken(&key);
        match choose(&service, &offer, &taken) {
            Ok(addresses) => self.write(&key, &service, addresses).await?,
            Err(text) => {
                let text = format!("Error syncing load balancer: failed to ensure load balancer: {text}");
                self.recorder.warning(&*service, "SyncLoadBalancerFailed", text);
                self.write(&key, &service, Vec::new()).await?;
            }
        }
        // Which nodes have its pods changes without the Service.
        Ok(is_local(&service).then_some(Requeue::After(LOCAL_PERIOD)))
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

    async fn offer(&self, service: &Service) -> anyhow::Result<Offer> {
        let pool = &self.context.args.load_balancer_addresses;
        if !pool.is_empty() {
            return Ok(Offer::Pool(pool.clone()));
        }
        let mut nodes = self.nodes.list();
        let local = service
            .spec
            .as_ref()
            .is_some_and(|spec| spec.external_traffic_policy.as_deref() == Some("Local"));
        if local {
            let with_pods = self.nodes_with_endpoints(service).await?;
            nodes.retain(|node| with_pods.contains(name(&node.metadata)));
        }
        let addresses = nodes.iter().flat_map(|node| node_addresses(node)).collect();
        let mut reserved: HashSet<Port> = nodes
            .iter()
            .filter_map(|node| {
                let endpoints = node.status.as_ref()?.daemon_endpoints.as_ref()?;
                Some(("TCP".to_string(), endpoints.kubelet_endpoint.as_ref()?.port))
            })
            .collect();
        reserved.extend(self.api_ports().await?);
        Ok(Offer::Nodes { addresses, reserved })
    }

    /// Nodes on which a pod of the Service is ready.
    async fn nodes_with_endpoints(&self, service: &Service) -> kube::Result<HashSet<String>> {
        let selected = ListParams::default().labels(&format!("{SERVICE}={}", name(&service.metadata)));
        let api = self.context.api::<EndpointSlice>(namespace(&service.metadata));
        let endpoints =
            api.list(&selected).await?.items.into_iter().flat_map(|slice| slice.endpoints).flatten();
        let ready = endpoints.filter(|endpoint| {
            endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
        });
        Ok(ready.filter_map(|endpoint| endpoint.node_name).collect())
    }

    /// Ports of API servers, which run on nodes.
    async fn api_ports(&self) -> kube::Result<HashSet<Port>> {
        let selected = ListParams::default().labels(&format!("{SERVICE}=kubernetes"));
        let slices = self.context.api::<EndpointSlice>("default").list(&selected).await?;
        let ports = slices.items.into_iter().flat_map(|slice| slice.ports.unwrap_or_default());
        Ok(ports.filter_map(|port| Some(("TCP".to_string(), port.port?))).collect())
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
