//! Mirror pods: objects by which the cluster sees the node's static pods, until those have ended.

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
use crate::manager::Manager;
use crate::pod;

/// How often mirrors are compared when nothing happens.
const PERIOD: Duration = Duration::from_secs(30);

/// What the mirrors are compared with.
pub struct Mirrors {
    client: Client,
    node: String,
    pods: Informer<Pod>,
    manager: Arc<Manager>,
    statics: Mutex<Vec<Arc<Pod>>>,
    /// Something changed.
    pub wake: Arc<Notify>,
}

impl Mirrors {
    /// Mirrors for a node; `pods` are the node's pods as the API server has them.
    pub fn new(
        client: Client,
        node: &str,
        pods: Informer<Pod>,
        manager: Arc<Manager>,
        wake: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self { client, node: node.to_owned(), pods, manager, statics: Mutex::default(), wake })
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
            let ending = self.reconcile().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "mirror pods");
                Vec::new()
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = first(&ending) => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// Answers what tells that static pods have ended whose mirrors wait for that.
    async fn reconcile(&self) -> Result<Vec<CancellationToken>, kube::Error> {
        let mut ending = Vec::new();
        let mut missing: HashMap<String, Arc<Pod>> =
            self.statics.lock().iter().map(|pod| (pod::full_name(pod), Arc::clone(pod))).collect();
        for mirror in self.pods.list().iter().filter(|pod| pod::is_mirror(pod)) {
            let name = pod::full_name(mirror);
            let alive =
                self.manager.alive(pod::annotation(mirror, labels::CONFIG_MIRROR).unwrap_or_default());
            match fate(mirror, missing.get(&name).map(AsRef::as_ref), alive.is_some()) {
                Fate::Stays => drop(missing.remove(&name)),
                Fate::Waits => {
                    missing.remove(&name);
                    ending.extend(alive);
                }
                Fate::Goes => self.delete(mirror).await?,
            }
        }
        if missing.is_empty() {
            return Ok(ending);
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let Some(node) = nodes.get_opt(&self.node).await? else { return Ok(ending) };
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
        Ok(ending)
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

/// What becomes of a mirror.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It shows the static pod that is wanted.
    Stays,
    /// It goes when its static pod has ended, which another one may follow.
    Waits,
    /// It shows nothing that is.
    Goes,
}

/// `wanted` is the static pod of the mirror's name, if there is to be one; `is_alive`: the one that it shows has not ended.
fn fate(mirror: &Pod, wanted: Option<&Pod>, is_alive: bool) -> Fate {
    let shown = pod::annotation(mirror, labels::CONFIG_MIRROR);
    match wanted.is_some_and(|wanted| shown == Some(pod::uid(wanted))) {
        true if mirror.metadata.deletion_timestamp.is_none() => Fate::Stays,
        // Somebody has deleted it: another one shows the pod, which goes on.
        true => Fate::Goes,
        false if is_alive => Fate::Waits,
        false => Fate::Goes,
    }
}

/// Returns when the first of them is cancelled.
async fn first(tokens: &[CancellationToken]) {
    if tokens.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(tokens.iter().map(|token| Box::pin(token.cancelled()))).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_of_mirrors() {
        let check = |more: &str, wanted: Option<&str>, is_alive: bool, expected: Fate| {
            let mirror = pod::tests::pod(&format!(
                "{{metadata: {{name: p, annotations: {{kubernetes.io/config.mirror: old}}{more}}}}}"
            ));
            let wanted = wanted.map(|uid| pod::tests::pod(&format!("{{metadata: {{name: p, uid: {uid}}}}}")));
            assert_eq!(fate(&mirror, wanted.as_ref(), is_alive), expected, "{more} {wanted:?} {is_alive}");
        };
        let deleted = ", deletionTimestamp: '2026-01-01T00:00:00Z'";
        check("", Some("old"), true, Fate::Stays);
        check("", Some("old"), false, Fate::Stays);
        check(deleted, Some("old"), true, Fate::Goes);
        check("", Some("new"), true, Fate::Waits);
        check("", None, true, Fate::Waits);
        check(deleted, None, true, Fate::Waits);
        check("", Some("new"), false, Fate::Goes);
        check("", None, false, Fate::Goes);
    }
}
