//! Claims that ask for more than their volume has. Volumes of the built-in provisioner grow at
//! once, since a directory has no size; all others are for a resizer that runs in the cluster.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_component::{events::Recorder, informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    context::Context,
    local_path::{PROVISIONED_BY, PROVISIONER},
    meta::{annotation, ignore_absent, name},
    volume_binder::nanos,
};

struct Controller {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    recorder: Recorder,
}

/// What a claim asks for that it does not have yet, if it is bound.
fn wanted(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    let status = claim.status.as_ref().filter(|status| status.phase.as_deref() == Some("Bound"))?;
    let request = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?;
    let has = status.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
    (nanos(Some(request)) > nanos(has)).then_some(request)
}

/// What is to be done about it.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    /// The volume is a directory.
    Grow(Quantity),
    /// Somebody else does it.
    Tell,
}

fn step(claim: &PersistentVolumeClaim, volume: Option<&PersistentVolume>) -> Step {
    let (Some(wanted), Some(volume)) = (wanted(claim), volume) else { return Step::Nothing };
    if annotation(&volume.metadata, PROVISIONED_BY) == Some(PROVISIONER) {
        Step::Grow(wanted.clone())
    } else {
        Step::Tell
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        claims: context.informers.get(),
        volumes: context.informers.get(),
        recorder: context.recorder("volume_expand"),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.claims.on_change(move |change| {
        if !change.is_deletion() && wanted(change.object()).is_some() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let synced = {
        let (claims, volumes) = (controller.claims.synced(), controller.volumes.synced());
        async {
            futures::join!(claims, volumes);
        }
    };
    let context = controller.context.clone();
    context
        .work("persistentvolume-expander-controller", synced, queue, 2, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(claim) = self.claims.get(&key) else { return Ok(None) };
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
        let volume = self.volumes.get(&Key::new("", bound));
        match step(&claim, volume.as_deref()) {
            Step::Nothing => {}
            Step::Tell => {
                let text = "waiting for an external controller to expand this PVC";
                self.recorder.normal(&*claim, "ExternalExpanding", text);
            }
            Step::Grow(size) => {
                let capacity = json!({"storage": size});
                if let Some(volume) = volume {
                    let patch = Patch::Merge(json!({"spec": {"capacity": capacity}}));
                    let api = self.context.api_all::<PersistentVolume>();
                    let patched = api.patch(name(&volume.metadata), &PatchParams::default(), &patch).await;
                    ignore_absent(patched)?;
                }
                let status =
                    json!({"metadata": {"uid": claim.metadata.uid}, "status": {"capacity": capacity}});
                let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
                let patch = Patch::Merge(status);
                ignore_absent(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
                let text = format!("volume now has a capacity of {}", size.0);
                self.recorder.normal(&*claim, "VolumeResizeSuccessful", text);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_grows_a_volume() {
        let check = |phase: &str, request: &str, has: &str, maker: &str, expected: Step| {
            let claim = serde_json::from_value(json!({
                "spec": {"resources": {"requests": {"storage": request}}},
                "status": {"phase": phase, "capacity": {"storage": has}},
            }));
            let volume =
                serde_json::from_value(json!({"metadata": {"annotations": {PROVISIONED_BY: maker}}}));
            assert_eq!(step(&claim.unwrap(), Some(&volume.unwrap())), expected, "{phase} {request} {maker}");
        };
        check("Bound", "2Gi", "1Gi", PROVISIONER, Step::Grow(Quantity("2Gi".into())));
        check("Bound", "2Gi", "1Gi", "csi.example.com", Step::Tell);
        check("Bound", "1Gi", "1Gi", PROVISIONER, Step::Nothing);
        check("Pending", "2Gi", "1Gi", PROVISIONER, Step::Nothing);
        assert_eq!(step(&PersistentVolumeClaim::default(), None), Step::Nothing);
    }
}
