//! Small worlds for the tests of decisions.
use crate::node::NodeView;
use crate::pod::Pod;
use crate::pod::PodView;
use crate::world::World;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use std::sync::Arc;

/// A node with 2 CPUs, 4 GiB and room for 10 pods.
pub fn node(name: &str, spec: Value, labels: Value) -> Node {
    let allocatable = json!({"cpu": "2", "memory": "4Gi", "pods": "10", "ephemeral-storage": "10Gi"});
    let object = json!({
        "metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable},
    });
    serde_json::from_value(object).unwrap()
}

/// A pod of namespace `default` with label `app: a`; `spec` gets a container where it has none.
pub fn pod(name: &str, spec: Value) -> PodView {
    full_pod(json!({
        "metadata": {"name": name, "uid": name, "namespace": "default", "labels": {"app": "a"}}, "spec": spec,
    }))
}

/// A pod of a whole object.
pub fn full_pod(mut object: Value) -> PodView {
    if object["spec"].get("containers").is_none() {
        object["spec"]["containers"] = json!([{"name": "c", "image": "i"}]);
    }
    PodView::new(serde_json::from_value::<Pod>(object).unwrap())
}

/// Nodes with pods on them.
pub fn world(nodes: Vec<Node>, pods: Vec<PodView>) -> World {
    let mut world = World::default();
    for node in nodes {
        world.set_node(Arc::new(NodeView::new(node)));
    }
    for pod in pods {
        assert!(world.add_pod(&Arc::new(pod)));
    }
    world
}

/// Containers that request these resources.
pub fn container(resources: Value) -> Value {
    json!([{"name": "c", "image": "i", "resources": {"requests": resources}}])
}
