//! Endpoints: the older form of EndpointSlices, one object a Service.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::{
    api::{DeleteParams, PostParams},
    runtime::watcher::Config,
};

use crate::{
    context::Context,
    endpointslice::{
        Target, selects, services_of, targets,
        trigger::{Triggers, stamp},
    },
    meta::{Map, ignore_absent, is_deleting, is_namespace_terminating},
    pods::Pod,
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
    triggers: Triggers,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let controller = Arc::new(Controller {
        services: context.informers.get(),
        pods: context.informers.get(),
        endpoints: context.informers.get_selected(ours),
        triggers: Triggers::default(),
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
            self.triggers.forget(&key);
            if current.is_some() {
                ignore_absent(api.delete(&key.name, &DeleteParams::default()).await)?;
            }
            return Ok(None);
        };
        let spec = service.spec.clone().unwrap_or_default();
        if spec.selector.as_ref().is_none_or(|selector| selector.is_empty())
            || spec.type_.as_deref() == Some("ExternalName")
        {
            return Ok(None);
        }
        let pods = self.pods.list_namespace(&key.namespace);
        let selected =
            pods.iter().filter(|pod| selects(spec.selector.as_ref(), pod.metadata.labels.as_ref()));
        let trigger = self.triggers.note(&service, selected);
        let mut wanted = endpoints(&service, &pods);
        if current.as_ref().is_some_and(|current| same(current, &wanted)) {
            return Ok(None);
        }
        let found = match current {
            Some(current) => Some((*current).clone()),
            // Made before it had our label, or by hand: it becomes ours.
            None => api.get_opt(&key.name).await?,
        };
        if let Some(found) = &found {
            inherit(&mut wanted.metadata, &found.metadata);
        }
        stamp(&mut wanted.metadata.annotations, trigger);
        let result = match found {
            Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match result {
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            result => Ok(ignore_absent(result).map(|_| None)?),
        }
    }
}

/// Keeps of an object that is replaced what is others' business.
fn inherit(wanted: &mut ObjectMeta, found: &ObjectMeta) {
    let ours = wanted.annotations.take().unwrap_or_default();
    let mut annotations = found.annotations.clone().unwrap_or_default();
    annotations.remove(TRUNCATED);
    annotations.extend(ours);
    let labels = wanted.labels.take();
    let annotations = Some(annotations).filter(|all| !all.is_empty());
    *wanted = ObjectMeta { labels, annotations, ..found.clone() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_noted_stays() {
        let meta = |annotations: &[&str], version: &str| ObjectMeta {
            annotations: Some(annotations.iter().map(|key| ((*key).to_string(), String::new())).collect()),
            resource_version: (!version.is_empty()).then(|| version.to_string()),
            ..Default::default()
        };
        let check = |ours: &[&str], found: &[&str], expected: &[&str]| {
            let mut wanted = meta(ours, "");
            inherit(&mut wanted, &meta(found, "7"));
            let keys: Vec<String> = wanted.annotations.unwrap_or_default().into_keys().collect();
            assert_eq!(
                (keys, wanted.resource_version.as_deref()),
                (expected.iter().map(|key| (*key).to_string()).collect(), Some("7"))
            );
        };
        check(&[], &["example.com/a", TRUNCATED], &["example.com/a"]);
        check(&[TRUNCATED], &["example.com/a"], &[TRUNCATED, "example.com/a"]);
        check(&[], &[TRUNCATED], &[]);
    }
}
