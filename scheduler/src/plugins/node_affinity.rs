//! Node selectors and node affinity.
use crate::node::{NodeInfo, NodeView};
use crate::plugin::{Event, Filter, Normalize, Prepared, Rating, Refusal, Score};
use crate::pod::PodView;
use crate::selector::term_matches;
use crate::world::World;
use k8s_openapi::api::core::v1::{NodeAffinity as Affinity, NodeSelector, NodeSelectorTerm};
use std::collections::BTreeSet;

/// `spec.nodeSelector` and `spec.affinity.nodeAffinity`.
#[derive(Debug, Default)]
pub struct NodeAffinity {
    /// What all pods of the profile require and prefer besides.
    pub added: Option<Affinity>,
}

const NOT_MATCHED: &str = "node(s) didn't match Pod's node affinity/selector";
const NOT_ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";

/// Whether one of the selector's terms matches the node.
pub fn selector_matches(selector: &NodeSelector, node: &NodeView) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, &node.name, &node.labels))
}

fn required(affinity: &Affinity) -> Option<&NodeSelector> {
    affinity.required_during_scheduling_ignored_during_execution.as_ref()
}

/// Whether a node has what the pod requires of nodes.
pub fn required_matches(pod: &PodView, node: &NodeView) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod
            .node_affinity
            .as_deref()
            .and_then(required)
            .is_none_or(|selector| selector_matches(selector, node))
}

/// The only nodes that the terms can match, where every term names its nodes: those of a DaemonSet's pods do.
fn named_nodes(selector: &NodeSelector) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for term in &selector.node_selector_terms {
        all.extend(named_by(term)?);
    }
    Some(all)
}

fn named_by(term: &NodeSelectorTerm) -> Option<BTreeSet<String>> {
    let fields = term.match_fields.iter().flatten();
    let named = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    let sets = named.map(|field| field.values.iter().flatten().cloned().collect::<BTreeSet<_>>());
    sets.reduce(|a, b| a.intersection(&b).cloned().collect())
}

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World) -> Prepared<'a> {
        let wanted = pod.node_affinity.as_deref().and_then(required);
        let enforced = self.added.as_ref().and_then(required);
        if pod.node_selector.is_empty() && wanted.is_none() && enforced.is_none() {
            return Prepared::Skip;
        }
        let check = Box::new(move |info: &NodeInfo| {
            if enforced.is_some_and(|selector| !selector_matches(selector, &info.node)) {
                return Some(Refusal::lasting(NOT_ENFORCED));
            }
            (!required_matches(pod, &info.node)).then(|| Refusal::lasting(NOT_MATCHED))
        });
        match wanted.and_then(named_nodes) {
            Some(names) if names.is_empty() => Prepared::Refuse("pod affinity terms conflict".into()),
            Some(names) => Prepared::Only(names, check),
            None => Prepared::Check(check),
        }
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World, _: &[&NodeInfo]) -> Option<Rating<'a>> {
        let both = pod.node_affinity.as_deref().into_iter().chain(&self.added);
        let preferred: Vec<_> = both
            .flat_map(|affinity| {
                affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten()
            })
            .collect();
        if preferred.is_empty() {
            return None;
        }
        let score = move |info: &NodeInfo| {
            let matching = preferred
                .iter()
                .filter(|term| term_matches(&term.preference, &info.node.name, &info.node.labels));
            matching.map(|term| i64::from(term.weight)).sum()
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::Larger })
    }
}
