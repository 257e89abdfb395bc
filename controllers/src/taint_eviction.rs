//! Deletes pods from nodes whose `NoExecute` taints they do not tolerate, or no longer.

use std::{collections::HashMap, sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::Node;
use knarr_component::{
    events::Recorder,
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use parking_lot::Mutex;

use crate::{
    context::Context,
    meta::{is_deleting, name, uid},
    metrics,
    pods::{self, Pod},
    taints::{NO_EXECUTE, Stay, stay, taints},
};

/// Index of pods by node.
pub(crate) const BY_NODE: &str = "node";
const WORKERS: usize = 8;

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    recorder: Recorder,
    /// Since when pods (by UID) have been bound to go.
    since: Mutex<HashMap<String, Instant>>,
}

/// Adds the index of pods by node.
pub(crate) fn index_by_node(pods: &Informer<Pod>) {
    let node = |pod: &Pod| {
        let node = pods::node_name(pod);
        if node.is_empty() { Vec::new() } else { vec![node.to_string()] }
    };
    pods.add_index(BY_NODE, Arc::new(node));
}

fn is_tainted(node: &Node) -> bool {
    taints(node).iter().any(|taint| taint.effect == NO_EXECUTE)
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        pods: context.informers.get(),
        nodes: context.informers.get(),
        recorder: context.recorder("taint-eviction-controller"),
        since: Mutex::default(),
        context,
    });
    index_by_node(&controller.pods);
    let queue = Queue::new();
    let (added, pods) = (queue.clone(), controller.pods.clone());
    controller.nodes.on_change(move |change| {
        let concerned = match &change {
            Change::Added(node) => is_tainted(node),
            Change::Updated { old, new } => taints(old) != taints(new),
            Change::Deleted(_) => false,
        };
        if concerned {
            let on_node = pods.by_index(BY_NODE, name(&change.object().metadata));
            on_node.iter().for_each(|pod| added.add(Key::of(&pod.metadata)));
        }
    });
    let (added, this) = (queue.clone(), Arc::downgrade(&controller));
    controller.pods.on_change(move |change| {
        let Some(this) = this.upgrade() else { return };
        let pod = change.object();
        let concerned = match &change {
            Change::Updated { old, new } => {
                pods::node_name(old) != pods::node_name(new)
                    || old.spec.as_ref().map(|spec| &spec.tolerations)
                        != new.spec.as_ref().map(|spec| &spec.tolerations)
            }
            _ => true,
        };
        let node = this.nodes.get(&Key::new("", pods::node_name(pod)));
        if change.is_deletion() {
            this.since.lock().remove(uid(&pod.metadata));
        } else if concerned && node.is_some_and(|node| is_tainted(&node)) {
            added.add(Key::of(&pod.metadata));
        }
    });
    let synced = {
        let (pods, nodes) = (controller.pods.synced(), controller.nodes.synced());
        async {
            futures::join!(pods, nodes);
        }
    };
    let context = controller.context.clone();
    context
        .work("taint-eviction-controller", synced, queue, WORKERS, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(pod) = self.pods.get(&key).filter(|pod| !is_deleting(&pod.metadata)) else {
            return Ok(None);
        };
        let Some(node) = self.nodes.get(&Key::new("", pods::node_name(&pod))) else { return Ok(None) };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let bound = stay(tolerations, taints(&node));
        let wait = match bound {
            Stay::Forever => {
                if self.since.lock().remove(uid(&pod.metadata)).is_some() {
                    let text = format!("Cancelling deletion of Pod {key}");
                    self.recorder.normal(&*pod, "TaintManagerEviction", text);
                }
                return Ok(None);
            }
            Stay::For(time) => {
                let mut since = self.since.lock();
                let since = since.entry(uid(&pod.metadata).to_string()).or_insert_with(Instant::now);
                time.saturating_sub(since.elapsed())
            }
            Stay::Not => std::time::Duration::ZERO,
        };
        if !wait.is_zero() {
            return Ok(Some(Requeue::After(wait)));
        }
        let started = Instant::now();
        self.recorder.normal(&*pod, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        let message = "Taint manager: deleting due to NoExecute taint";
        pods::disrupt(&self.context, &pod, "DeletionByTaintManager", message).await?;
        metrics::TAINT_DELETIONS.one(&[]);
        metrics::TAINT_DELETION_TIME.took(&[], started.elapsed());
        Ok(None)
    }
}
