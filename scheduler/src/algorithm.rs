//! Chooses a node for a pod: pure decision code over the nodes as they are known.
use crate::node::NodeInfo;
use crate::plugin::{Check, Event, Filter, Nodes, Reason, Score};
use crate::pod::PodView;
use std::collections::BTreeMap;

/// With fewer nodes than this, all are looked at.
const MIN_FEASIBLE: usize = 100;
/// The share of nodes that is looked at in the largest clusters, in percent.
const MIN_PERCENT: usize = 5;

/// Why no node can run a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// All nodes that were looked at.
    pub nodes: usize,
    /// How many nodes gave each reason.
    pub reasons: BTreeMap<String, usize>,
    /// What may change that.
    pub events: Vec<Event>,
}

impl Unschedulable {
    /// The message of the `PodScheduled` condition, as the original words it.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut parts: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        format!("0/{} nodes are available: {}.", self.nodes, parts.join(", "))
    }
}

/// The plugins, and where the search went on last time.
pub struct Algorithm {
    filters: Vec<Box<dyn Filter>>,
    scores: Vec<Box<dyn Score>>,
    next_start: usize,
}

impl Algorithm {
    /// An algorithm of these plugins.
    pub fn new(filters: Vec<Box<dyn Filter>>, scores: Vec<Box<dyn Score>>) -> Self {
        Self { filters, scores, next_start: 0 }
    }

    /// The best node for the pod.
    pub fn schedule(&mut self, pod: &PodView, nodes: &Nodes) -> Result<String, Unschedulable> {
        let feasible = self.feasible(pod, nodes)?;
        Ok(self.best(pod, nodes, &feasible))
    }

    /// Nodes that can run the pod: enough of them to choose from, starting where the last search ended.
    fn feasible<'n>(&mut self, pod: &PodView, nodes: &'n Nodes) -> Result<Vec<&'n NodeInfo>, Unschedulable> {
        let checks: Vec<_> = self
            .filters
            .iter()
            .filter_map(|filter| Some((filter.as_ref(), filter.prepare(pod, nodes)?)))
            .collect();
        let (total, wanted) = (nodes.len(), enough(nodes.len()));
        let start = self.next_start % total.max(1);
        let ring = nodes.values().skip(start).chain(nodes.values().take(start));
        let mut feasible = Vec::new();
        let mut failure = Unschedulable { nodes: total, ..Unschedulable::default() };
        let mut looked_at = 0;
        for info in ring {
            looked_at += 1;
            let (reasons, events) = refusal(&checks, info);
            if reasons.is_empty() {
                feasible.push(info);
                if feasible.len() >= wanted {
                    break;
                }
            }
            for reason in reasons {
                *failure.reasons.entry(reason.into_owned()).or_default() += 1;
            }
            failure
                .events
                .extend(events.iter().filter(|event| !failure.events.contains(event)).collect::<Vec<_>>());
        }
        drop(checks);
        self.next_start = start + looked_at;
        if total == 0 {
            failure.events.push(Event::Node);
        }
        if feasible.is_empty() { Err(failure) } else { Ok(feasible) }
    }

    fn best(&self, pod: &PodView, nodes: &Nodes, feasible: &[&NodeInfo]) -> String {
        let mut totals = vec![0; feasible.len()];
        if feasible.len() > 1 {
            for plugin in &self.scores {
                let Some(rating) = plugin.prepare(pod, nodes) else { continue };
                let mut scores: Vec<i64> = feasible.iter().map(|info| (rating.score)(info)).collect();
                rating.normalize.apply(&mut scores);
                for (total, score) in totals.iter_mut().zip(&scores) {
                    *total += score * plugin.weight();
                }
            }
        }
        // The first of the best: the ring's turning start spreads ties over the nodes.
        let best = totals.iter().copied().max().unwrap_or_default();
        let at = totals.iter().position(|total| *total == best).unwrap_or_default();
        feasible[at].node.name.clone()
    }
}

/// The reasons of the first filter that refuses the node, and what may change them.
fn refusal(checks: &[(&dyn Filter, Check<'_>)], info: &NodeInfo) -> (Vec<Reason>, &'static [Event]) {
    for (filter, check) in checks {
        let reasons = check(info);
        if !reasons.is_empty() {
            return (reasons, filter.events());
        }
    }
    (Vec::new(), &[])
}

/// How many feasible nodes are enough to choose from, as the original counts.
fn enough(nodes: usize) -> usize {
    if nodes <= MIN_FEASIBLE {
        return nodes.max(1);
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(MIN_PERCENT);
    (nodes * percent / 100).max(MIN_FEASIBLE)
}

#[cfg(test)]
mod tests;
