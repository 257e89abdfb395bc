//! Pods that must, should, or must not share a node or a domain of nodes with others.
//!
//! Counts come from the index, so that a pod costs as much as there are distinct terms and domains, whatever the
//! number of pods.
use crate::index::{Bond, Counts, Domains, Query};
use crate::node::{NodeInfo, NodeView};
use crate::plugin::{Check, Event, Filter, Normalize, Prepared, Rating, Refusal, Score};
use crate::pod::PodView;
use crate::terms::{Group, Term};
use crate::world::World;
use std::collections::HashMap;

/// `spec.affinity.podAffinity` and `podAntiAffinity`.
#[derive(Clone, Copy, Debug)]
pub struct InterPodAffinity {
    /// How much a placed pod that had to join others likes more of them.
    pub hard_weight: i32,
    /// Preferences of placed pods do not count where the new pod has none itself.
    pub ignore_others: bool,
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        Self { hard_weight: 1, ignore_others: false }
    }
}

const NOT_MATCHED: &str = "node(s) didn't match pod affinity rules";
const REPELLED: &str = "node(s) didn't match pod anti-affinity rules";
const REPELLED_BY_OTHERS: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// Pods that all terms speak of: those that affinity looks for.
fn all_of(terms: &[Term]) -> Query {
    Query { groups: terms.iter().map(|term| term.group.clone()).collect(), living: false }
}

fn one(group: &Group) -> Query {
    Query { groups: vec![group.clone()], living: false }
}

/// Counts of one topology key that the index keeps, and what was changed since for the sake of argument.
struct Overlaid<'a> {
    key: &'a str,
    counted: Option<&'a Domains>,
    changes: Domains,
}

impl<'a> Overlaid<'a> {
    fn new(counts: Option<&'a Counts>, key: &'a str) -> Self {
        Self { key, counted: counts.and_then(|counts| counts.domains(key)), changes: Domains::new() }
    }

    fn in_domain(&self, domain: &str) -> i64 {
        let of = |domains: &Domains| domains.get(domain).copied().unwrap_or_default();
        self.counted.map_or(0, of) + if self.changes.is_empty() { 0 } else { of(&self.changes) }
    }

    fn is_empty(&self) -> bool {
        let counted = self.counted.map_or(0, |domains| domains.values().sum::<i64>());
        counted + self.changes.values().sum::<i64>() == 0
    }

    fn change(&mut self, node: &NodeView, by: i64) {
        if let Some(domain) = node.labels.get(self.key) {
            *self.changes.entry(domain.clone()).or_default() += by;
        }
    }
}

struct AffinityCheck<'a> {
    pod: &'a PodView,
    world: &'a World,
    together: Vec<Overlaid<'a>>,
    apart: Vec<Overlaid<'a>>,
    /// Domains that pods with anti-affinity close: key and counts of each term that concerns the pod.
    closed: Vec<Overlaid<'a>>,
    /// The same for terms that no placed pod has.
    closed_besides: HashMap<(String, String), i64>,
    joins_itself: bool,
}

impl AffinityCheck<'_> {
    fn terms(&self) -> (&[Term], &[Term]) {
        self.pod.terms.as_deref().map_or((&[], &[]), |terms| (&terms.together, &terms.apart))
    }

    fn joins(&self, info: &NodeInfo) -> bool {
        let mut found = true;
        for term in &self.together {
            let Some(domain) = info.node.labels.get(term.key) else { return false };
            found &= term.in_domain(domain) > 0;
        }
        // The first pod of a group that wants to be together has nobody to join yet.
        found || self.joins_itself && self.together.iter().all(Overlaid::is_empty)
    }

    fn meets(&self, info: &NodeInfo) -> bool {
        self.apart
            .iter()
            .any(|term| info.node.labels.get(term.key).is_some_and(|domain| term.in_domain(domain) > 0))
    }

    fn kept_out(&self, info: &NodeInfo) -> bool {
        let labels = &info.node.labels;
        let counted = |term: &Overlaid<'_>| labels.get(term.key).map_or(0, |domain| term.in_domain(domain));
        if self.closed_besides.is_empty() {
            return self.closed.iter().any(|term| counted(term) > 0);
        }
        let besides = |key: &str, domain: &str| {
            self.closed_besides.iter().any(|((k, d), n)| k == key && d == domain && *n > 0)
        };
        self.closed.iter().any(|term| counted(term) > 0)
            || labels.iter().any(|(key, domain)| besides(key, domain))
    }
}

impl Check for AffinityCheck<'_> {
    fn check(&self, info: &NodeInfo) -> Option<Refusal> {
        if !self.joins(info) {
            return Some(Refusal::lasting(NOT_MATCHED));
        }
        if self.meets(info) {
            return Some(Refusal::passing(REPELLED));
        }
        self.kept_out(info).then(|| Refusal::passing(REPELLED_BY_OTHERS))
    }

    fn count(&mut self, pod: &PodView, node: &NodeView, by: i64) {
        let namespaces = self.world.namespaces();
        let (together, apart) = self.terms();
        let joined = !together.is_empty() && together.iter().all(|term| term.group.contains(pod, namespaces));
        let shunned: Vec<bool> = apart.iter().map(|term| term.group.contains(pod, namespaces)).collect();
        if joined {
            self.together.iter_mut().for_each(|term| term.change(node, by));
        }
        let shunned = self.apart.iter_mut().zip(shunned).filter(|(_, concerned)| *concerned);
        shunned.for_each(|(term, _)| term.change(node, by));
        let terms = pod.terms.as_deref().map(|terms| terms.apart.as_slice()).unwrap_or_default();
        for term in terms.iter().filter(|term| term.group.contains(self.pod, namespaces)) {
            let Some(domain) = node.labels.get(&term.topology_key) else { continue };
            // Which of the equal keys takes the change does not matter as long as their sum is looked at: a placed
            // pod's own term is among them.
            let own =
                self.world.index().standing().find(|(bond, known, _)| *bond == Bond::Apart && *known == term);
            let known = own.and_then(|(_, _, counted)| {
                let same =
                    |closed: &&mut Overlaid<'_>| closed.counted.is_some_and(|c| std::ptr::eq(c, counted));
                self.closed.iter_mut().find(same)
            });
            match known {
                Some(closed) => closed.change(node, by),
                None => {
                    *self.closed_besides.entry((term.topology_key.clone(), domain.clone())).or_default() +=
                        by;
                }
            }
        }
    }
}

impl Filter for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn queries(&self, pod: &PodView, _: &World) -> Vec<(Query, String)> {
        let Some(terms) = pod.terms.as_deref() else { return Vec::new() };
        let together = terms.together.iter().map(|term| (all_of(&terms.together), term.topology_key.clone()));
        let apart = terms.apart.iter().map(|term| (one(&term.group), term.topology_key.clone()));
        together.chain(apart).collect()
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        let (together, apart): (&[Term], &[Term]) =
            pod.terms.as_deref().map_or((&[], &[]), |terms| (&terms.together, &terms.apart));
        let (index, namespaces) = (world.index(), world.namespaces());
        let standing = index
            .standing()
            .filter(|(bond, term, _)| *bond == Bond::Apart && term.group.contains(pod, namespaces));
        let closed: Vec<_> = standing
            .map(|(_, term, counted)| Overlaid {
                key: &term.topology_key,
                counted: Some(counted),
                changes: Domains::new(),
            })
            .collect();
        if together.is_empty() && apart.is_empty() && closed.is_empty() && world.nominated.is_empty() {
            return Prepared::Skip;
        }
        let joined = index.answer(&all_of(together));
        Prepared::Check(Box::new(AffinityCheck {
            together: together.iter().map(|term| Overlaid::new(joined, &term.topology_key)).collect(),
            apart: apart
                .iter()
                .map(|term| Overlaid::new(index.answer(&one(&term.group)), &term.topology_key))
                .collect(),
            closed,
            closed_besides: HashMap::new(),
            joins_itself: together.iter().all(|term| term.group.contains(pod, namespaces)),
            pod,
            world,
        }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone, Event::PodPlaced, Event::Namespace]
    }
}

impl Score for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn queries(&self, pod: &PodView, _: &World) -> Vec<(Query, String)> {
        let preferred = pod.terms.iter().flat_map(|terms| &terms.preferred);
        preferred.map(|(_, term)| (one(&term.group), term.topology_key.clone())).collect()
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World, _: &[&NodeInfo]) -> Option<Rating<'a>> {
        let preferred: &[(i32, Term)] =
            pod.terms.as_deref().map(|terms| terms.preferred.as_slice()).unwrap_or_default();
        let mut weighted: Vec<(&str, i64, &Domains)> = Vec::new();
        for (weight, term) in preferred {
            let counted = world.index().answer(&one(&term.group));
            if let Some(domains) = counted.and_then(|counts| counts.domains(&term.topology_key)) {
                weighted.push((&term.topology_key, i64::from(*weight), domains));
            }
        }
        if !(preferred.is_empty() && self.ignore_others) {
            for (bond, term, domains) in world.index().standing() {
                let weight = match bond {
                    Bond::Apart => continue,
                    Bond::Together => self.hard_weight,
                    Bond::Liking(weight) => weight,
                };
                if weight != 0 && term.group.contains(pod, world.namespaces()) {
                    weighted.push((&term.topology_key, i64::from(weight), domains));
                }
            }
        }
        weighted.retain(|(_, _, domains)| !domains.is_empty());
        if weighted.is_empty() {
            return None;
        }
        let score = move |info: &NodeInfo| {
            let counted = weighted.iter().map(|(key, weight, domains)| {
                let domain = info.node.labels.get(*key);
                weight * domain.and_then(|domain| domains.get(domain)).copied().unwrap_or_default()
            });
            counted.sum()
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::Range })
    }
}
