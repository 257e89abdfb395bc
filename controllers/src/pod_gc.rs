//! Removes pods that nobody else will: those of nodes that are gone, those that were deleted
//! before they got a node, and the oldest finished ones beyond a limit.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Node;
use knarr_component::{informer::Informer, store::Key};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use crate::{
    context::Context,
    meta::{created, ignore_absent, is_deleting, name, namespace},
    metrics,
    node_lifecycle::is_ready,
    pods::{self, Pod},
    taints::{OUT_OF_SERVICE, taints},
};

const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be missing; a restarted one registers again within that time.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Why a pod is removed.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Why {
    /// Beyond the limit of finished pods.
    Surplus,
    /// Its node is gone (maybe; ask the server).
    Orphan,
    /// Deleted before it was scheduled.
    Unscheduled,
    /// Deleted on a node that is off.
    OutOfService,
}

impl Why {
    /// The original's word for it in metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::Surplus => "terminated",
            Self::Orphan => "orphaned",
            Self::Unscheduled => "unscheduled",
            Self::OutOfService => "out-of-service",
        }
    }
}

/// Nodes that do not answer and were marked as off.
fn out_of_service(nodes: &[Arc<Node>]) -> HashSet<String> {
    let off =
        |node: &&Arc<Node>| !is_ready(node) && taints(node).iter().any(|taint| taint.key == OUT_OF_SERVICE);
    nodes.iter().filter(off).map(|node| name(&node.metadata).to_string()).collect()
}

fn is_evicted(pod: &Pod) -> bool {
    pods::phase(pod) == "Failed"
        && pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

/// Pods to remove, of the finished ones first the evicted, then the oldest. `gone` holds nodes that have been missing for long enough, `off` those out of service.
fn doomed(
    all: &[Arc<Pod>],
    gone: &HashSet<String>,
    off: &HashSet<String>,
    threshold: usize,
) -> Vec<(Arc<Pod>, Why)> {
    let mut doomed = Vec::new();
    let mut finished: Vec<&Arc<Pod>> =
        all.iter().filter(|pod| pods::is_finished(pod) && !is_deleting(&pod.metadata)).collect();
    if threshold > 0 && finished.len() > threshold {
        finished
            .sort_by_key(|pod| (!is_evicted(pod), created(&pod.metadata), name(&pod.metadata).to_string()));
        let surplus = finished.len() - threshold;
        doomed.extend(finished.into_iter().take(surplus).map(|pod| (pod.clone(), Why::Surplus)));
    }
    for pod in all {
        let node = pods::node_name(pod);
        if node.is_empty() && is_deleting(&pod.metadata) {
            doomed.push((pod.clone(), Why::Unscheduled));
        } else if gone.contains(node) {
            doomed.push((pod.clone(), Why::Orphan));
        } else if off.contains(node) && is_deleting(&pod.metadata) {
            doomed.push((pod.clone(), Why::OutOfService));
        }
    }
    doomed
}

/// Runs the controller: a look around every 20 s.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let pods: Informer<Pod> = context.informers.get();
    let nodes: Informer<Node> = context.informers.get();
    let synced = {
        let (pods, nodes) = (pods.synced(), nodes.synced());
        async {
            futures::join!(pods, nodes);
        }
    };
    let watch = async {
        synced.await;
        let mut missing: HashMap<String, Instant> = HashMap::new();
        loop {
            tokio::time::sleep(PERIOD).await;
            let all = pods.list();
            let gone = gone_nodes(&context, &all, &nodes, &mut missing).await;
            let off = out_of_service(&nodes.list());
            for (pod, why) in doomed(&all, &gone, &off, context.args.terminated_pod_gc_threshold) {
                let labels = [namespace(&pod.metadata), why.reason()];
                metrics::PODS_COLLECTED.one(&labels);
                if let Err(error) = remove(&context, &pod, why).await {
                    metrics::PODS_NOT_COLLECTED.one(&labels);
                    tracing::warn!(pod = %Key::of(&pod.metadata), %error, "cannot remove pod");
                }
            }
        }
    };
    context.stop.run_until_cancelled(watch).await;
    Ok(())
}

/// Nodes of pods that have been missing for the quarantine and that the server does not know.
async fn gone_nodes(
    context: &Context,
    all: &[Arc<Pod>],
    nodes: &Informer<Node>,
    missing: &mut HashMap<String, Instant>,
) -> HashSet<String> {
    let used: HashSet<&str> =
        all.iter().map(|pod| pods::node_name(pod)).filter(|node| !node.is_empty()).collect();
    missing.retain(|node, _| used.contains(node.as_str()) && nodes.get(&Key::new("", node)).is_none());
    for node in used {
        if nodes.get(&Key::new("", node)).is_none() {
            missing.entry(node.to_string()).or_insert_with(Instant::now);
        }
    }
    let mut gone = HashSet::new();
    for (node, since) in missing.iter() {
        if since.elapsed() >= QUARANTINE && matches!(context.api_all::<Node>().get_opt(node).await, Ok(None))
        {
            gone.insert(node.clone());
        }
    }
    gone
}

async fn remove(context: &Context, pod: &Pod, why: Why) -> kube::Result<()> {
    let api = context.api::<Pod>(namespace(&pod.metadata));
    if !pods::is_finished(pod) {
        let mut patch = json!({"status": {"phase": "Failed"}});
        if why == Why::Orphan {
            // Jobs count it as failed, and learn that it was none of the pod's fault.
            patch["status"]["conditions"] = json!([{
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists", "lastTransitionTime": crate::meta::now(),
            }]);
        }
        let patched =
            api.patch_status(name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(patch)).await;
        ignore_absent(patched)?;
    }
    let precondition = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let parameters = DeleteParams::default().grace_period(0).preconditions(precondition);
    ignore_absent(api.delete(name(&pod.metadata), &parameters).await).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn only_hopeless_pods_go() {
        let mut unscheduled = pod("unscheduled", "Pending", "", None);
        unscheduled.metadata.deletion_timestamp = Some(crate::meta::now());
        let mut stuck = pod("stuck", "Running", "n3", None);
        stuck.metadata.deletion_timestamp = Some(crate::meta::now());
        let mut evicted = pod("evicted", "Failed", "n1", None);
        evicted.status.as_mut().unwrap().reason = Some("Evicted".into());
        let all = [
            pod("untouched", "Running", "n3", None),
            pod("a", "Succeeded", "n1", None),
            pod("b", "Failed", "n1", None),
            pod("c", "Failed", "n1", None),
            pod("running", "Running", "n1", None),
            pod("orphan", "Running", "n2", None),
            pod("waiting", "Pending", "", None),
            unscheduled,
            stuck,
            evicted,
        ];
        let all: Vec<Arc<Pod>> = all.into_iter().map(Arc::new).collect();
        let gone = HashSet::from(["n2".to_string()]);
        let off = HashSet::from(["n3".to_string()]);
        let names = |threshold| {
            let doomed = doomed(&all, &gone, &off, threshold);
            doomed.iter().map(|(pod, why)| format!("{} {why:?}", name(&pod.metadata))).collect::<Vec<_>>()
        };
        let others = ["orphan Orphan", "unscheduled Unscheduled", "stuck OutOfService"];
        assert_eq!(names(3), [&["evicted Surplus"], &others[..]].concat());
        assert_eq!(names(2), [&["evicted Surplus", "a Surplus"], &others[..]].concat());
        assert_eq!(names(0), others);
    }
}
