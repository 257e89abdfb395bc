//! Which volume suits a claim: the smallest that has all it asks for.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_api::quantity;

use super::{class, is_kept_for, volume_phase};
use crate::meta::{is_deleting, matches, name};

/// Whether a volume is nobody's, or kept for this claim.
pub(super) fn is_free_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    !is_deleting(&volume.metadata) && is_kept_for(volume, claim).unwrap_or(true)
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

/// The volume to bind a claim to.
pub(super) fn choose(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
) -> Option<Arc<PersistentVolume>> {
    let kept =
        volumes.iter().find(|volume| is_kept_for(volume, claim) == Some(true) && is_free_for(volume, claim));
    if let Some(kept) = kept {
        return Some(kept.clone());
    }
    let suitable = volumes.iter().filter(|volume| suits(volume, claim));
    suitable.min_by_key(|volume| (capacity(volume), name(&volume.metadata).to_string())).cloned()
}

fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(has), Some(wants)) = (&volume.spec, &claim.spec) else { return false };
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_string());
    let has_modes = has.access_modes.as_deref().unwrap_or_default();
    let requested =
        wants.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"));
    has.claim_ref.is_none()
        && !is_deleting(&volume.metadata)
        && !matches!(volume_phase(volume), "Released" | "Failed" | "Bound")
        && has.storage_class_name.as_deref().unwrap_or_default() == class(claim)
        && mode(&has.volume_mode) == mode(&wants.volume_mode)
        && wants.access_modes.iter().flatten().all(|wanted| has_modes.contains(wanted))
        && wants.selector.as_ref().is_none_or(|selector| matches(selector, volume.metadata.labels.as_ref()))
        && capacity(volume) >= nanos(requested)
        // A volume whose attributes were set is for claims that ask for them only.
        && has.volume_attributes_class_name.as_deref().unwrap_or_default()
            == wants.volume_attributes_class_name.as_deref().unwrap_or_default()
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
        let mut kept = volume("kept", "1Mi", "ReadWriteOnce", "");
        kept.spec.as_mut().unwrap().claim_ref = Some(ObjectReference {
            namespace: Some("ns".into()),
            name: Some("c".into()),
            ..Default::default()
        });
        let check = |volumes: &[&PersistentVolume], expected: Option<&str>| {
            let volumes: Vec<_> = volumes.iter().map(|volume| Arc::new((*volume).clone())).collect();
            let chosen = choose(&claim, &volumes);
            assert_eq!(chosen.as_ref().map(|volume| name(&volume.metadata)), expected);
        };
        let (small, fit, large) = (
            volume("small", "500Mi", "ReadWriteOnce", ""),
            volume("fit", "2Gi", "ReadWriteOnce", ""),
            volume("large", "3Gi", "ReadWriteOnce", ""),
        );
        let (other_mode, other_class) =
            (volume("mode", "2Gi", "ReadOnlyMany", ""), volume("class", "2Gi", "ReadWriteOnce", "fast"));
        check(&[&small, &large, &fit], Some("fit"));
        check(&[&small, &other_mode, &other_class], None);
        check(&[&fit, &kept], Some("kept"));
    }
}
