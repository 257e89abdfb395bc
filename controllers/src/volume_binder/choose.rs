//! Which volume a claim gets: the one it names, one that is kept for it, or of those that
//! have all it asks for and the least beyond it the smallest.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_api::quantity;

use super::{class, is_kept_for, volume_phase};
use crate::meta::{is_deleting, matches, name};

/// What is to be done for a claim that names its volume.
#[derive(Debug, PartialEq)]
pub(super) enum Named {
    /// The volume is the claim's.
    Bind,
    /// It cannot be: reason and text of a warning.
    Refused(&'static str, String),
}

/// Whether a claim gets the volume that it names.
pub(super) fn of_named(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Named {
    let called = name(&volume.metadata);
    match is_kept_for(volume, claim) {
        Some(true) => Named::Bind,
        Some(false) => {
            Named::Refused("FailedBinding", format!("volume {called:?} already bound to a different claim."))
        }
        None => match mismatch(claim, volume) {
            Some(why) => {
                let text = format!("Cannot bind to requested volume {called:?}: {why}");
                Named::Refused("VolumeMismatch", text)
            }
            None => Named::Bind,
        },
    }
}

/// In what a volume falls short of a claim.
fn mismatch(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<&'static str> {
    let (Some(has), Some(wants)) = (&volume.spec, &claim.spec) else { return Some("incomplete") };
    if capacity(volume) < requested(claim) {
        return Some("requested PV is too small");
    }
    if has.storage_class_name.as_deref().unwrap_or_default() != class(claim) {
        return Some("storageClassName does not match");
    }
    // A volume whose attributes were set is for claims that ask for them only.
    if has.volume_attributes_class_name.as_deref().unwrap_or_default()
        != wants.volume_attributes_class_name.as_deref().unwrap_or_default()
    {
        return Some("volumeAttributesClassName does not match");
    }
    if !has_mode(volume, claim) {
        return Some("incompatible volumeMode");
    }
    (!has_access(volume, claim)).then_some("incompatible accessMode")
}

/// Whether both are file systems, or both devices.
fn has_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let mode = |mode: Option<&String>| mode.map_or("Filesystem", String::as_str).to_owned();
    mode(volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
        == mode(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
}

/// Whether the volume can be used in all the ways that the claim asks for.
fn has_access(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let has = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let wanted = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    wanted.iter().all(|mode| has.contains(mode))
}

/// A quantity in billionths; none is zero.
pub(crate) fn nanos(quantity: Option<&Quantity>) -> i128 {
    quantity
        .and_then(|quantity| quantity.0.parse::<quantity::Quantity>().ok())
        .map_or(0, |quantity| quantity.nanos())
}

fn capacity(volume: &PersistentVolume) -> i128 {
    nanos(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage")))
}

fn requested(claim: &PersistentVolumeClaim) -> i128 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    nanos(resources.and_then(|resources| resources.requests.as_ref()?.get("storage")))
}

/// The volume to bind a claim to that names none; if the scheduler chooses together with the node, only one that is
/// kept for the claim.
pub(super) fn choose(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    scheduler_chooses: bool,
) -> Option<Arc<PersistentVolume>> {
    let fits = |volume: &&Arc<PersistentVolume>| {
        !is_deleting(&volume.metadata)
            && capacity(volume) >= requested(claim)
            && has_mode(volume, claim)
            && has_access(volume, claim)
    };
    let kept = volumes.iter().filter(fits).find(|volume| is_kept_for(volume, claim) == Some(true));
    if kept.is_some() || scheduler_chooses {
        return kept.cloned();
    }
    let suitable = volumes.iter().filter(|volume| suits(volume, claim));
    // What can be used in more ways than wanted is kept for claims that want them.
    let order = |volume: &Arc<PersistentVolume>| {
        (access_modes(volume), capacity(volume), name(&volume.metadata).to_string())
    };
    suitable.min_by_key(|volume| order(volume)).cloned()
}

/// In how many ways a volume can be used.
fn access_modes(volume: &PersistentVolume) -> usize {
    volume.spec.as_ref().and_then(|spec| spec.access_modes.as_ref()).map_or(0, Vec::len)
}

/// Whether a volume is free, and what is asked for.
fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    is_kept_for(volume, claim).is_none()
        && !is_deleting(&volume.metadata)
        && !matches!(volume_phase(volume), "Released" | "Failed" | "Bound")
        && mismatch(claim, volume).is_none()
        && selector.is_none_or(|selector| matches(selector, volume.metadata.labels.as_ref()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{
        ObjectReference, PersistentVolumeClaimSpec, PersistentVolumeSpec, VolumeResourceRequirements,
    };
    use kube::api::ObjectMeta;

    use super::*;

    fn volume(name: &str, size: &str, mode: &str, class: &str) -> PersistentVolume {
        PersistentVolume {
            metadata: ObjectMeta { name: Some(name.into()), ..Default::default() },
            spec: Some(PersistentVolumeSpec {
                capacity: Some([("storage".to_string(), Quantity(size.into()))].into()),
                access_modes: Some(vec![mode.into()]),
                storage_class_name: Some(class.into()),
                ..Default::default()
            }),
            status: None,
        }
    }

    #[test]
    fn the_smallest_that_suits() {
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some("c".into()),
                namespace: Some("ns".into()),
                ..Default::default()
            },
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec!["ReadWriteOnce".into()]),
                resources: Some(VolumeResourceRequirements {
                    requests: Some([("storage".to_string(), Quantity("1Gi".into()))].into()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            status: None,
        };
        let keep = |mut volume: PersistentVolume, claim: &str| {
            volume.spec.as_mut().unwrap().claim_ref = Some(ObjectReference {
                namespace: Some("ns".into()),
                name: Some(claim.into()),
                ..Default::default()
            });
            volume
        };
        let kept = keep(volume("kept", "4Gi", "ReadWriteOnce", "other"), "c");
        let kept_small = keep(volume("kept-small", "1Mi", "ReadWriteOnce", ""), "c");
        let check = |volumes: &[&PersistentVolume], scheduler_chooses: bool, expected: Option<&str>| {
            let volumes: Vec<_> = volumes.iter().map(|volume| Arc::new((*volume).clone())).collect();
            let chosen = choose(&claim, &volumes, scheduler_chooses);
            assert_eq!(chosen.as_ref().map(|volume| name(&volume.metadata)), expected);
        };
        let (small, fit, large) = (
            volume("small", "500Mi", "ReadWriteOnce", ""),
            volume("fit", "2Gi", "ReadWriteOnce", ""),
            volume("large", "3Gi", "ReadWriteOnce", ""),
        );
        let (other_mode, other_class) =
            (volume("mode", "2Gi", "ReadOnlyMany", ""), volume("class", "2Gi", "ReadWriteOnce", "fast"));
        check(&[&small, &large, &fit], false, Some("fit"));
        check(&[&small, &other_mode, &other_class], false, None);
        let mut wide = volume("wide", "1Gi", "ReadWriteOnce", "");
        wide.spec.as_mut().unwrap().access_modes.as_mut().unwrap().push("ReadWriteMany".into());
        check(&[&wide, &large], false, Some("large"));
        check(&[&fit, &kept], false, Some("kept"));
        check(&[&fit, &kept_small], false, Some("fit"));
        check(&[&fit, &kept], true, Some("kept"));
        check(&[&fit], true, None);
        let refused = |volume: &PersistentVolume, reason: &'static str, text: &str| {
            assert_eq!(of_named(&claim, volume), Named::Refused(reason, text.to_owned()));
        };
        assert_eq!(of_named(&claim, &fit), Named::Bind);
        assert_eq!(of_named(&claim, &kept), Named::Bind);
        let cannot = |name: &str, why: &str| format!("Cannot bind to requested volume \"{name}\": {why}");
        refused(&small, "VolumeMismatch", &cannot("small", "requested PV is too small"));
        refused(&other_class, "VolumeMismatch", &cannot("class", "storageClassName does not match"));
        refused(&other_mode, "VolumeMismatch", &cannot("mode", "incompatible accessMode"));
        let device = |mut volume: PersistentVolume| {
            volume.spec.as_mut().unwrap().volume_mode = Some("Block".into());
            volume
        };
        refused(&device(fit.clone()), "VolumeMismatch", &cannot("fit", "incompatible volumeMode"));
        let taken = keep(fit, "another");
        refused(&taken, "FailedBinding", "volume \"fit\" already bound to a different claim.");
    }
}
