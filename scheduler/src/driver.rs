//! Feeds the queue and the cache from informers, asks the algorithm, binds pods and reports failures.
use crate::algorithm::{Algorithm, Unschedulable};
use crate::args::{Args, DEFAULT_PORT};
use crate::cache::Cache;
use crate::node::NodeView;
use crate::plugin::{Event, filters, scores};
use crate::pod::PodView;
use crate::queue::Queue;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use knarr_component::events::{Recorder, Type};
use knarr_component::health::Health;
use knarr_component::informer::{Change, Informer};
use knarr_component::lease::Elector;
use knarr_component::store::Key;
use knarr_component::{client, log};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Pods that have ended use nothing and need no place.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Runs the scheduler until `shutdown`.
///
/// # Errors
/// The kubeconfig cannot be used, the health port is taken, or the leader's lease was lost.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<()> {
    log::init(&args.logging);
    let client = client::connect(args.connection.kubeconfig.as_deref(), "scheduler").await?;
    let health = Health::new();
    let started = health.start(&args.serving, DEFAULT_PORT, shutdown.clone()).await;
    started.context("cannot serve health and metrics")?;
    if !args.leader_election.leader_elect {
        return lead(args, client, health, shutdown).await;
    }
    let host = host_name();
    let identity = format!("{host}_{}", std::process::id());
    let elector = Elector::new(client.clone(), &args.leader_election, "kube-scheduler", identity);
    elector.run(shutdown, |leading| lead(args, client, health, leading)).await
}

/// The host's name, to tell candidates apart.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// What handlers of events and the scheduling loop share.
#[derive(Default)]
struct State {
    cache: Cache,
    queue: Queue,
}

/// The scheduler while it leads.
struct Scheduler {
    name: String,
    client: Client,
    events: Recorder,
    state: Mutex<State>,
    wake: Notify,
    bindings: Arc<Semaphore>,
    scheduled: Counter,
    unschedulable: Counter,
}

async fn lead(args: Args, client: Client, health: Health, stop: CancellationToken) -> Result<()> {
    let scheduler = Arc::new(Scheduler {
        events: Recorder::new(client.clone(), &args.scheduler_name, "", stop.clone()),
        name: args.scheduler_name,
        client: client.clone(),
        state: Mutex::default(),
        wake: Notify::new(),
        bindings: Arc::new(Semaphore::new(args.parallel_bindings.max(1))),
        scheduled: Counter::default(),
        unschedulable: Counter::default(),
    });
    health.metrics(|registry| {
        let (scheduled, failed) = (scheduler.scheduled.clone(), scheduler.unschedulable.clone());
        registry.register("scheduler_pods_scheduled", "Pods that were bound", scheduled);
        registry.register("scheduler_pods_unschedulable", "Attempts that found no node", failed);
    });
    let any = watcher::Config::default();
    let nodes =
        Informer::start_mapped(Api::<Node>::all(client.clone()), any.clone(), stop.clone(), NodeView::new);
    let pods = Api::<Pod>::all(client);
    let pods = Informer::start_mapped(pods, any.fields(UNFINISHED), stop.clone(), PodView::new);
    let shared = Arc::clone(&scheduler);
    nodes.on_change(move |change| shared.node_changed(&change));
    let shared = Arc::clone(&scheduler);
    pods.on_change(move |change| shared.pod_changed(&change));
    // Before all nodes and pods are known a pod might be placed where there is no room.
    nodes.synced().await;
    pods.synced().await;
    stop.run_until_cancelled(scheduler.work()).await;
    Ok(())
}

impl Scheduler {
    fn node_changed(&self, change: &Change<'_, NodeView>) {
        let mut state = self.state.lock();
        match change {
            Change::Deleted(node) => state.cache.remove_node(&node.name),
            Change::Added(node) => state.cache.set_node(Arc::clone(node)),
            Change::Updated { old, new } => {
                state.cache.set_node(Arc::clone(new));
                if !may_help(old, new) {
                    return;
                }
            }
        }
        state.queue.event(Event::Node, Instant::now());
        drop(state);
        self.wake.notify_one();
    }

    fn pod_changed(&self, change: &Change<'_, PodView>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let pod = change.object();
        if change.is_deletion() {
            state.queue.remove(&pod.key);
            state.cache.remove_pod(pod);
            state.queue.event(Event::PodGone, now);
        } else if pod.waits_for(&self.name) {
            state.cache.set_pod(pod);
            if pod.gates.is_empty() && !state.cache.is_placed(pod) {
                state.queue.set(Arc::clone(pod));
            }
        } else {
            state.queue.remove(&pod.key);
            let was_placed = state.cache.is_placed(pod);
            state.cache.set_pod(pod);
            match (was_placed, pod.occupies()) {
                (true, false) => state.queue.event(Event::PodGone, now),
                (false, true) => state.queue.event(Event::PodPlaced, now),
                _ => {}
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Takes one pod after the other; bindings go on beside.
    async fn work(self: Arc<Self>) {
        let mut algorithm = Algorithm::new(filters(), scores());
        loop {
            let Ok(slot) = Arc::clone(&self.bindings).acquire_owned().await else { return };
            let woken = self.wake.notified();
            let (pod, wakeup) = {
                let mut state = self.state.lock();
                (state.queue.pop(Instant::now()), state.queue.next_wakeup())
            };
            let Some(pod) = pod else {
                match wakeup {
                    Some(time) => tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(time.into()) => {}
                    },
                    None => woken.await,
                }
                continue;
            };
            let decision = self.decide(&mut algorithm, &pod);
            let scheduler = Arc::clone(&self);
            tokio::spawn(async move {
                match decision {
                    Ok(node) => scheduler.bind(&pod, &node).await,
                    Err(failure) => scheduler.report(&pod, &failure).await,
                }
                drop(slot);
            });
            // A long queue must not keep informers and bindings of this thread from going on.
            tokio::task::yield_now().await;
        }
    }

    fn decide(&self, algorithm: &mut Algorithm, pod: &PodView) -> Result<String, Unschedulable> {
        let mut state = self.state.lock();
        let decision = algorithm.schedule(pod, state.cache.nodes());
        match &decision {
            Ok(node) => state.cache.assume(pod, node),
            Err(failure) => state.queue.unschedulable(&pod.key, &failure.events, Instant::now()),
        }
        decision
    }

    async fn bind(&self, pod: &PodView, node: &str) {
        let binding = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.key.namespace);
        let params = PostParams::default();
        let bound =
            api.create_subresource::<_, serde_json::Value>("binding", &pod.key.name, &params, &binding);
        match bound.await {
            Ok(_) => {
                self.scheduled.inc();
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.events.event(reference(pod), Type::Normal, "Scheduled", message);
                self.state.lock().queue.remove(&pod.key);
            }
            Err(error) => self.binding_failed(pod, &error),
        }
    }

    fn binding_failed(&self, pod: &PodView, error: &kube::Error) {
        let gone = matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
        if gone {
            // Deleted or bound by someone else: the informer will say so.
            tracing::debug!(pod = %pod.key, %error, "not bound");
        } else {
            tracing::warn!(pod = %pod.key, %error, "not bound");
        }
        let mut state = self.state.lock();
        state.cache.unassume(&pod.key);
        state.queue.failed(&pod.key, Instant::now());
        state.queue.event(Event::PodGone, Instant::now());
        drop(state);
        self.wake.notify_one();
    }

    /// Tells the pod why no node fits: an event, and its `PodScheduled` condition where that says another thing.
    async fn report(&self, pod: &PodView, failure: &Unschedulable) {
        self.unschedulable.inc();
        let message = failure.message();
        self.events.event(reference(pod), Type::Warning, "FailedScheduling", message.clone());
        if pod.unscheduled_message.as_ref() == Some(&message) {
            return;
        }
        let now = jiff::Timestamp::now();
        let patch = serde_json::json!({
            "metadata": {"uid": pod.uid},
            "status": {"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastProbeTime": null, "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]},
        });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.key.namespace);
        let patched =
            api.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Err(error) = patched {
            tracing::debug!(pod = %pod.key, %error, "condition not set");
        }
    }
}

fn reference(pod: &PodView) -> ObjectReference {
    let Key { namespace, name } = pod.key.clone();
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(namespace),
        name: Some(name),
        uid: Some(pod.uid.clone()),
        resource_version: Some(pod.resource_version.clone()),
        field_path: None,
    }
}

/// Whether a node's change may let a pod onto it: its heartbeat does not.
fn may_help(old: &NodeView, new: &NodeView) -> bool {
    old.labels != new.labels
        || old.taints != new.taints
        || old.unschedulable != new.unschedulable
        || old.allocatable != new.allocatable
        || old.max_pods != new.max_pods
}
