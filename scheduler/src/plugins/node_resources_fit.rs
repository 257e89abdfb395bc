//! Requests fit into what a node has left; which nodes are better, the emptier or the fuller ones, a strategy says.
use crate::node::NodeInfo;
use crate::plugin::{Event, Filter, MAX_SCORE, Normalize, Prepared, Rating, Reason, Refusal, Score};
use crate::pod::PodView;
use crate::resources::Resources;
use crate::world::World;
use std::collections::BTreeSet;

/// Which nodes are better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Those with more left.
    #[default]
    LeastAllocated,
    /// Those with less left.
    MostAllocated,
    /// As a line through these points says: utilization in percent, and score from 0 to 10; by utilization.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// Resources with the weight of each.
pub type Weights = Vec<(String, i64)>;

/// CPU and memory alike.
pub fn default_weights() -> Weights {
    vec![("cpu".to_owned(), 1), ("memory".to_owned(), 1)]
}

/// Resources and the number of pods.
#[derive(Clone, Debug)]
pub struct NodeResourcesFit {
    /// Which nodes are better.
    pub strategy: Strategy,
    /// The resources that the strategy looks at.
    pub resources: Weights,
    /// Extended resources that are not checked.
    pub ignored: BTreeSet<String>,
    /// Prefixes of extended resources that are not checked, as `example.com`.
    pub ignored_groups: BTreeSet<String>,
}

impl Default for NodeResourcesFit {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            resources: default_weights(),
            ignored: BTreeSet::new(),
            ignored_groups: BTreeSet::new(),
        }
    }
}

impl NodeResourcesFit {
    fn ignores(&self, name: &str) -> bool {
        self.ignored.contains(name)
            || name.split_once('/').is_some_and(|(group, _)| self.ignored_groups.contains(group))
    }

    /// `served`: resources that come as devices to nodes that do not have them by themselves.
    fn lacking(&self, pod: &PodView, served: &BTreeSet<&str>, info: &NodeInfo) -> Option<Refusal> {
        let mut refusal = Refusal { reasons: Vec::new(), passing: true, fault: false };
        if info.pods.len() as i64 + 1 > info.node.max_pods {
            refusal.reasons.push("Too many pods".into());
        }
        let (wanted, used, all) = (&pod.requests, &info.requested, &info.node.allocatable);
        let mut check = |reason: &dyn Fn() -> Reason, wanted: i64, used: i64, all: i64| {
            if wanted > 0 && wanted > all - used {
                refusal.reasons.push(reason());
                // More than the node has in all: nobody's leaving helps.
                refusal.passing &= wanted <= all;
            }
        };
        check(&|| "Insufficient cpu".into(), wanted.milli_cpu, used.milli_cpu, all.milli_cpu);
        check(&|| "Insufficient memory".into(), wanted.memory, used.memory, all.memory);
        check(
            &|| "Insufficient ephemeral-storage".into(),
            wanted.ephemeral_storage,
            used.ephemeral_storage,
            all.ephemeral_storage,
        );
        let by_devices = |name: &str| all.amount(name) == 0 && served.contains(name);
        let checked = wanted.others.iter().filter(|(name, _)| !self.ignores(name) && !by_devices(name));
        for (name, wanted) in checked {
            let reason = || format!("Insufficient {name}").into();
            check(&reason, *wanted, used.amount(name), all.amount(name));
        }
        (!refusal.reasons.is_empty()).then_some(refusal)
    }
}

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        let served = world.devices.served(pod);
        Prepared::check(move |info| self.lacking(pod, &served, info))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone]
    }
}

impl Strategy {
    /// The score of one resource of which `used` of `all` would be used.
    fn score(&self, used: i64, all: i64) -> i64 {
        match self {
            _ if all <= 0 => 0,
            Self::LeastAllocated => (all - used).max(0) * MAX_SCORE / all,
            Self::MostAllocated => used.clamp(0, all) * MAX_SCORE / all,
            Self::RequestedToCapacityRatio(points) => {
                let utilization = if used > all { 100 } else { 100 * used / all };
                on_line(points, utilization) * MAX_SCORE / 10
            }
        }
    }
}

/// The value at `x` of the broken line through the points, flat before the first and after the last.
fn on_line(points: &[(i64, i64)], x: i64) -> i64 {
    let after = points.iter().position(|(at, _)| x <= *at);
    match after {
        None => points.last().map_or(0, |(_, value)| *value),
        Some(0) => points[0].1,
        Some(at) => {
            let ((x0, y0), (x1, y1)) = (points[at - 1], points[at]);
            y0 + (y1 - y0) * (x - x0) / (x1 - x0).max(1)
        }
    }
}

impl Score for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World, _: &[&NodeInfo]) -> Option<Rating<'a>> {
        let score = |info: &NodeInfo| {
            let (mut sum, mut weights) = (0, 0);
            for (name, weight) in &self.resources {
                let Some((used, all)) = usage(pod, info, name) else { continue };
                let score = self.strategy.score(used, all);
                // A node that scores nothing in a ratio does not count it.
                if score > 0 || !matches!(self.strategy, Strategy::RequestedToCapacityRatio(_)) {
                    sum += score * weight;
                    weights += weight;
                }
            }
            match &self.strategy {
                _ if weights == 0 => 0,
                Strategy::RequestedToCapacityRatio(_) => (sum as f64 / weights as f64).round() as i64,
                _ => sum / weights,
            }
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::No })
    }
}

/// What would be used of a resource with the pod, and what there is; none where the node has none, or the pod does
/// not ask for an extended resource.
pub fn usage(pod: &PodView, info: &NodeInfo, name: &str) -> Option<(i64, i64)> {
    let all = &info.node.allocatable;
    let (used, all) = match name {
        "cpu" => (info.score_requested.0 + pod.score_requests.0, all.milli_cpu),
        "memory" => (info.score_requested.1 + pod.score_requests.1, all.memory),
        _ => {
            let wanted = pod.requests.amount(name);
            if wanted == 0 {
                return None;
            }
            (info.requested.amount(name) + wanted, all.amount(name))
        }
    };
    (all > 0).then_some((used, all))
}

impl Resources {
    /// The amount of a resource other than CPU and memory.
    pub(crate) fn amount(&self, name: &str) -> i64 {
        match name {
            "ephemeral-storage" => self.ephemeral_storage,
            other => self.others.get(other).copied().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies() {
        let bins = Strategy::RequestedToCapacityRatio(vec![(0, 0), (50, 10), (100, 4)]);
        let cases = [
            (Strategy::LeastAllocated, 25, 75),
            (Strategy::LeastAllocated, 120, 0),
            (Strategy::MostAllocated, 25, 25),
            (Strategy::MostAllocated, 120, 100),
            (bins.clone(), 0, 0),
            (bins.clone(), 25, 50),
            (bins.clone(), 50, 100),
            (bins.clone(), 75, 70),
            (bins, 130, 40),
        ];
        for (strategy, used, expected) in cases {
            assert_eq!(strategy.score(used, 100), expected, "{strategy:?} {used}");
        }
    }
}
