//! The pods that the API server has bound to this node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use knarr_component::informer::{Change, Informer};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::labels;
use crate::manager::Manager;
use crate::pod;

/// Follows the node's pods and tells the manager; `mirrors` is notified when a mirror pod changes.
pub fn start(
    client: Client,
    node: &str,
    manager: Arc<Manager>,
    mirrors: Arc<Notify>,
    stop: CancellationToken,
) -> Informer<Pod> {
    let only = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let informer = Informer::start(Api::all(client), only, stop);
    informer.on_change(move |change| {
        let object = change.object();
        if pod::is_mirror(object) {
            let uid = pod::annotation(object, labels::CONFIG_HASH).unwrap_or_default();
            let mirror = (!change.is_deletion()).then(|| Arc::clone(object));
            manager.context().statuses.set_mirror(uid, mirror);
            mirrors.notify_one();
            return;
        }
        match change {
            Change::Added(new) => manager.apply(Arc::clone(new)),
            Change::Updated { old, new } => {
                // Another pod of the same name: the deletion in between was not seen.
                if pod::uid(old) != pod::uid(new) {
                    manager.remove(pod::uid(old));
                }
                manager.apply(Arc::clone(new));
            }
            Change::Deleted(old) => {
                manager.apply(Arc::clone(old));
                manager.remove(pod::uid(old));
            }
        }
    });
    informer
}
