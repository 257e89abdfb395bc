//! Endpoints: the older form of EndpointSlices, one object a Service.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::{
    api::{DeleteParams, PostParams},
    runtime::watcher::Config,
};

use crate::{
    context::Context,
    endpointslice::{Target, services_of, targets},
    meta::{Map, ignore_absent, is_deleting, is_namespace_terminating},
};

/// Addresses in one object at most; EndpointSlices have all.
const MAX: usize = 1000;
/// Annotation of an object that lacks some.
const TRUNCATED: &str = "endpoints.kubernetes.io/over-capacity";
/// Label of Services without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Label that says who keeps the object.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

struct Controller {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let controller = Arc::new(Controller {
        services: context.informers.get(),
        pods: context.informers.get(),
        endpoints: context.informers.get_selected(ours),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.services.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, services) = (queue.clone(), controller.services.clone());
    controller.pods.on_change(move |change| {
        services_of(&change, &services).into_iter().for_each(|service| added.add(service));
    });
    let added = queue.clone();
    controller.endpoints.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let synced = {
        let (services, pods) = (controller.services.synced(), controller.pods.synced());
        let endpoints = controller.endpoints.synced();
        async {
            futures::join!(services, pods, endpoints);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_endpoint_syncs;
    context
        .work("endpoints-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let api = self.context.api::<Endpoints>(&key.namespace);
        let current = self.endpoints.get(&key);
        let Some(service) = self.services.get(&key).filter(|service| !is_deleting(&service.metadata)) else {
            if current.is_some() {
                ignore_absent(api.delete(&key.name, &DeleteParams::default()).await)?;
            }
            return Ok(None);
        };
        let spec = service.spec.clone().unwrap_or_default();
        if spec.selector.is_none_or(|selector| selector.is_empty())
            || spec.type_.as_deref() == Some("ExternalName")
        {
            return Ok(None);
        }
        let wanted = endpoints(&service, &self.pods.list_namespace(&key.namespace));
        let result = match current {
            Some(current) if same(&current, &wanted) => return Ok(None),
            Some(current) => {
                let mut updated = wanted;
                updated.metadata.resource_version.clone_from(&current.metadata.resource_version);
                api.replace(&key.name, &PostParams::default(), &updated).await
            }
            None => match api.get_opt(&key.name).await? {
                // Made before it had our label, or by hand: it becomes ours.
                Some(found) => {
                    let mut updated = wanted;
                    updated.metadata.resource_version = found.metadata.resource_version;
                    api.replace(&key.name, &PostParams::default(), &updated).await
                }
                None => api.create(&PostParams::default(), &wanted).await,
            },
        };
        match result {
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            result => Ok(ignore_absent(result).map(|_| None)?),
        }
    }
}

fn same(a: &Endpoints, b: &Endpoints) -> bool {
    a.subsets.as_deref().unwrap_or_default() == b.subsets.as_deref().unwrap_or_default()
        && a.metadata.labels == b.metadata.labels
        && a.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(TRUNCATED))
            == b.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(TRUNCATED))
}

/// The Endpoints of a Service.
fn endpoints(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    let spec = service.spec.clone().unwrap_or_default();
    let is_v6 = spec.ip_families.as_ref().and_then(|all| all.first()).is_some_and(|family| family == "IPv6");
    let publish_unready = spec.publish_not_ready_addresses.unwrap_or(false);
    let mut subsets: BTreeMap<_, EndpointSubset> = BTreeMap::new();
    let all = targets(service, pods);
    let truncated = all.len() > MAX;
    for target in all.into_iter().filter(|target| publish_unready || !target.terminating).take(MAX) {
        let Some(address) = address(&target, is_v6) else { continue };
        let subset = subsets.entry(target.ports.clone()).or_default();
        let ready = publish_unready || target.serving;
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    let mut labels: Map = service.metadata.labels.clone().unwrap_or_default();
    if spec.cluster_ip.as_deref() == Some("None") {
        labels.insert(HEADLESS.to_string(), String::new());
    }
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    let subsets: Vec<EndpointSubset> = subsets
        .into_iter()
        .map(|(ports, mut subset)| {
            for list in [&mut subset.addresses, &mut subset.not_ready_addresses].into_iter().flatten() {
                list.sort_by(|a, b| a.ip.cmp(&b.ip));
            }
            let ports = ports.into_iter().map(|port| EndpointPort {
                name: Some(port.name).filter(|name| !name.is_empty()),
                port: port.port,
                protocol: Some(port.protocol),
                app_protocol: port.app_protocol,
            });
            subset.ports = Some(ports.collect::<Vec<_>>()).filter(|ports| !ports.is_empty());
            subset
        })
        .collect();
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: truncated.then(|| [(TRUNCATED.to_string(), "truncated".to_string())].into()),
            ..Default::default()
        },
        subsets: Some(subsets).filter(|subsets| !subsets.is_empty()),
    }
}

fn address(target: &Target, is_v6: bool) -> Option<EndpointAddress> {
    let of_family =
        |address: &&String| address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6() == is_v6);
    Some(EndpointAddress {
        ip: target.addresses.iter().find(of_family)?.clone(),
        hostname: target.hostname.clone(),
        node_name: target.node.clone(),
        target_ref: Some(target.pod.clone()),
    })
}
