//! Pods alike are spread over zones, nodes or other domains of nodes.
//!
//! Source: KEP-895 (even pods spreading), KEP-1258 (default constraints), KEP-3022 (minDomains), KEP-3094 (inclusion
//! policies).
use super::node_affinity::required_matches;
use super::taint_toleration::tolerates;
use crate::index::{Domains, Query};
use crate::node::{NodeInfo, NodeView};
use crate::plugin::{Check, Event, Filter, IGNORED, Normalize, Prepared, Rating, Refusal, Score};
use crate::pod::PodView;
use crate::selector::Selector;
use crate::terms::{Group, Spread};
use crate::world::World;
use knarr_component::store::Key;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// `spec.topologySpreadConstraints`, or default constraints for pods that have none.
pub struct PodTopologySpread {
    /// Constraints of pods that have none; their selector is that of the pod's Services and workload.
    pub defaults: Vec<Spread>,
    /// The defaults are the system's: nodes without the labels count too.
    pub system: bool,
}

impl Default for PodTopologySpread {
    fn default() -> Self {
        let prefer = |max_skew, key: &str| Spread {
            max_skew,
            min_domains: 1,
            topology_key: key.to_owned(),
            hard: false,
            selector: Selector::default(),
            honor_affinity: true,
            honor_taints: false,
        };
        Self { defaults: vec![prefer(3, HOSTNAME), prefer(5, ZONE)], system: true }
    }
}

impl PodTopologySpread {
    fn constraints(&self, pod: &PodView, hard: bool, world: &World) -> Vec<Spread> {
        if !pod.spread.is_empty() {
            return pod.spread.iter().filter(|one| one.hard == hard).cloned().collect();
        }
        let wanted = self.defaults.iter().filter(|one| one.hard == hard);
        let mut wanted = wanted.peekable();
        if wanted.peek().is_none() {
            return Vec::new();
        }
        let selector = default_selector(pod, world);
        if selector.is_empty() {
            return Vec::new();
        }
        wanted.map(|one| Spread { selector: selector.clone(), ..one.clone() }).collect()
    }

    fn queries_of(&self, pod: &PodView, hard: bool, world: &World) -> Vec<(Query, String)> {
        let constraints = self.constraints(pod, hard, world);
        constraints.iter().map(|one| (query(pod, one), one.topology_key.clone())).collect()
    }
}

/// What the Services and the controller of the pod select.
fn default_selector(pod: &PodView, world: &World) -> Selector {
    let mut selector = Selector::default();
    let first = Key::new(pod.key.namespace.clone(), "");
    let services = world.services.range(first..).take_while(|(key, _)| key.namespace == pod.key.namespace);
    for (_, service) in services.filter(|(_, service)| service.selects(&pod.labels)) {
        selector.and(service.clone());
    }
    if let Some((kind, name)) = &pod.controller {
        let key = Key::new(pod.key.namespace.clone(), name.clone());
        if let Some(workload) = world.workloads.get(kind.as_str()).and_then(|known| known.get(&key)) {
            selector.and(workload.clone());
        }
    }
    selector
}

fn query(pod: &PodView, constraint: &Spread) -> Query {
    Query { groups: vec![Group::within(&pod.key.namespace, constraint.selector.clone())], living: true }
}

/// Whether a node's pods count: it is one that the pod could be on, as the inclusion policies say.
fn included(constraint: &Spread, pod: &PodView, node: &NodeView) -> bool {
    let tolerated = || {
        let mut hard = node.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        hard.all(|taint| pod.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    (!constraint.honor_affinity || required_matches(pod, node)) && (!constraint.honor_taints || tolerated())
}

fn has_keys(node: &NodeView, keys: &[String]) -> bool {
    keys.iter().all(|key| node.labels.contains_key(key))
}

/// One constraint with how many matching pods each domain holds.
struct Counted<'a> {
    constraint: Spread,
    query: Query,
    /// Pods by domain; in the index's own counts domains without any are absent.
    counts: Cow<'a, Domains>,
    domains: usize,
    changes: Domains,
    fewest: Cell<Option<i64>>,
}

impl<'a> Counted<'a> {
    /// `keys`: labels that nodes need to count at all.
    fn new(constraint: Spread, pod: &PodView, world: &'a World, keys: &[String]) -> Self {
        let query = query(pod, &constraint);
        let answer = world.index().answer(&query);
        let key = &constraint.topology_key;
        let nodes_with =
            |key: &String| world.index().domains(key).map_or(0, |domains| domains.values().sum::<i64>());
        let selective =
            constraint.honor_affinity && (!pod.node_selector.is_empty() || pod.node_affinity.is_some());
        let whole = !selective
            && !constraint.honor_taints
            && keys.iter().all(|other| other == key || nodes_with(other) == world.nodes().len() as i64);
        let shared = answer.and_then(|answer| answer.domains(key)).zip(world.index().domains(key));
        let (counts, domains) = match shared {
            Some((counts, domains)) if whole => (Cow::Borrowed(counts), domains.len()),
            _ => {
                let mut counts = Domains::new();
                let eligible = world.nodes().values().map(|info| info.node.as_ref());
                let eligible =
                    eligible.filter(|node| has_keys(node, keys) && included(&constraint, pod, node));
                for node in eligible {
                    let Some(domain) = node.labels.get(key) else { continue };
                    let here = answer.and_then(|answer| answer.nodes.get(&node.name)).copied();
                    *counts.entry(domain.clone()).or_default() += here.unwrap_or_default();
                }
                let domains = counts.len();
                (Cow::Owned(counts), domains)
            }
        };
        Self { constraint, query, counts, domains, changes: Domains::new(), fewest: Cell::new(None) }
    }

    fn in_domain(&self, domain: &str) -> i64 {
        let of = |domains: &Domains| domains.get(domain).copied().unwrap_or_default();
        of(&self.counts) + if self.changes.is_empty() { 0 } else { of(&self.changes) }
    }

    /// The fewest pods of a domain; none counted where there are fewer domains than wanted.
    fn fewest(&self) -> i64 {
        if let Some(fewest) = self.fewest.get() {
            return fewest;
        }
        let besides = self.changes.keys().filter(|domain| !self.counts.contains_key(*domain));
        let seen = self.counts.len() + besides.clone().count();
        let fewest = if self.domains < self.constraint.min_domains || seen < self.domains {
            0
        } else {
            let all = self.counts.keys().chain(besides);
            all.map(|domain| self.in_domain(domain)).min().unwrap_or_default()
        };
        self.fewest.set(Some(fewest));
        fewest
    }
}

struct SpreadCheck<'a> {
    pod: &'a PodView,
    world: &'a World,
    keys: Vec<String>,
    constraints: Vec<(Counted<'a>, i64)>,
}

impl Check for SpreadCheck<'_> {
    fn check(&self, info: &NodeInfo) -> Option<Refusal> {
        for (counted, itself) in &self.constraints {
            let Some(domain) = info.node.labels.get(&counted.constraint.topology_key) else {
                return Some(Refusal::lasting(NO_LABEL));
            };
            if counted.in_domain(domain) + itself - counted.fewest() > counted.constraint.max_skew {
                return Some(Refusal::passing(SKEWED));
            }
        }
        None
    }

    fn count(&mut self, pod: &PodView, node: &NodeView, by: i64) {
        if !has_keys(node, &self.keys) {
            return;
        }
        for (counted, _) in &mut self.constraints {
            let Some(domain) = node.labels.get(&counted.constraint.topology_key) else { continue };
            if counted.query.counts(pod, self.world.namespaces())
                && included(&counted.constraint, self.pod, node)
            {
                *counted.changes.entry(domain.clone()).or_default() += by;
                counted.fewest.set(None);
            }
        }
    }
}

impl Filter for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn queries(&self, pod: &PodView, world: &World) -> Vec<(Query, String)> {
        self.queries_of(pod, true, world)
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        let constraints = self.constraints(pod, true, world);
        if constraints.is_empty() {
            return Prepared::Skip;
        }
        let keys: Vec<String> = constraints.iter().map(|one| one.topology_key.clone()).collect();
        let counted = constraints.into_iter().map(|one| {
            let itself = i64::from(one.selector.selects(&pod.labels));
            (Counted::new(one, pod, world, &keys), itself)
        });
        let constraints = counted.collect();
        Prepared::Check(Box::new(SpreadCheck { pod, world, keys, constraints }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone, Event::PodPlaced]
    }
}

/// A preferred constraint as it is rated.
struct Preferred<'a> {
    counted: Counted<'a>,
    /// Pods of the node itself count, by name.
    by_node: Option<&'a HashMap<String, i64>>,
    /// More domains make one pod weigh more.
    weight: f64,
}

impl Preferred<'_> {
    fn score(&self, node: &NodeView) -> f64 {
        let Some(domain) = node.labels.get(&self.counted.constraint.topology_key) else { return 0.0 };
        let count = match self.by_node {
            Some(nodes) => nodes.get(&node.name).copied().unwrap_or_default(),
            None => self.counted.in_domain(domain),
        };
        count as f64 * self.weight + (self.counted.constraint.max_skew - 1) as f64
    }
}

impl Score for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn queries(&self, pod: &PodView, world: &World) -> Vec<(Query, String)> {
        self.queries_of(pod, false, world)
    }

    fn prepare<'a>(
        &'a self,
        pod: &'a PodView,
        world: &'a World,
        feasible: &[&NodeInfo],
    ) -> Option<Rating<'a>> {
        let constraints = self.constraints(pod, false, world);
        if constraints.is_empty() {
            return None;
        }
        let all_keys = !pod.spread.is_empty() || !self.system;
        let keys: Vec<String> = match all_keys {
            true => constraints.iter().map(|one| one.topology_key.clone()).collect(),
            false => Vec::new(),
        };
        let rated: Vec<&NodeView> =
            feasible.iter().map(|info| info.node.as_ref()).filter(|node| has_keys(node, &keys)).collect();
        let preferred = constraints.into_iter().map(|one| {
            let host = one.topology_key == HOSTNAME;
            let size = match host {
                true => rated.len(),
                false => {
                    let domains = rated.iter().filter_map(|node| node.labels.get(&one.topology_key));
                    domains.collect::<HashSet<_>>().len()
                }
            };
            let by_node =
                world.index().answer(&query(pod, &one)).filter(|_| host).map(|answer| &answer.nodes);
            let counted = Counted::new(one, pod, world, &keys);
            Preferred { counted, by_node, weight: ((size + 2) as f64).ln() }
        });
        let preferred: Vec<_> = preferred.collect();
        let score = move |info: &NodeInfo| {
            if !has_keys(&info.node, &keys) {
                return IGNORED;
            }
            preferred.iter().map(|one| one.score(&info.node)).sum::<f64>().round() as i64
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::Even })
    }
}
