//! Counts of pods by node and by domain, kept current with every pod that comes or goes, so that affinity and
//! spreading cost a pod what its domains cost, not what all pods cost.
//!
//! Two kinds of counts: answers to [`Query`]s that pods asked (counted once, then kept current while they are asked
//! again), and the affinity terms of placed pods, equal ones counted together.
use crate::node::{NodeInfo, NodeView};
use crate::pod::PodView;
use crate::terms::{Group, Namespaces, Term};
use std::collections::{BTreeMap, HashMap};

/// Queries that are kept current; the one that was not asked for the longest time goes first.
const MAX_QUERIES: usize = 256;

/// Pods by domain of one topology key.
pub type Domains = HashMap<String, i64>;

/// Which pods are counted: those that belong to all of the groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The groups.
    pub groups: Vec<Group>,
    /// Pods that are being deleted do not count.
    pub living: bool,
}

impl Query {
    /// Whether the pod counts.
    pub fn counts(&self, pod: &PodView, namespaces: &Namespaces) -> bool {
        !(self.living && pod.deleting) && self.groups.iter().all(|group| group.contains(pod, namespaces))
    }
}

/// What a placed pod wants of pods that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bond {
    /// They must stay out of its domain.
    Apart,
    /// It had to join them; they count as liked.
    Together,
    /// It likes them by that much, or dislikes them.
    Liking(i32),
}

/// The answer to a query.
#[derive(Debug, Default)]
pub struct Counts {
    /// Pods by node; nodes without any are absent.
    pub nodes: HashMap<String, i64>,
    keys: HashMap<String, Domains>,
    used: u64,
}

impl Counts {
    /// Pods by domain of a key that was asked for; domains without any are absent.
    pub fn domains(&self, key: &str) -> Option<&Domains> {
        self.keys.get(key)
    }

    fn change(&mut self, node: &NodeView, by: i64) {
        change(&mut self.nodes, &node.name, by);
        for (key, domains) in &mut self.keys {
            if let Some(domain) = node.labels.get(key) {
                change(domains, domain, by);
            }
        }
    }
}

/// All counts.
#[derive(Debug, Default)]
pub struct Index {
    queries: HashMap<Query, Counts>,
    standing: HashMap<(Bond, Term), Domains>,
    /// For each key that was asked for: how many nodes each domain has.
    domains: HashMap<String, Domains>,
    clock: u64,
}

impl Index {
    /// The answer to a query that was asked by [`Self::ask`].
    pub fn answer(&self, query: &Query) -> Option<&Counts> {
        self.queries.get(query)
    }

    /// Nodes by domain of a key that was asked for.
    pub fn domains(&self, key: &str) -> Option<&Domains> {
        self.domains.get(key)
    }

    /// The terms of placed pods with the domains in which they hold.
    pub fn standing(&self) -> impl Iterator<Item = (Bond, &Term, &Domains)> {
        self.standing.iter().map(|((bond, term), domains)| (*bond, term, domains))
    }

    /// Makes sure that the query is counted, by that topology key too.
    pub fn ask(
        &mut self,
        query: Query,
        key: &str,
        nodes: &BTreeMap<String, NodeInfo>,
        namespaces: &Namespaces,
    ) {
        self.clock += 1;
        if !self.domains.contains_key(key) {
            let mut domains = Domains::new();
            for domain in nodes.values().filter_map(|info| info.node.labels.get(key)) {
                change(&mut domains, domain, 1);
            }
            self.domains.insert(key.to_owned(), domains);
        }
        if let Some(counts) = self.queries.get_mut(&query) {
            counts.used = self.clock;
            if !counts.keys.contains_key(key) {
                counts.keys.insert(key.to_owned(), by_domain(&counts.nodes, key, nodes));
            }
            return;
        }
        self.evict();
        let mut counts = Counts { used: self.clock, ..Counts::default() };
        for (name, info) in nodes {
            let pods = info.pods.values().filter(|pod| query.counts(pod, namespaces)).count();
            change(&mut counts.nodes, name, pods as i64);
        }
        counts.keys.insert(key.to_owned(), by_domain(&counts.nodes, key, nodes));
        self.queries.insert(query, counts);
    }

    fn evict(&mut self) {
        if self.queries.len() < MAX_QUERIES {
            return;
        }
        let oldest = self.queries.iter().min_by_key(|(_, counts)| counts.used);
        if let Some(oldest) = oldest.map(|(query, _)| query.clone()) {
            self.queries.remove(&oldest);
        }
    }

    /// A pod came to the node (`by` is 1) or left it (-1).
    pub fn pod(&mut self, pod: &PodView, node: &NodeView, namespaces: &Namespaces, by: i64) {
        for (query, counts) in &mut self.queries {
            if query.counts(pod, namespaces) {
                counts.change(node, by);
            }
        }
        let Some(terms) = pod.terms.as_deref() else { return };
        let apart = terms.apart.iter().map(|term| (Bond::Apart, term));
        let together = terms.together.iter().map(|term| (Bond::Together, term));
        let liking = terms.preferred.iter().map(|(weight, term)| (Bond::Liking(*weight), term));
        for (bond, term) in apart.chain(together).chain(liking) {
            let Some(domain) = node.labels.get(&term.topology_key) else { continue };
            let entry = (bond, term.clone());
            let domains = self.standing.entry(entry.clone()).or_default();
            change(domains, domain, by);
            if domains.is_empty() {
                self.standing.remove(&entry);
            }
        }
    }

    /// A node came (`by` is 1) or went (-1), without its pods.
    pub fn node(&mut self, node: &NodeView, by: i64) {
        for (key, domains) in &mut self.domains {
            if let Some(domain) = node.labels.get(key) {
                change(domains, domain, by);
            }
        }
    }

    /// Labels of namespaces changed: queries that select by them must be counted anew.
    pub fn namespaces_changed(&mut self) {
        self.queries.retain(|query, _| query.groups.iter().all(|group| group.namespace_selector.is_none()));
    }
}

fn by_domain(pods: &HashMap<String, i64>, key: &str, nodes: &BTreeMap<String, NodeInfo>) -> Domains {
    let mut domains = Domains::new();
    for (name, count) in pods {
        if let Some(domain) = nodes.get(name).and_then(|info| info.node.labels.get(key)) {
            change(&mut domains, domain, *count);
        }
    }
    domains
}

/// Changes a count; those that become zero are dropped.
fn change(counts: &mut HashMap<String, i64>, name: &str, by: i64) {
    if by == 0 {
        return;
    }
    match counts.get_mut(name) {
        Some(count) => {
            *count += by;
            if *count == 0 {
                counts.remove(name);
            }
        }
        None => {
            counts.insert(name.to_owned(), by);
        }
    }
}

#[cfg(test)]
mod tests;
