//! Pods that must, or must not, share a node or a domain of nodes with others.
//!
//! Namespaces are those of the term, or the pod's own. A term with a namespace selector needs the labels of
//! namespaces: an empty selector means all of them, any other is refused by name until namespaces are watched.
use super::selector::selects;
use crate::node::NodeInfo;
use crate::plugin::{Check, Event, Filter, Nodes, Reason};
use crate::pod::PodView;
use k8s_openapi::api::core::v1::PodAffinityTerm;
use std::collections::HashSet;

/// `spec.affinity.podAffinity` and `podAntiAffinity`, what is required of them.
pub struct InterPodAffinity;

const NOT_MATCHED: &str = "node(s) didn't match pod affinity rules";
const REPELLED: &str = "node(s) didn't match pod anti-affinity rules";
const REPELLED_BY_OTHERS: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

fn terms(pod: &PodView, anti: bool) -> &[PodAffinityTerm] {
    let Some(affinity) = pod.affinity.as_deref() else { return &[] };
    let required = if anti {
        affinity.pod_anti_affinity.as_ref().map(|a| &a.required_during_scheduling_ignored_during_execution)
    } else {
        affinity.pod_affinity.as_ref().map(|a| &a.required_during_scheduling_ignored_during_execution)
    };
    required.and_then(|terms| terms.as_deref()).unwrap_or_default()
}

/// Whether `term` of `owner` speaks of `other`.
fn concerns(term: &PodAffinityTerm, owner: &PodView, other: &PodView) -> bool {
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let everywhere = term.namespace_selector.as_ref().is_some_and(|selector| {
        selector.match_labels.iter().flatten().next().is_none()
            && selector.match_expressions.iter().flatten().next().is_none()
    });
    let own = listed.is_empty() && term.namespace_selector.is_none();
    let namespace = &other.key.namespace;
    let in_namespace = everywhere || listed.contains(namespace) || own && *namespace == owner.key.namespace;
    in_namespace && selects(term.label_selector.as_ref(), &other.labels) && keys_agree(term, owner, other)
}

/// `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633).
fn keys_agree(term: &PodAffinityTerm, owner: &PodView, other: &PodView) -> bool {
    let present = |keys: &Option<Vec<String>>| {
        let keys = keys.iter().flatten().filter(|key| owner.labels.contains_key(*key));
        keys.cloned().collect::<Vec<_>>()
    };
    let equal = |key: &String| owner.labels.get(key) == other.labels.get(key);
    present(&term.match_label_keys).iter().all(equal) && !present(&term.mismatch_label_keys).iter().any(equal)
}

/// Domains (values of the term's topology key) that hold a pod the term speaks of.
fn domains<'a>(term: &PodAffinityTerm, owner: &PodView, nodes: &'a Nodes) -> HashSet<&'a str> {
    let holding = nodes.values().filter(|info| info.pods.values().any(|other| concerns(term, owner, other)));
    holding.filter_map(|info| info.node.labels.get(&term.topology_key).map(String::as_str)).collect()
}

/// Topology key and value of every domain that an existing pod keeps this one out of.
fn closed<'a>(pod: &PodView, nodes: &'a Nodes) -> HashSet<(&'a str, &'a str)> {
    let mut closed = HashSet::new();
    for info in nodes.values().filter(|info| info.repelling > 0) {
        for other in info.pods.values() {
            for term in terms(other, true).iter().filter(|term| concerns(term, other, pod)) {
                let key = term.topology_key.as_str();
                closed.extend(info.node.labels.get(key).map(|value| (key, value.as_str())));
            }
        }
    }
    closed
}

impl Filter for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn prepare<'a>(&self, pod: &'a PodView, nodes: &'a Nodes) -> Option<Check<'a>> {
        let wanted: Vec<_> = terms(pod, false).iter().map(|term| (term, domains(term, pod, nodes))).collect();
        let shunned: Vec<_> = terms(pod, true).iter().map(|term| (term, domains(term, pod, nodes))).collect();
        let closed = closed(pod, nodes);
        if wanted.is_empty() && shunned.is_empty() && closed.is_empty() {
            return None;
        }
        // The first pod of a group that wants to be together has nobody to join yet.
        let first = wanted.iter().all(|(term, domains)| domains.is_empty() && concerns(term, pod, pod));
        Some(Box::new(move |info| {
            let domain =
                |term: &PodAffinityTerm| info.node.labels.get(&term.topology_key).map(String::as_str);
            let joins = wanted
                .iter()
                .all(|(term, domains)| domain(term).is_some_and(|domain| first || domains.contains(domain)));
            let meets =
                shunned.iter().any(|(term, domains)| domain(term).is_some_and(|d| domains.contains(d)));
            let kept_out = closed.iter().any(|(key, value)| has_label(info, key, value));
            reasons(joins, meets, kept_out)
        }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone, Event::PodPlaced]
    }
}

fn has_label(info: &NodeInfo, key: &str, value: &str) -> bool {
    info.node.labels.get(key).is_some_and(|found| found == value)
}

fn reasons(joins: bool, meets: bool, kept_out: bool) -> Vec<Reason> {
    match (joins, meets, kept_out) {
        (false, _, _) => vec![NOT_MATCHED.into()],
        (true, true, _) => vec![REPELLED.into()],
        (true, false, true) => vec![REPELLED_BY_OTHERS.into()],
        (true, false, false) => Vec::new(),
    }
}
