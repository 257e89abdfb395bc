//! The world that plugins see: nodes with their pods, counts over them, and the other objects that matter for a
//! pod's place.
use crate::devices::Devices;
use crate::index::{Index, Query};
use crate::node::{NodeInfo, NodeView};
use crate::pod::PodView;
use crate::selector::Selector;
use crate::storage::Storage;
use crate::terms::Namespaces;
use knarr_component::store::Key;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All nodes, by name.
pub type Nodes = BTreeMap<String, NodeInfo>;

/// A disruption budget.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// The pods it protects.
    pub selector: Selector,
    /// How many of them may still be disrupted.
    pub allowed: i64,
    /// Pods whose disruption is counted already.
    pub disrupted: BTreeSet<String>,
}

/// Pods that were promised room on a node, which is being made.
#[derive(Debug, Default)]
pub struct Nominated {
    nodes: HashMap<String, HashMap<Key, Arc<PodView>>>,
    pods: HashMap<Key, String>,
    /// Pods that must leave before the promised room is there, with their uids.
    victims: HashMap<Key, Vec<(Key, String)>>,
}

impl Nominated {
    /// Promises room on the node, in place of an earlier promise.
    pub fn set(&mut self, pod: Arc<PodView>, node: &str) {
        self.unlink(&pod.key);
        self.pods.insert(pod.key.clone(), node.to_owned());
        self.nodes.entry(node.to_owned()).or_default().insert(pod.key.clone(), pod);
    }

    /// Takes a promise back; whether there was one.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.victims.remove(key);
        self.unlink(key)
    }

    /// Notes who makes the room that the pod was promised.
    pub fn made_by(&mut self, key: &Key, victims: &[Arc<PodView>]) {
        let victims = victims.iter().map(|victim| (victim.key.clone(), victim.uid.clone()));
        self.victims.insert(key.clone(), victims.collect());
    }

    /// Whether the pod waits for this one to leave, be it that its deletion was not seen yet.
    pub fn waits_for(&self, key: &Key, other: &PodView) -> bool {
        let victims = self.victims.get(key).into_iter().flatten();
        victims.into_iter().any(|(victim, uid)| *victim == other.key && *uid == other.uid)
    }

    fn unlink(&mut self, key: &Key) -> bool {
        let Some(node) = self.pods.remove(key) else { return false };
        if let Some(pods) = self.nodes.get_mut(&node) {
            pods.remove(key);
            if pods.is_empty() {
                self.nodes.remove(&node);
            }
        }
        true
    }

    /// The node on which the pod was promised room.
    pub fn node_of(&self, key: &Key) -> Option<&str> {
        self.pods.get(key).map(String::as_str)
    }

    /// Nobody was promised anything.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Pods that were promised room on the node.
    pub fn on(&self, node: &str) -> impl Iterator<Item = &Arc<PodView>> {
        self.nodes.get(node).into_iter().flat_map(HashMap::values)
    }
}

/// Selectors of Services and workloads, for the default spread constraints: by namespace and name.
pub type Selectors = BTreeMap<Key, Selector>;

/// Everything a decision is made on.
#[derive(Default)]
pub struct World {
    nodes: Nodes,
    index: Index,
    namespaces: Namespaces,
    /// Placed pods by the claims that they use.
    claim_users: HashMap<Key, i64>,
    /// Promised room.
    pub nominated: Nominated,
    /// Disruption budgets.
    pub budgets: HashMap<Key, Budget>,
    /// Claims, volumes and what nodes can attach.
    pub storage: Storage,
    /// Devices and the claims on them.
    pub devices: Devices,
    /// Selectors of Services.
    pub services: Selectors,
    /// Selectors of ReplicationControllers, ReplicaSets and StatefulSets, by kind.
    pub workloads: HashMap<&'static str, Selectors>,
}

impl World {
    /// All nodes, by name.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Counts of pods.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Labels of namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Makes sure that the query is counted by that topology key.
    pub fn ask(&mut self, query: Query, key: &str) {
        self.index.ask(query, key, &self.nodes, &self.namespaces);
    }

    /// A node appeared or changed.
    pub fn set_node(&mut self, node: Arc<NodeView>) {
        let info = self.nodes.entry(node.name.clone()).or_default();
        let known = !info.node.name.is_empty();
        if known && info.node.labels == node.labels {
            info.node = node;
            return;
        }
        for pod in info.pods.values() {
            self.index.pod(pod, &info.node, &self.namespaces, -1);
            self.index.pod(pod, &node, &self.namespaces, 1);
        }
        if known {
            self.index.node(&info.node, -1);
        }
        self.index.node(&node, 1);
        info.node = node;
    }

    /// A node is gone; the pods that were counted there are returned.
    pub fn remove_node(&mut self, name: &str) -> Vec<Arc<PodView>> {
        let Some(info) = self.nodes.remove(name) else { return Vec::new() };
        for pod in info.pods.values() {
            self.index.pod(pod, &info.node, &self.namespaces, -1);
            self.count_claims(pod, -1);
        }
        self.index.node(&info.node, -1);
        info.pods.into_values().collect()
    }

    /// Counts a pod on its node; false when the node is not known.
    pub fn add_pod(&mut self, pod: &Arc<PodView>) -> bool {
        if !self.remove_pod(&pod.node, &pod.key) {
            return false;
        }
        self.count_claims(pod, 1);
        let Some(info) = self.nodes.get_mut(&pod.node) else { return false };
        info.add(pod);
        self.index.pod(pod, &info.node, &self.namespaces, 1);
        true
    }

    /// Stops counting a pod; false when the node is not known.
    pub fn remove_pod(&mut self, node: &str, key: &Key) -> bool {
        let Some(info) = self.nodes.get_mut(node) else { return false };
        if let Some(pod) = info.pods.get(key).cloned() {
            info.remove(&pod);
            self.index.pod(&pod, &info.node, &self.namespaces, -1);
            self.count_claims(&pod, -1);
        }
        true
    }

    /// How many placed pods use the claim.
    pub fn claim_users(&self, claim: &Key) -> i64 {
        self.claim_users.get(claim).copied().unwrap_or_default()
    }

    fn count_claims(&mut self, pod: &PodView, by: i64) {
        for (name, _) in &pod.claims {
            let key = Key::new(pod.key.namespace.clone(), name.clone());
            let users = self.claim_users.entry(key.clone()).or_default();
            *users += by;
            if *users == 0 {
                self.claim_users.remove(&key);
            }
        }
    }

    /// Labels of a namespace; none when it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) {
        let changed = self.namespaces.get(name) != labels.as_ref();
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        if changed {
            self.index.namespaces_changed();
        }
    }
}
