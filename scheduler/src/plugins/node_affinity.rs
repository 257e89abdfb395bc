//! Node selectors and node affinity.
use super::selector::term_matches;
use crate::node::NodeInfo;
use crate::plugin::{Check, Event, Filter, Nodes, Normalize, Rating, Score};
use crate::pod::PodView;
use k8s_openapi::api::core::v1::NodeAffinity as Affinity;

/// `spec.nodeSelector` and `spec.affinity.nodeAffinity`.
pub struct NodeAffinity;

fn affinity(pod: &PodView) -> Option<&Affinity> {
    pod.affinity.as_ref()?.node_affinity.as_ref()
}

/// Whether a node has what the pod requires of nodes.
pub fn required_matches(pod: &PodView, info: &NodeInfo) -> bool {
    let labels = &info.node.labels;
    let selected = pod.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let required = affinity(pod).and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.map(|selector| &selector.node_selector_terms);
    selected && terms.is_none_or(|terms| terms.iter().any(|term| term_matches(term, &info.node.name, labels)))
}

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Check<'a>> {
        if pod.node_selector.is_empty() && affinity(pod).is_none() {
            return None;
        }
        Some(Box::new(|info| {
            let reason = "node(s) didn't match Pod's node affinity/selector";
            if required_matches(pod, info) { Vec::new() } else { vec![reason.into()] }
        }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Rating<'a>> {
        let preferred = affinity(pod)?.preferred_during_scheduling_ignored_during_execution.as_ref()?;
        let score = |info: &NodeInfo| {
            let matching = preferred
                .iter()
                .filter(|term| term_matches(&term.preference, &info.node.name, &info.node.labels));
            matching.map(|term| i64::from(term.weight)).sum()
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::Larger })
    }
}
