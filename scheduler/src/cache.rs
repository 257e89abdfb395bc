//! Nodes with the pods that run or are assumed to run on them, kept current by events.
use crate::node::NodeView;
use crate::pod::PodView;
use crate::world::World;
use knarr_component::store::Key;
use std::collections::HashMap;
use std::sync::Arc;

/// The state that scheduling decisions are made on.
#[derive(Default)]
pub struct Cache {
    world: World,
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
    /// What decisions are made on.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// As [`Self::world`], for what is neither node nor pod and for decisions that ask for counts.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// How many nodes there are, pods on them, and pods that are only assumed to be there.
    pub fn sizes(&self) -> [usize; 3] {
        let assumed = self.placed.values().filter(|placed| placed.assumed).count();
        [self.world.nodes().len(), self.placed.len(), assumed]
    }

    /// A node appeared or changed.
    pub fn set_node(&mut self, node: Arc<NodeView>) {
        let name = node.name.clone();
        self.world.set_node(node);
        for pod in self.strays.remove(&name).unwrap_or_default() {
            self.place(&pod, false);
        }
    }

    /// A node is gone; its pods are still there until the API says otherwise.
    pub fn remove_node(&mut self, name: &str) {
        let pods = self.world.remove_node(name);
        if !pods.is_empty() {
            self.strays.entry(name.to_owned()).or_default().extend(pods);
        }
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
        self.world.nominated.remove(&pod.key);
        self.forget(&pod.key);
    }

    /// Counts a pod against a node before the API server knows.
    pub fn assume(&mut self, pod: &PodView, node: &str) {
        self.world.nominated.remove(&pod.key);
        let pod = Arc::new(PodView { node: node.to_owned(), ..pod.clone() });
        self.place(&pod, true);
    }

    /// A binding failed: the pod no longer counts, unless it has been seen bound meanwhile.
    pub fn unassume(&mut self, key: &Key) {
        if self.placed.get(key).is_some_and(|placed| placed.assumed) {
            self.forget(key);
        }
    }

    /// Notes the node on which a waiting pod was promised room, by its status (and `before`, the status known before)
    /// or by a decision that its status does not show yet; whether room became free by that.
    pub fn promised(&mut self, pod: &Arc<PodView>, before: &str) -> bool {
        let nominated = &mut self.world.nominated;
        if !pod.nominated.is_empty() {
            nominated.set(Arc::clone(pod), &pod.nominated);
        } else if !before.is_empty() {
            return nominated.remove(&pod.key);
        } else if let Some(node) = nominated.node_of(&pod.key).map(str::to_owned) {
            nominated.set(Arc::clone(pod), &node);
        }
        false
    }

    /// Whether the pod is assumed or known to be on a node.
    pub fn is_placed(&self, pod: &PodView) -> bool {
        self.placed.get(&pod.key).is_some_and(|placed| placed.uid == pod.uid)
    }

    fn place(&mut self, pod: &Arc<PodView>, assumed: bool) {
        let placed = Placed { node: pod.node.clone(), uid: pod.uid.clone(), assumed };
        self.placed.insert(pod.key.clone(), placed);
        if !self.world.add_pod(pod) {
            self.strays.entry(pod.node.clone()).or_default().push(Arc::clone(pod));
        }
    }

    fn forget(&mut self, key: &Key) {
        let Some(placed) = self.placed.remove(key) else { return };
        if self.world.remove_pod(&placed.node, key) {
            return;
        }
        if let Some(strays) = self.strays.get_mut(&placed.node) {
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
        cache.world().nodes()[node].requested.milli_cpu
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
