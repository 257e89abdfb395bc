//! Keeps claims in use and volumes that are bound from vanishing.
//!
//! Admission gives each claim and volume a finalizer; it goes when the object is being deleted
//! and nothing needs it any more.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_component::{
    informer::{Change, Informer},
    queue::Queue,
    runner::SyncResult,
    store::Key,
};

use crate::{
    context::Context,
    edit,
    meta::{has_finalizer, is_deleting, name, namespace},
    pods::{self, Pod, node_name},
};

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Names of the claims that a pod uses. A pod without a node does not count: no kubelet will
/// start it with a claim that is being deleted.
fn claims_of(pod: &Pod) -> Vec<String> {
    if node_name(pod).is_empty() {
        return Vec::new();
    }
    pods::claims(pod).collect()
}

/// Whether a claim may go now.
fn claim_may_go(claim: &PersistentVolumeClaim, pods: &[Arc<Pod>]) -> bool {
    is_deleting(&claim.metadata)
        && has_finalizer(&claim.metadata, CLAIM_FINALIZER)
        && !pods.iter().any(|pod| claims_of(pod).iter().any(|used| used == name(&claim.metadata)))
}

/// Whether a volume may go now.
fn volume_may_go(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    is_deleting(&volume.metadata)
        && has_finalizer(&volume.metadata, VOLUME_FINALIZER)
        && phase != Some("Bound")
}

/// Runs the controller of claims.
pub(crate) async fn run_claims(context: Context) -> anyhow::Result<()> {
    let claims: Informer<PersistentVolumeClaim> = context.informers.get();
    let pods: Informer<Pod> = context.informers.get();
    let queue = Queue::new();
    let added = queue.clone();
    claims.on_change(move |change| {
        if !change.is_deletion() && is_deleting(&change.object().metadata) {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let added = queue.clone();
    pods.on_change(move |change| {
        let (Change::Deleted(pod) | Change::Updated { new: pod, .. }) = change else { return };
        for claim in claims_of(pod) {
            added.add(Key::new(namespace(&pod.metadata), claim));
        }
    });
    let synced = {
        let (claims, pods) = (claims.synced(), pods.synced());
        async {
            futures::join!(claims, pods);
        }
    };
    let this = context.clone();
    context
        .work("persistentvolumeclaim-protection-controller", synced, queue, 2, move |key: Key| {
            let (context, claims, pods) = (this.clone(), claims.clone(), pods.clone());
            async move {
                let Some(claim) = claims.get(&key) else { return Ok(None) };
                if !claim_may_go(&claim, &pods.list_namespace(&key.namespace)) {
                    return Ok(None);
                }
                let api = context.api::<PersistentVolumeClaim>(&key.namespace);
                edit::release(&api, &*claim, CLAIM_FINALIZER).await?;
                SyncResult::Ok(None)
            }
        })
        .await
}

/// Runs the controller of volumes.
pub(crate) async fn run_volumes(context: Context) -> anyhow::Result<()> {
    let volumes: Informer<PersistentVolume> = context.informers.get();
    let queue = Queue::new();
    let added = queue.clone();
    volumes.on_change(move |change| {
        if !change.is_deletion() && is_deleting(&change.object().metadata) {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let (this, synced) = (context.clone(), volumes.synced());
    context
        .work("persistentvolume-protection-controller", synced, queue, 1, move |key: Key| {
            let (context, volumes) = (this.clone(), volumes.clone());
            async move {
                let Some(volume) = volumes.get(&key).filter(|volume| volume_may_go(volume)) else {
                    return Ok(None);
                };
                let api = context.api_all::<PersistentVolume>();
                edit::release(&api, &*volume, VOLUME_FINALIZER).await?;
                SyncResult::Ok(None)
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PersistentVolumeClaimVolumeSource;
    use kube::api::ObjectMeta;

    use super::*;
    use crate::pods::{Volume, tests::pod};

    #[test]
    fn claims_in_use_stay() {
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some("data".into()),
                finalizers: Some(vec![CLAIM_FINALIZER.into()]),
                deletion_timestamp: Some(crate::meta::now()),
                ..Default::default()
            },
            ..Default::default()
        };
        let check = |claimed: &str, node: &str, expected| {
            let mut pod = pod("p", "Running", node, None);
            pod.spec.as_mut().unwrap().volumes = Some(vec![Volume {
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claimed.into(),
                    read_only: None,
                }),
                ..Default::default()
            }]);
            assert_eq!(claim_may_go(&claim, &[Arc::new(pod)]), expected, "{claimed} {node}");
        };
        check("data", "n", false);
        check("data", "", true);
        check("other", "n", true);
        let stays = PersistentVolumeClaim::default();
        assert!(!claim_may_go(&stays, &[]));
    }
}
