//! A node as the scheduler sees it, with the sum of what runs or is assumed to run there.
use crate::pod::{HostPort, PodView};
use crate::resources::Resources;
use k8s_openapi::api::core::v1::{Node, Taint};
use knarr_component::store::{Key, Object};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What scheduling needs to know of a node object.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// What pods may use in all.
    pub allocatable: Resources,
    /// Pods it can run.
    pub max_pods: i64,
    /// Sizes of the images it holds, in bytes, by name.
    pub images: HashMap<String, i64>,
    /// Features that its kubelet declares.
    pub features: Vec<String>,
}

impl NodeView {
    /// The view of a node.
    pub fn new(node: Node) -> Self {
        let spec = node.spec.unwrap_or_default();
        let status = node.status.unwrap_or_default();
        let allocatable = status.allocatable.unwrap_or_default();
        let pods =
            allocatable.get("pods").and_then(|pods| pods.0.parse::<knarr_api::quantity::Quantity>().ok());
        let mut images = HashMap::new();
        for image in status.images.unwrap_or_default() {
            for name in image.names.unwrap_or_default() {
                images.insert(name, image.size_bytes.unwrap_or_default());
            }
        }
        Self {
            name: node.metadata.name.unwrap_or_default(),
            uid: node.metadata.uid.unwrap_or_default(),
            resource_version: node.metadata.resource_version.unwrap_or_default(),
            labels: node.metadata.labels.unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
            allocatable: Resources::from_list(&allocatable),
            max_pods: pods.map(|pods| pods.value()).unwrap_or_default(),
            images,
            features: status.declared_features.unwrap_or_default(),
        }
    }
}

impl Object for NodeView {
    fn key(&self) -> Key {
        Key::new("", self.name.clone())
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

/// A node and what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node itself.
    pub node: Arc<NodeView>,
    /// Pods that run or are assumed to run here.
    pub pods: HashMap<Key, Arc<PodView>>,
    /// Sum of their requests.
    pub requested: Resources,
    /// Sum of their requests for scoring.
    pub score_requested: (i64, i64),
    /// Node ports that are taken.
    pub ports: Vec<HostPort>,
}

impl NodeInfo {
    /// Counts a pod.
    pub fn add(&mut self, pod: &Arc<PodView>) {
        if let Some(before) = self.pods.get(&pod.key).cloned() {
            self.remove(&before);
        }
        self.requested.add(&pod.requests);
        self.score_requested.0 += pod.score_requests.0;
        self.score_requested.1 += pod.score_requests.1;
        self.ports.extend(pod.host_ports.iter().cloned());
        self.pods.insert(pod.key.clone(), Arc::clone(pod));
    }

    /// Stops counting a pod.
    pub fn remove(&mut self, pod: &PodView) {
        let Some(pod) = self.pods.remove(&pod.key) else { return };
        self.requested.sub(&pod.requests);
        self.score_requested.0 -= pod.score_requests.0;
        self.score_requested.1 -= pod.score_requests.1;
        for port in &pod.host_ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(at);
            }
        }
    }
}
