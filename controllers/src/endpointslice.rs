//! EndpointSlices: the addresses behind each Service that selects pods.

pub(crate) mod reconcile;
mod select;
mod topology;
pub(crate) mod trigger;

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use knarr_component::{
    events::{Recorder, reference},
    informer::{Change, Informer},
    queue::Queue,
    runner::SyncResult,
    store::Key,
};
use kube::{
    api::{DeleteParams, PostParams},
    runtime::watcher::Config,
};

use crate::{
    context::Context,
    control::message,
    expectations::Expectations,
    meta::{ignore_absent, is_code, is_deleting, is_namespace_terminating, label, name, namespace},
    metrics,
    pods::Pod,
};

pub(crate) use select::{Port, Target, selects, services_of, targets};
use trigger::Triggers;

/// Label that names the Service of a slice.
pub(crate) const SERVICE: &str = "kubernetes.io/service-name";
/// Label that says who keeps a slice, and our value of it, which is the original's.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Label of a node's (and so an endpoint's) zone.
const ZONE: &str = "topology.kubernetes.io/zone";

struct Controller {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    recorder: Recorder,
    expectations: Expectations,
    triggers: Triggers,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let controller = Arc::new(Controller {
        services: context.informers.get(),
        pods: context.informers.get(),
        nodes: context.informers.get(),
        slices: context.informers.get_selected(ours),
        recorder: context.recorder("endpoint-slice-controller"),
        expectations: Expectations::default(),
        triggers: Triggers::default(),
        context,
    });
    let queue = Queue::new();
    watch(&controller, &queue);
    count(&controller.slices);
    let synced = {
        let (services, pods) = (controller.services.synced(), controller.pods.synced());
        let (nodes, slices) = (controller.nodes.synced(), controller.slices.synced());
        async {
            futures::join!(services, pods, nodes, slices);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_service_endpoint_syncs;
    context
        .work("endpointslice-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move {
                let result = controller.sync(key).await;
                metrics::SLICE_SYNCS.one(&[if result.is_ok() { "success" } else { "error" }]);
                result
            }
        })
        .await
}

/// The slices and their endpoints, counted when somebody asks.
fn count(slices: &Informer<EndpointSlice>) {
    let all = slices.clone();
    metrics::SLICES.by(move || vec![(Vec::new(), all.list().len())]);
    let all = slices.clone();
    let endpoints =
        move || all.list().iter().flat_map(|slice| slice.endpoints.as_deref()).map(<[_]>::len).sum();
    metrics::ENDPOINTS.by(move || vec![(Vec::new(), endpoints())]);
}

/// What is about to be done.
fn tell(service: &Service, changes: &reconcile::Changes) {
    let counts = [
        ("create", changes.create.len()),
        ("update", changes.update.len()),
        ("delete", changes.delete.len()),
    ];
    for (operation, count) in counts {
        metrics::SLICE_CHANGES.many(&[operation], u64::try_from(count).unwrap_or_default());
    }
    let topology = if topology::is_auto(service) { "Auto" } else { "Disabled" };
    let distribution = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
    let changed: usize = counts.iter().map(|(_, count)| count).sum();
    // No list of slices comes near the limit.
    metrics::SLICES_PER_SYNC.saw(&[topology, distribution.unwrap_or_default()], changed as f64);
}

fn watch(controller: &Arc<Controller>, queue: &Queue<Key>) {
    let added = queue.clone();
    controller.services.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, services) = (queue.clone(), controller.services.clone());
    controller.pods.on_change(move |change| {
        services_of(&change, &services).into_iter().for_each(|service| added.add(service));
    });
    let (added, this) = (queue.clone(), Arc::downgrade(controller));
    controller.slices.on_change(move |change| {
        let slice = change.object();
        let Some(service) = label(&slice.metadata, SERVICE) else { return };
        let key = Key::new(namespace(&slice.metadata), service);
        if let (Change::Added(_), Some(this)) = (&change, this.upgrade()) {
            this.expectations.created(&key);
        }
        added.add(key);
    });
    let (added, services) = (queue.clone(), controller.services.clone());
    controller.nodes.on_change(move |change| {
        let (zone_stays, same) = match &change {
            Change::Updated { old, new } => {
                (label(&old.metadata, ZONE) == label(&new.metadata, ZONE), topology::same(old, new))
            }
            _ => (false, false),
        };
        if !(zone_stays && same) {
            let all = services.list();
            let concerned = all.iter().filter(|service| !zone_stays || topology::is_auto(service));
            concerned.for_each(|service| added.add(Key::of(&service.metadata)));
        }
    });
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(service) = self.services.get(&key).filter(|service| !is_deleting(&service.metadata)) else {
            // The garbage collector takes the slices of a Service that is gone.
            self.expectations.forget(&key);
            self.triggers.forget(&key);
            return Ok(None);
        };
        let spec = service.spec.clone().unwrap_or_default();
        if spec.selector.as_ref().is_none_or(|selector| selector.is_empty())
            || spec.type_.as_deref() == Some("ExternalName")
            || !self.expectations.satisfied(&key)
        {
            return Ok(None);
        }
        let existing: Vec<Arc<EndpointSlice>> = self
            .slices
            .list_namespace(&key.namespace)
            .into_iter()
            .filter(|slice| {
                label(&slice.metadata, SERVICE) == Some(&key.name) && !is_deleting(&slice.metadata)
            })
            .collect();
        let pods = self.pods.list_namespace(&key.namespace);
        let zone = |node: &str| {
            let node = self.nodes.get(&Key::new("", node))?;
            label(&node.metadata, ZONE).map(String::from)
        };
        let shares = topology::is_auto(&service).then(|| topology::shares(&self.nodes.list()));
        let selected =
            pods.iter().filter(|pod| selects(spec.selector.as_ref(), pod.metadata.labels.as_ref()));
        let trigger = self.triggers.note(&service, selected);
        let mut changes = reconcile::reconcile(
            &service,
            &pods,
            &reconcile::Zones { of_node: &zone, shares: shares.as_ref() },
            &existing,
            self.context.args.max_endpoints_per_slice,
        );
        for slice in changes.create.iter_mut().chain(&mut changes.update) {
            trigger::stamp(&mut slice.metadata.annotations, trigger);
        }
        for (kind, reason, message) in &changes.notes {
            self.recorder.event(reference(&*service), *kind, reason, message.as_str());
        }
        tell(&service, &changes);
        let result = carry_out(&self.context, &self.expectations, &key, changes).await;
        if let Err(error) = &result {
            let text = error.downcast_ref().map_or_else(|| error.to_string(), message);
            let text = format!("Error updating Endpoint Slices for Service {key}: {text}");
            if !error.downcast_ref().is_some_and(|error| is_code(error, 409)) {
                self.recorder.warning(&*service, "FailedToUpdateEndpointSlices", text);
            }
        }
        result.map(|()| None)
    }
}

/// Creates, updates and deletes slices; [`Expectations`] learns of the creations.
pub(crate) async fn carry_out(
    context: &Context,
    expectations: &Expectations,
    key: &Key,
    changes: reconcile::Changes,
) -> anyhow::Result<()> {
    let api = context.api::<EndpointSlice>(&key.namespace);
    expectations.expect(key, changes.create.len(), []);
    let (mut made, count) = (0, changes.create.len());
    for slice in changes.create {
        match api.create(&PostParams::default(), &slice).await {
            Ok(_) => made += 1,
            Err(error) => {
                (made..count).for_each(|_| expectations.created(key));
                if is_namespace_terminating(&error) {
                    return Ok(());
                }
                return Err(error).context("cannot create EndpointSlice");
            }
        }
    }
    for slice in changes.update {
        let updated = api.replace(name(&slice.metadata), &PostParams::default(), &slice).await;
        ignore_absent(updated)?;
    }
    for doomed in changes.delete {
        ignore_absent(api.delete(&doomed, &DeleteParams::default()).await)?;
    }
    Ok(())
}
