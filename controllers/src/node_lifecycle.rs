//! Watches over nodes: silent ones count as lost, and what is wrong with a node becomes taints.
//!
//! `NoSchedule` taints follow conditions at once. `NoExecute` taints, which drive pods away, are
//! set at a limited rate for each zone, more slowly where many nodes fail together, and not at
//! all when no node works: then the fault is more likely on our side.

mod decide;
mod lease;

use std::{collections::HashMap, sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use knarr_component::{
    events::{Recorder, Type},
    informer::{Change, Informer},
    queue::Queue,
    runner::SyncResult,
    store::Key,
};
use kube::{
    api::{Patch, PatchParams},
    runtime::watcher::Config,
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    context::Context,
    meta::{ignore_absent, is_code, label, name, now},
    metrics,
    pods::{self, Pod},
    taint_eviction::{BY_NODE, index_by_node},
    taints::taints,
};

use decide::{Evictions, Rates, Ready, ready, without_time};
use lease::Lease;

/// Whether a node says that it is ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    ready(node) == Ready::Yes
}

/// Namespace of the leases by which nodes say that they live.
const LEASES: &str = "kube-node-lease";

/// What was last heard of a node.
struct Heard {
    heartbeat: Option<jiff::Timestamp>,
    lease: Option<jiff::Timestamp>,
    at: Instant,
    ready: Ready,
}

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    leases: Informer<Lease>,
    recorder: Recorder,
    heard: Mutex<HashMap<String, Heard>>,
    evictions: Mutex<Evictions>,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let args = context.args.clone();
    let rates = Rates {
        normal: args.node_eviction_rate,
        reduced: args.secondary_node_eviction_rate,
        unhealthy: args.unhealthy_zone_threshold,
        large: args.large_cluster_size_threshold,
    };
    let controller = Arc::new(Controller {
        nodes: context.informers.get(),
        pods: context.informers.get(),
        leases: context.informers.get_namespaced(LEASES, Config::default()),
        recorder: context.recorder("node-controller"),
        heard: Mutex::default(),
        evictions: Mutex::new(Evictions::new(rates)),
        context,
    });
    index_by_node(&controller.pods);
    let queue = Queue::new();
    let (added, this) = (queue.clone(), Arc::downgrade(&controller));
    controller.nodes.on_change(move |change| {
        let node = change.object();
        added.add(name(&node.metadata).to_string());
        if let Some(this) = this.upgrade() {
            this.greet(&change);
        }
    });
    let synced = {
        let (nodes, pods) = (controller.nodes.synced(), controller.pods.synced());
        let leases = controller.leases.synced();
        async {
            futures::join!(nodes, pods, leases);
        }
    };
    if controller.context.stop.run_until_cancelled(synced).await.is_none() {
        return Ok(());
    }
    let (context, this) = (controller.context.clone(), controller.clone());
    let syncing = context.work("node-lifecycle-controller", std::future::ready(()), queue, 4, move |node| {
        let this = this.clone();
        async move { this.sync_taints(&node).await }
    });
    let monitoring = async {
        loop {
            controller.monitor().await;
            tokio::time::sleep(controller.context.args.node_monitor_period).await;
        }
    };
    let (result, _) = tokio::join!(syncing, context.stop.run_until_cancelled(monitoring));
    result
}

impl Controller {
    fn greet(&self, change: &Change<'_, Node>) {
        let node = name(&change.object().metadata);
        let (reason, text) = match change {
            Change::Added(_) => {
                ("RegisteredNode", format!("Node {node} event: Registered Node {node} in Controller"))
            }
            Change::Deleted(_) => {
                ("RemovingNode", format!("Node {node} event: Removing Node {node} from Controller"))
            }
            Change::Updated { .. } => return,
        };
        let about = knarr_component::events::reference(&**change.object());
        self.recorder.event(about, Type::Normal, reason, text);
        if change.is_deletion() {
            self.heard.lock().remove(node);
        }
    }

    /// Makes the `NoSchedule` taints of a node follow its conditions, and takes `NoExecute`
    /// taints away from one that is ready.
    async fn sync_taints(&self, name: &str) -> SyncResult {
        let Some(node) = self.nodes.get(&Key::new("", name)) else { return Ok(None) };
        let wanted = decide::with_condition_taints(&node);
        self.set_taints(&node, wanted).await?;
        Ok(None)
    }

    async fn set_taints(&self, node: &Node, wanted: Vec<Taint>) -> anyhow::Result<()> {
        let same = |a: &[Taint], b: &[Taint]| {
            a.len() == b.len()
                && a.iter().all(|taint| b.iter().any(|other| without_time(taint) == without_time(other)))
        };
        if same(taints(node), &wanted) {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": wanted},
        });
        let api = self.context.api_all::<Node>();
        let patched = api.patch(name(&node.metadata), &PatchParams::default(), &Patch::Merge(patch)).await;
        ignore_absent(patched)?;
        Ok(())
    }

    /// One look at all nodes.
    async fn monitor(&self) {
        let started = Instant::now();
        let nodes = self.nodes.list();
        let mut zones: HashMap<String, Vec<Ready>> = HashMap::new();
        for node in &nodes {
            let looked = Instant::now();
            let state = match self.check_node(node).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::warn!(node = name(&node.metadata), "cannot update status of node: {error:#}");
                    ready(node)
                }
            };
            metrics::NODE_TIME.took(&[], looked.elapsed());
            zones.entry(zone(node)).or_default().push(state);
        }
        metrics::ALL_NODES_TIME.took(&[], started.elapsed());
        tell(&zones);
        let all_lost = self.evictions.lock().observe(&zones);
        for node in &nodes {
            let state = self.heard.lock().get(name(&node.metadata)).map_or(Ready::Yes, |heard| heard.ready);
            if let Err(error) = self.evict(node, state, all_lost).await {
                tracing::debug!(node = name(&node.metadata), "cannot taint node: {error:#}");
            }
        }
    }

    /// Listens for signs of life of one node; a node that was silent for too long is marked.
    async fn check_node(&self, node: &Node) -> anyhow::Result<Ready> {
        let node_name = name(&node.metadata);
        let condition = decide::condition(node, "Ready");
        let heartbeat =
            condition.and_then(|condition| condition.last_heartbeat_time.as_ref()).map(|time| time.0);
        let lease = self.leases.get(&Key::new(LEASES, node_name));
        let lease = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let state = ready(node);
        let (silent_for, before) = {
            let mut heard = self.heard.lock();
            let first = Heard { heartbeat, lease, at: Instant::now(), ready: state };
            let known = heard.entry(node_name.to_string()).or_insert(first);
            // Our own clock only: nodes' clocks may differ. What we wrote ourselves is no sign.
            let alive = (known.heartbeat != heartbeat && state != Ready::Unknown) || known.lease != lease;
            if alive {
                known.at = Instant::now();
            }
            let before = known.ready;
            (known.heartbeat, known.lease, known.ready) = (heartbeat, lease, state);
            (known.at.elapsed(), before)
        };
        let args = &self.context.args;
        let patience =
            if condition.is_none() { args.node_startup_grace_period } else { args.node_monitor_grace_period };
        if silent_for > patience {
            self.mark_silent(node).await?;
            self.heard.lock().entry(node_name.to_string()).and_modify(|heard| heard.ready = Ready::Unknown);
            if before == Ready::Yes || state == Ready::Yes {
                self.report_not_ready(node).await;
            }
            return Ok(Ready::Unknown);
        }
        if before == Ready::Yes && state != Ready::Yes {
            self.report_not_ready(node).await;
        }
        Ok(state)
    }

    async fn mark_silent(&self, node: &Node) -> anyhow::Result<()> {
        let conditions: Vec<NodeCondition> = decide::silent_conditions(node, &now());
        if conditions.is_empty() {
            return Ok(());
        }
        let patch = json!({"status": {"conditions": conditions}});
        let api = self.context.api_all::<Node>();
        let patched =
            api.patch_status(name(&node.metadata), &PatchParams::default(), &Patch::Strategic(patch)).await;
        ignore_absent(patched)?;
        Ok(())
    }

    /// Pods of a lost node are not ready, whatever their last report says.
    async fn report_not_ready(&self, node: &Node) {
        let node_name = name(&node.metadata);
        self.recorder.normal(node, "NodeNotReady", format!("Node {node_name} status is now: NodeNotReady"));
        for pod in self.pods.by_index(BY_NODE, node_name).iter().filter(|pod| pods::is_ready(pod)) {
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": now()});
            let patch = Patch::Strategic(json!({
                "metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]},
            }));
            let key = Key::of(&pod.metadata);
            let api = self.context.api::<Pod>(&key.namespace);
            match api.patch_status(&key.name, &PatchParams::default(), &patch).await {
                Err(error) if !is_code(&error, 404) && !is_code(&error, 409) => {
                    tracing::warn!(pod = %key, %error, "cannot mark pod of lost node");
                }
                _ => self.recorder.warning(&**pod, "NodeNotReady", "Node is not ready"),
            }
        }
    }

    /// Sets or removes the `NoExecute` taint of a node, as far as the rate of its zone allows.
    async fn evict(&self, node: &Node, state: Ready, all_lost: bool) -> anyhow::Result<()> {
        let current = self.nodes.get(&Key::new("", name(&node.metadata)));
        let Some(node) = current else { return Ok(()) };
        let wanted = if all_lost { Ready::Yes } else { state };
        let Some(changed) = decide::with_eviction_taint(&node, wanted, &now()) else { return Ok(()) };
        let is_new = wanted != Ready::Yes && !taints(&node).iter().any(decide::is_eviction_taint);
        if is_new && !self.evictions.lock().may_evict(&zone(&node), Instant::now()) {
            return Ok(());
        }
        self.set_taints(&node, changed).await?;
        if is_new {
            metrics::EVICTIONS.one(&[&zone(&node)]);
        }
        Ok(())
    }
}

/// How large and how healthy zones are.
fn tell(zones: &HashMap<String, Vec<Ready>>) {
    for level in [&metrics::ZONE_SIZE, &metrics::ZONE_HEALTH, &metrics::ZONE_UNHEALTHY] {
        level.clear();
    }
    for (zone, states) in zones {
        let ready = states.iter().filter(|state| **state == Ready::Yes).count();
        metrics::ZONE_SIZE.is(&[zone], states.len());
        metrics::ZONE_HEALTH.is(&[zone], 100 * ready / states.len().max(1));
        metrics::ZONE_UNHEALTHY.is(&[zone], states.len() - ready);
    }
}

/// Nodes of one zone fail together.
fn zone(node: &Node) -> String {
    let part = |key: &str| label(&node.metadata, key).unwrap_or_default();
    format!("{}/{}", part("topology.kubernetes.io/region"), part("topology.kubernetes.io/zone"))
}
