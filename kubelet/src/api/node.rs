//! The node's own object: pods are judged by labels, taints and resources that others write into it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use knarr_component::informer::Informer;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::manager::Manager;

/// Follows the node's object and tells the manager.
pub fn start(client: Client, node: &str, manager: Arc<Manager>, stop: CancellationToken) -> Informer<Node> {
    let only = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let informer = Informer::start(Api::all(client), only, stop);
    informer.on_change(move |change| {
        if !change.is_deletion() {
            manager.set_node(change.object());
        }
    });
    informer
}
