//! Mirror pods: objects by which the cluster sees the node's static pods.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_component::informer::Informer;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::labels;
use crate::pod;

/// How often mirrors are compared when nothing happens.
const PERIOD: Duration = Duration::from_secs(30);

/// What the mirrors are compared with.
pub struct Mirrors {
    client: Client,
    node: String,
    pods: Informer<Pod>,
    statics: Mutex<Vec<Arc<Pod>>>,
    /// Something changed.
    pub wake: Arc<Notify>,
}

impl Mirrors {
    /// Mirrors for a node; `pods` are the node's pods as the API server has them.
    pub fn new(client: Client, node: &str, pods: Informer<Pod>, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { client, node: node.to_owned(), pods, statics: Mutex::default(), wake })
    }

    /// Takes the static pods that should be mirrored.
    pub fn set(&self, pods: Vec<Arc<Pod>>) {
        *self.statics.lock() = pods;
        self.wake.notify_one();
    }

    /// Creates and deletes mirrors until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        self.pods.synced().await;
        loop {
            if let Err(error) = self.reconcile().await {
                tracing::warn!(%error, "mirror pods");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn reconcile(&self) -> Result<(), kube::Error> {
        let mut missing: HashMap<String, Arc<Pod>> =
            self.statics.lock().iter().map(|pod| (pod::full_name(pod), Arc::clone(pod))).collect();
        for mirror in self.pods.list().iter().filter(|pod| pod::is_mirror(pod)) {
            let name = pod::full_name(mirror);
            let current = missing.get(&name).is_some_and(|wanted| {
                pod::annotation(mirror, labels::CONFIG_MIRROR) == Some(pod::uid(wanted))
                    && mirror.metadata.deletion_timestamp.is_none()
            });
            if current {
                missing.remove(&name);
            } else {
                self.delete(mirror).await?;
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let Some(node) = nodes.get_opt(&self.node).await? else { return Ok(()) };
        for wanted in missing.values() {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), pod::namespace(wanted));
            match api.create(&PostParams::default(), &mirror_of(wanted, &node)).await {
                Ok(_) => tracing::info!(pod = pod::full_name(wanted), "mirror pod made"),
                // The old one is still going.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                // One that is refused keeps no other from being seen.
                Err(kube::Error::Api(status)) => {
                    tracing::warn!(pod = pod::full_name(wanted), %status, "mirror pod refused");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn delete(&self, mirror: &Pod) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), pod::namespace(mirror));
        let exactly = Preconditions { uid: mirror.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(exactly);
        match api.delete(pod::name(mirror), &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

fn mirror_of(pod: &Pod, node: &Node) -> Pod {
    let mut mirror = Pod::clone(pod);
    let uid = mirror.metadata.uid.take().unwrap_or_default();
    mirror.metadata.annotations.get_or_insert_default().insert(labels::CONFIG_MIRROR.to_owned(), uid);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}
