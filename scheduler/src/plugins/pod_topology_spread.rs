//! Pods alike are spread over zones, nodes or other domains of nodes.
//!
//! Source: KEP-895 (even pods spreading), KEP-3022 (minDomains), KEP-3094 (inclusion policies), KEP-3243
//! (matchLabelKeys).
use super::node_affinity::required_matches;
use super::selector::selects;
use super::taint_toleration::tolerates;
use crate::node::NodeInfo;
use crate::plugin::{Check, Event, Filter, Nodes, Normalize, Rating, Reason, Score};
use crate::pod::PodView;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use std::collections::HashMap;

/// `spec.topologySpreadConstraints`.
pub struct PodTopologySpread;

/// One constraint with how many matching pods each domain holds.
struct Domains<'a> {
    constraint: &'a TopologySpreadConstraint,
    counts: HashMap<&'a str, i64>,
    /// The pod counts itself.
    counts_itself: bool,
}

impl<'a> Domains<'a> {
    fn count(constraint: &'a TopologySpreadConstraint, pod: &PodView, nodes: &'a Nodes) -> Self {
        let mut counts: HashMap<&str, i64> = HashMap::new();
        for info in nodes.values().filter(|info| included(constraint, pod, info)) {
            let Some(domain) = info.node.labels.get(&constraint.topology_key) else { continue };
            let alike = info.pods.values().filter(|other| {
                other.key.namespace == pod.key.namespace && !other.deleting && matches(constraint, pod, other)
            });
            *counts.entry(domain).or_default() += alike.count() as i64;
        }
        Self { constraint, counts, counts_itself: matches(constraint, pod, pod) }
    }

    /// The fewest pods of a domain; none counted where there are fewer domains than wanted.
    fn fewest(&self) -> i64 {
        let wanted = self.constraint.min_domains.unwrap_or(1);
        if (self.counts.len() as i64) < i64::from(wanted) {
            return 0;
        }
        self.counts.values().copied().min().unwrap_or_default()
    }

    fn refuses(&self, fewest: i64, info: &NodeInfo) -> Option<Reason> {
        let Some(domain) = info.node.labels.get(&self.constraint.topology_key) else {
            return Some(
                "node(s) didn't match pod topology spread constraints (missing required label)".into(),
            );
        };
        let here =
            self.counts.get(domain.as_str()).copied().unwrap_or_default() + i64::from(self.counts_itself);
        let too_many = here - fewest > i64::from(self.constraint.max_skew);
        too_many.then(|| "node(s) didn't match pod topology spread constraints".into())
    }
}

/// Whether the other pod counts for the constraint of `pod`.
fn matches(constraint: &TopologySpreadConstraint, pod: &PodView, other: &PodView) -> bool {
    let keys = constraint.match_label_keys.iter().flatten();
    let mut same = keys.filter(|key| pod.labels.contains_key(*key));
    selects(constraint.label_selector.as_ref(), &other.labels)
        && same.all(|key| other.labels.get(key) == pod.labels.get(key))
}

/// Whether a node's pods count: it is one that the pod could be on, as the inclusion policies say.
fn included(constraint: &TopologySpreadConstraint, pod: &PodView, info: &NodeInfo) -> bool {
    let honored =
        |policy: &Option<String>, default: bool| policy.as_deref().map_or(default, |p| p == "Honor");
    let tolerated = || {
        let hard = info.node.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        let mut hard = hard.peekable();
        hard.all(|taint| pod.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    (!honored(&constraint.node_affinity_policy, true) || required_matches(pod, info))
        && (!honored(&constraint.node_taints_policy, false) || tolerated())
}

fn constraints<'a>(pod: &'a PodView, hard: bool, nodes: &'a Nodes) -> Vec<Domains<'a>> {
    let wanted = pod.spread.iter().filter(|one| (one.when_unsatisfiable == "DoNotSchedule") == hard);
    wanted.map(|one| Domains::count(one, pod, nodes)).collect()
}

impl Filter for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn prepare<'a>(&self, pod: &'a PodView, nodes: &'a Nodes) -> Option<Check<'a>> {
        let domains = constraints(pod, true, nodes);
        if domains.is_empty() {
            return None;
        }
        let fewest: Vec<i64> = domains.iter().map(Domains::fewest).collect();
        Some(Box::new(move |info| {
            domains
                .iter()
                .zip(&fewest)
                .find_map(|(one, fewest)| one.refuses(*fewest, info))
                .into_iter()
                .collect()
        }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone, Event::PodPlaced]
    }
}

impl Score for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn prepare<'a>(&self, pod: &'a PodView, nodes: &'a Nodes) -> Option<Rating<'a>> {
        let domains = constraints(pod, false, nodes);
        if domains.is_empty() {
            return None;
        }
        let score = move |info: &NodeInfo| {
            let here = domains.iter().map(|one| {
                let domain = info.node.labels.get(&one.constraint.topology_key);
                domain.and_then(|domain| one.counts.get(domain.as_str())).copied().unwrap_or_default()
            });
            here.sum()
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::Smaller })
    }
}
