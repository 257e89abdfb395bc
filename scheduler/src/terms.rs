//! What a pod says of its place among other pods: affinity terms and spread constraints, compiled.
//!
//! Source: KEP-2249 (namespace selectors), KEP-3633 (match label keys of affinity), KEP-895, KEP-3022, KEP-3094 and
//! KEP-3243 (topology spread).
use crate::pod::PodView;
use crate::selector::{Operator, Selector};
use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, TopologySpreadConstraint};
use std::collections::{BTreeMap, BTreeSet, HashMap};

type Labels = BTreeMap<String, String>;
/// Labels of namespaces, by name.
pub type Namespaces = HashMap<String, Labels>;

/// A set of pods: by namespace and label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// Namespaces by label, besides those by name.
    pub namespace_selector: Option<Selector>,
    /// Pods by label.
    pub selector: Selector,
}

impl Group {
    /// Pods of one namespace.
    pub fn within(namespace: &str, selector: Selector) -> Self {
        Self { namespaces: BTreeSet::from([namespace.to_owned()]), namespace_selector: None, selector }
    }

    /// Whether the pod belongs to the set.
    pub fn contains(&self, pod: &PodView, namespaces: &Namespaces) -> bool {
        let namespace = &pod.key.namespace;
        let by_label = |selector: &Selector| {
            selector.is_empty() || namespaces.get(namespace).is_some_and(|labels| selector.selects(labels))
        };
        (self.namespaces.contains(namespace) || self.namespace_selector.as_ref().is_some_and(by_label))
            && self.selector.selects(&pod.labels)
    }
}

/// A set of pods and the kind of domain that is shared with them or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The pods it speaks of.
    pub group: Group,
    /// The label whose value names a node's domain.
    pub topology_key: String,
}

impl Term {
    fn new(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut selector = Selector::new(term.label_selector.as_ref());
        merge_keys(&mut selector, &term.match_label_keys, Operator::In, labels);
        merge_keys(&mut selector, &term.mismatch_label_keys, Operator::NotIn, labels);
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let by_label = term.namespace_selector.as_ref();
        let namespace_selector = by_label.map(|selector| Selector::new(Some(selector)));
        let group = Group { namespaces, namespace_selector, selector };
        Self { group, topology_key: term.topology_key.clone() }
    }
}

/// The pod's own values of the keys become requirements.
fn merge_keys(selector: &mut Selector, keys: &Option<Vec<String>>, operator: Operator, labels: &Labels) {
    for key in keys.iter().flatten() {
        if let Some(value) = labels.get(key) {
            selector.require(key, operator, vec![value.clone()]);
        }
    }
}

/// The terms of `spec.affinity.podAffinity` and `podAntiAffinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTerms {
    /// Domains must hold pods of all of these.
    pub together: Vec<Term>,
    /// Domains must hold pods of none of these.
    pub apart: Vec<Term>,
    /// Domains with such pods are better by the weight, or worse where it is negative.
    pub preferred: Vec<(i32, Term)>,
}

impl PodTerms {
    /// The terms of a pod with that namespace and these labels; none where it has none.
    pub fn new(affinity: &Affinity, namespace: &str, labels: &Labels) -> Option<Box<Self>> {
        let mut terms = Self::default();
        let compile = |term: &PodAffinityTerm| Term::new(term, namespace, labels);
        if let Some(join) = &affinity.pod_affinity {
            let required = join.required_during_scheduling_ignored_during_execution.iter().flatten();
            terms.together.extend(required.map(compile));
            let preferred = join.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.preferred.extend(preferred.map(|term| (term.weight, compile(&term.pod_affinity_term))));
        }
        if let Some(shun) = &affinity.pod_anti_affinity {
            let required = shun.required_during_scheduling_ignored_during_execution.iter().flatten();
            terms.apart.extend(required.map(compile));
            let preferred = shun.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.preferred.extend(preferred.map(|term| (-term.weight, compile(&term.pod_affinity_term))));
        }
        (terms != Self::default()).then(|| Box::new(terms))
    }
}

/// One of `spec.topologySpreadConstraints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// By how many pods a domain may exceed the emptiest one.
    pub max_skew: i64,
    /// Domains there must be before the emptiest counts more than nothing.
    pub min_domains: usize,
    /// The label whose value names a node's domain.
    pub topology_key: String,
    /// Required, not just preferred.
    pub hard: bool,
    /// The pods that are counted.
    pub selector: Selector,
    /// Only nodes count that the pod's node selector and affinity admit.
    pub honor_affinity: bool,
    /// Only nodes count whose taints the pod tolerates.
    pub honor_taints: bool,
}

impl Spread {
    /// A constraint of a pod with these labels.
    pub fn new(constraint: &TopologySpreadConstraint, labels: &Labels) -> Self {
        let honored = |policy: &Option<String>, default: bool| {
            policy.as_deref().map_or(default, |policy| policy == "Honor")
        };
        let mut selector = Selector::new(constraint.label_selector.as_ref());
        merge_keys(&mut selector, &constraint.match_label_keys, Operator::In, labels);
        Self {
            max_skew: i64::from(constraint.max_skew),
            min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            topology_key: constraint.topology_key.clone(),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            selector,
            honor_affinity: honored(&constraint.node_affinity_policy, true),
            honor_taints: honored(&constraint.node_taints_policy, false),
        }
    }
}
