//! Makes the claims of pods' generic ephemeral volumes; each goes with its pod.

use std::sync::Arc;

use anyhow::bail;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use knarr_component::{events::Recorder, informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::api::{ObjectMeta, PostParams};

use crate::{
    context::Context,
    control::message,
    meta::{controller_of, controller_reference, is_deleting, name, uid},
    metrics,
    pods::{Pod, Volume, is_finished},
};

/// The claim that a volume of a pod is to have, if it is such a volume.
fn claim_for(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let meta = template.metadata.clone().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(claim_name(pod, volume)),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![controller_reference(pod)]),
            ..Default::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}

fn claim_name(pod: &Pod, volume: &Volume) -> String {
    format!("{}-{}", name(&pod.metadata), volume.name)
}

/// Whether a claim was made for this pod.
fn is_of(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    controller_of(&claim.metadata).is_some_and(|owner| owner.uid == uid(&pod.metadata))
}

fn ephemeral_volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.ephemeral.is_some())
}

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        pods: context.informers.get(),
        claims: context.informers.get(),
        recorder: context.recorder("ephemeral_volume"),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.pods.on_change(move |change| {
        if !change.is_deletion() && ephemeral_volumes(change.object()).next().is_some() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let added = queue.clone();
    controller.claims.on_change(move |change| {
        let claim = &change.object().metadata;
        let owner = controller_of(claim).filter(|owner| owner.kind == "Pod" && change.is_deletion());
        if let Some(owner) = owner {
            added.add(Key::new(claim.namespace.clone().unwrap_or_default(), owner.name.clone()));
        }
    });
    let synced = {
        let (pods, claims) = (controller.pods.synced(), controller.claims.synced());
        async {
            futures::join!(pods, claims);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_ephemeralvolume_syncs;
    context
        .work("ephemeral-volume-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let pod = self.pods.get(&key).filter(|pod| !is_deleting(&pod.metadata) && !is_finished(pod));
        let Some(pod) = pod else { return Ok(None) };
        for volume in ephemeral_volumes(&pod) {
            let wanted = claim_name(&pod, volume);
            if let Some(found) = self.claims.get(&Key::new(key.namespace.clone(), wanted.clone())) {
                if !is_of(&found, &pod) {
                    bail!("PVC {}/{wanted} was not created for pod {key} (pod is not owner)", key.namespace);
                }
                continue;
            }
            let Some(claim) = claim_for(&pod, volume) else { continue };
            let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
            metrics::EPHEMERAL_CREATED.one(&[]);
            if let Err(error) = api.create(&PostParams::default(), &claim).await {
                metrics::EPHEMERAL_FAILED.one(&[]);
                let text =
                    format!("ephemeral volume {}: create PVC {wanted}: {}", volume.name, message(&error));
                self.recorder.warning(&*pod, "FailedBinding", text.clone());
                bail!(text);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn claims_belong_to_their_pod() {
        let owner = pod("web", "Pending", "", None);
        let volume: Volume = serde_json::from_value(serde_json::json!({
            "name": "scratch",
            "ephemeral": {"volumeClaimTemplate": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"accessModes": ["ReadWriteOnce"]},
            }},
        }))
        .unwrap();
        let claim = claim_for(&owner, &volume).unwrap();
        assert_eq!(name(&claim.metadata), "web-scratch");
        assert_eq!(claim.metadata.labels.as_ref().unwrap()["a"], "b");
        assert!(is_of(&claim, &owner));
        assert!(!is_of(&claim, &pod("other", "Pending", "", None)));
        assert_eq!(claim_for(&owner, &Volume::default()), None);
    }
}
