//! Nodes with the pods that run or are assumed to run on them, kept current by events.
use crate::node::{NodeInfo, NodeView};
use crate::pod::PodView;
use knarr_component::store::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The state that scheduling decisions are made on.
#[derive(Default)]
pub struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    /// Where each counted pod is counted; assumed pods too.
    placed: HashMap<Key, Placed>,
    /// Pods whose node is not known (yet).
    strays: HashMap<String, Vec<Arc<PodView>>>,
}

struct Placed {
    node: String,
    uid: String,
    assumed: bool,
}

impl Cache {
    /// All nodes, by name.
    pub fn nodes(&self) -> &BTreeMap<String, NodeInfo> {
        &self.nodes
    }

    /// A node appeared or changed.
    pub fn set_node(&mut self, node: Arc<NodeView>) {
        let name = node.name.clone();
        self.nodes.entry(name.clone()).or_default().node = node;
        for pod in self.strays.remove(&name).unwrap_or_default() {
            self.place(&pod, false);
        }
    }

    /// A node is gone; its pods are still there until the API says otherwise.
    pub fn remove_node(&mut self, name: &str) {
        let Some(info) = self.nodes.remove(name) else { return };
        self.strays.entry(name.to_owned()).or_default().extend(info.pods.into_values());
    }

    /// A pod was seen as it is now; one that is assumed stays where it is assumed until it is seen bound.
    pub fn set_pod(&mut self, pod: &Arc<PodView>) {
        if let Some(placed) = self.placed.get(&pod.key)
            && placed.assumed
            && placed.uid == pod.uid
            && !pod.finished
            && pod.node.is_empty()
        {
            return;
        }
        self.forget(&pod.key);
        if pod.occupies() {
            self.place(pod, false);
        }
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, pod: &PodView) {
        self.forget(&pod.key);
    }

    /// Counts a pod against a node before the API server knows.
    pub fn assume(&mut self, pod: &PodView, node: &str) {
        let pod = Arc::new(PodView { node: node.to_owned(), ..pod.clone() });
        self.place(&pod, true);
    }

    /// A binding failed: the pod no longer counts, unless it has been seen bound meanwhile.
    pub fn unassume(&mut self, key: &Key) {
        if self.placed.get(key).is_some_and(|placed| placed.assumed) {
            self.forget(key);
        }
    }

    /// Whether the pod is assumed or known to be on a node.
    pub fn is_placed(&self, pod: &PodView) -> bool {
        self.placed.get(&pod.key).is_some_and(|placed| placed.uid == pod.uid)
    }

    fn place(&mut self, pod: &Arc<PodView>, assumed: bool) {
        let placed = Placed { node: pod.node.clone(), uid: pod.uid.clone(), assumed };
        self.placed.insert(pod.key.clone(), placed);
        match self.nodes.get_mut(&pod.node) {
            Some(info) => info.add(pod),
            None => self.strays.entry(pod.node.clone()).or_default().push(Arc::clone(pod)),
        }
    }

    fn forget(&mut self, key: &Key) {
        let Some(placed) = self.placed.remove(key) else { return };
        if let Some(info) = self.nodes.get_mut(&placed.node) {
            if let Some(pod) = info.pods.get(key).cloned() {
                info.remove(&pod);
            }
        } else if let Some(strays) = self.strays.get_mut(&placed.node) {
            strays.retain(|pod| pod.key != *key);
            if strays.is_empty() {
                self.strays.remove(&placed.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Resources;

    fn pod(name: &str, node: &str, milli_cpu: i64) -> Arc<PodView> {
        let requests = Resources { milli_cpu, ..Resources::default() };
        let (key, uid) = (Key::new("default", name), name.to_owned());
        Arc::new(PodView { key, uid, node: node.to_owned(), requests, ..PodView::default() })
    }

    fn node(name: &str) -> Arc<NodeView> {
        Arc::new(NodeView { name: name.to_owned(), ..NodeView::default() })
    }

    fn used(cache: &Cache, node: &str) -> i64 {
        cache.nodes()[node].requested.milli_cpu
    }

    #[test]
    fn an_assumed_pod_counts_once() {
        let mut cache = Cache::default();
        cache.set_node(node("n"));
        cache.assume(&pod("a", "", 100), "n");
        assert_eq!(used(&cache, "n"), 100);
        cache.set_pod(&pod("a", "", 100)); // a change of the still unbound pod
        assert_eq!(used(&cache, "n"), 100);
        cache.set_pod(&pod("a", "n", 100)); // the binding is seen
        assert_eq!(used(&cache, "n"), 100);
        cache.unassume(&Key::new("default", "a")); // a late failure changes nothing
        assert_eq!(used(&cache, "n"), 100);
        cache.remove_pod(&pod("a", "n", 100));
        assert_eq!(used(&cache, "n"), 0);
    }

    #[test]
    fn pods_may_be_seen_before_their_node() {
        let mut cache = Cache::default();
        cache.set_pod(&pod("a", "n", 100));
        cache.set_node(node("n"));
        assert_eq!(used(&cache, "n"), 100);
        cache.remove_node("n");
        cache.remove_pod(&pod("a", "n", 100));
        cache.set_node(node("n"));
        assert_eq!(used(&cache, "n"), 0);
    }
}
