//! Keeps VolumeAttributesClasses that claims or volumes use from vanishing.

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use serde_json::json;

use crate::{
    context::Context,
    edit::{self, Part},
    meta::{has_finalizer, is_deleting},
};

const FINALIZER: &str = "kubernetes.io/vac-protection";

/// The classes that a claim has or is to have.
fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<&str> {
    let spec = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let target = status
        .and_then(|status| status.modify_volume_status.as_ref())
        .and_then(|modify| modify.target_volume_attributes_class_name.as_deref());
    [spec, current, target].into_iter().flatten().collect()
}

fn class_of_volume(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_deref()
}

#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Protect,
    Release,
}

fn step(class: &VolumeAttributesClass, is_used: impl FnOnce() -> bool) -> Step {
    match (is_deleting(&class.metadata), has_finalizer(&class.metadata, FINALIZER)) {
        (false, false) => Step::Protect,
        (true, true) if !is_used() => Step::Release,
        _ => Step::Nothing,
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let classes: Informer<VolumeAttributesClass> = context.informers.get();
    let claims: Informer<PersistentVolumeClaim> = context.informers.get();
    let volumes: Informer<PersistentVolume> = context.informers.get();
    let queue: Queue<Key> = Queue::new();
    let added = queue.clone();
    classes.on_change(move |change| {
        if !change.is_deletion() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let again = |queue: &Queue<Key>, classes: &Informer<VolumeAttributesClass>, names: Vec<&str>| {
        for name in names {
            let key = Key::new("", name);
            if classes.get(&key).is_some_and(|class| is_deleting(&class.metadata)) {
                queue.add(key);
            }
        }
    };
    let (added, known) = (queue.clone(), classes.clone());
    claims.on_change(move |change| {
        if let knarr_component::informer::Change::Updated { old, .. } = &change {
            again(&added, &known, classes_of_claim(old));
        }
        again(&added, &known, classes_of_claim(change.object()));
    });
    let (added, known) = (queue.clone(), classes.clone());
    volumes.on_change(move |change| {
        if let knarr_component::informer::Change::Updated { old, .. } = &change {
            again(&added, &known, class_of_volume(old).into_iter().collect());
        }
        again(&added, &known, class_of_volume(change.object()).into_iter().collect());
    });
    let synced = {
        let (classes, claims, volumes) = (classes.synced(), claims.synced(), volumes.synced());
        async {
            futures::join!(classes, claims, volumes);
        }
    };
    let this = context.clone();
    context
        .work("volumeattributesclass-protection-controller", synced, queue, 1, move |key: Key| {
            let (context, classes) = (this.clone(), classes.clone());
            let (claims, volumes) = (claims.clone(), volumes.clone());
            async move {
                let Some(class) = classes.get(&key) else { return Ok(None) };
                let is_used = || {
                    claims.list().iter().any(|claim| classes_of_claim(claim).contains(&key.name.as_str()))
                        || volumes.list().iter().any(|volume| class_of_volume(volume) == Some(&key.name))
                };
                let api = context.api_all::<VolumeAttributesClass>();
                match step(&class, is_used) {
                    Step::Nothing => {}
                    Step::Release => edit::release(&api, &*class, FINALIZER).await?,
                    Step::Protect => {
                        let mut finalizers = class.metadata.finalizers.clone().unwrap_or_default();
                        finalizers.push(FINALIZER.to_string());
                        let change = json!({"metadata": {
                            "resourceVersion": class.metadata.resource_version, "finalizers": finalizers,
                        }});
                        edit::merge(&api, &*class, &change, Part::Object).await?;
                    }
                }
                SyncResult::Ok(None)
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_in_use_stay() {
        let check = |deleting: bool, protected: bool, used: bool, expected: Step| {
            let mut class = VolumeAttributesClass::default();
            class.metadata.deletion_timestamp = deleting.then(crate::meta::now);
            class.metadata.finalizers = protected.then(|| vec![FINALIZER.to_string()]);
            assert_eq!(step(&class, || used), expected, "{deleting} {protected} {used}");
        };
        check(false, false, false, Step::Protect);
        check(false, true, false, Step::Nothing);
        check(true, true, true, Step::Nothing);
        check(true, true, false, Step::Release);
        check(true, false, false, Step::Nothing);
    }

    #[test]
    fn claims_use_several() {
        let claim = serde_json::from_value(json!({
            "spec": {"volumeAttributesClassName": "gold"},
            "status": {"currentVolumeAttributesClassName": "silver",
                "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "gold"}},
        }));
        assert_eq!(classes_of_claim(&claim.unwrap()), ["gold", "silver", "gold"]);
    }
}
