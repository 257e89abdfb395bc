//! Requests fit into what a node has left; nodes with more left are better (LeastAllocated).
use crate::node::NodeInfo;
use crate::plugin::{Check, Event, Filter, MAX_SCORE, Nodes, Normalize, Rating, Reason, Score};
use crate::pod::PodView;

/// Resources and the number of pods.
pub struct NodeResourcesFit;

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Check<'a>> {
        Some(Box::new(|info| lacking(pod, info)))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone]
    }
}

fn lacking(pod: &PodView, info: &NodeInfo) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    if info.pods.len() as i64 + 1 > info.node.max_pods {
        reasons.push("Too many pods".into());
    }
    let (wanted, used, all) = (&pod.requests, &info.requested, &info.node.allocatable);
    let short = |wanted: i64, used: i64, all: i64| wanted > 0 && wanted > all - used;
    if short(wanted.milli_cpu, used.milli_cpu, all.milli_cpu) {
        reasons.push("Insufficient cpu".into());
    }
    if short(wanted.memory, used.memory, all.memory) {
        reasons.push("Insufficient memory".into());
    }
    if short(wanted.ephemeral_storage, used.ephemeral_storage, all.ephemeral_storage) {
        reasons.push("Insufficient ephemeral-storage".into());
    }
    for (name, wanted) in &wanted.others {
        let used = used.others.get(name).copied().unwrap_or_default();
        if short(*wanted, used, all.others.get(name).copied().unwrap_or_default()) {
            reasons.push(format!("Insufficient {name}").into());
        }
    }
    reasons
}

impl Score for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Rating<'a>> {
        let score = |info: &NodeInfo| {
            let parts = fractions(pod, info).map(|(used, all)| (all - used).max(0) * MAX_SCORE / all.max(1));
            parts.iter().sum::<i64>() / parts.len() as i64
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::No })
    }
}

/// CPU and memory: what would be used with the pod, and what there is.
pub fn fractions(pod: &PodView, info: &NodeInfo) -> [(i64, i64); 2] {
    let all = &info.node.allocatable;
    [
        (info.score_requested.0 + pod.score_requests.0, all.milli_cpu),
        (info.score_requested.1 + pod.score_requests.1, all.memory),
    ]
}
