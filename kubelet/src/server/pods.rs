//! What runs here, and the kubelet's settings.

use axum::Json;
use axum::extract::State;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::Shared;
use crate::observed::Observed;
use crate::pod;

/// All pods of the node as a `PodList`.
pub async fn pods(State(server): Shared) -> Json<Value> {
    list(server.manager.pods())
}

/// The pods of which some container runs.
pub async fn running(State(server): Shared) -> Json<Value> {
    let mut running = Vec::new();
    for pod in server.manager.pods() {
        let runtime = server.manager.context().runtime.as_ref();
        let observed = Observed::of(runtime, pod::uid(&pod)).await.unwrap_or_default();
        if observed.running().next().is_some() {
            running.push(pod);
        }
    }
    list(running)
}

fn list(pods: Vec<Pod>) -> Json<Value> {
    let item = |pod: Pod| {
        let mut item = json!(pod);
        // Items of a list do not say what they are.
        if let Some(members) = item.as_object_mut() {
            members.retain(|name, _| name != "kind" && name != "apiVersion");
        }
        item
    };
    let items: Vec<Value> = pods.into_iter().map(item).collect();
    Json(json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

/// The settings in force.
pub async fn config(State(server): Shared) -> Json<Value> {
    Json(json!({ "kubeletconfig": server.config }))
}
