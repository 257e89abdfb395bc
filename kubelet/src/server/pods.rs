//! What runs here, and the kubelet's settings.

use axum::Json;
use axum::extract::State;
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

fn list(pods: Vec<k8s_openapi::api::core::v1::Pod>) -> Json<Value> {
    Json(json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods }))
}

/// The settings in force.
pub async fn config(State(server): Shared) -> Json<Value> {
    Json(json!({ "kubeletconfig": server.config }))
}
