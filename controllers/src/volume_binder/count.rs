//! How many volumes and claims there are, counted when somebody asks.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_component::{informer::Informer, metrics::Levels};
use serde_json::Value;

use super::{class, volume_phase};
use crate::{context::Context, meta::namespace, metrics};

/// Counts from now on.
pub(super) fn count(context: &Context) {
    let volumes: Informer<PersistentVolume> = context.informers.get();
    let claims: Informer<PersistentVolumeClaim> = context.informers.get();
    let of_volumes = |key: fn(&PersistentVolume) -> Option<Vec<String>>| {
        let volumes = volumes.clone();
        move || levels(volumes.list().iter().filter_map(|volume| key(volume)))
    };
    let of_claims = |key: fn(&PersistentVolumeClaim) -> Option<Vec<String>>| {
        let claims = claims.clone();
        move || levels(claims.list().iter().filter_map(|claim| key(claim)))
    };
    metrics::BOUND_VOLUMES.by(of_volumes(|volume| class_of(volume, true)));
    metrics::UNBOUND_VOLUMES.by(of_volumes(|volume| class_of(volume, false)));
    metrics::VOLUMES.by(of_volumes(|volume| Some(vec![plugin(volume), mode(volume)])));
    metrics::BOUND_CLAIMS.by(of_claims(|claim| place_of(claim, true)));
    metrics::UNBOUND_CLAIMS.by(of_claims(|claim| place_of(claim, false)));
}

/// How often each key comes.
fn levels(keys: impl Iterator<Item = Vec<String>>) -> Levels {
    let mut counts = BTreeMap::new();
    keys.for_each(|key| *counts.entry(key).or_default() += 1);
    counts.into_iter().collect()
}

/// The class of a volume that is bound, or is not.
fn class_of(volume: &PersistentVolume, bound: bool) -> Option<Vec<String>> {
    let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
    ((volume_phase(volume) == "Bound") == bound).then(|| vec![class.unwrap_or_default()])
}

/// Namespace and classes of a claim that is bound, or is not.
fn place_of(claim: &PersistentVolumeClaim, bound: bool) -> Option<Vec<String>> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let attributes = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    ((phase == Some("Bound")) == bound).then(|| {
        vec![namespace(&claim.metadata).to_owned(), class(claim).to_owned(), attributes.unwrap_or_default()]
    })
}

/// What the original calls the volume's plugin: the driver of CSI, or what kind of source it has.
fn plugin(volume: &PersistentVolume) -> String {
    let spec = volume.spec.clone().unwrap_or_default();
    if let Some(csi) = &spec.csi {
        return format!("kubernetes.io/csi:{}", csi.driver);
    }
    if spec.local.is_some() {
        return "kubernetes.io/local-volume".to_owned();
    }
    if spec.host_path.is_some() {
        return "kubernetes.io/host-path".to_owned();
    }
    let fields = serde_json::to_value(&spec).unwrap_or_default();
    let known = ["nfs", "iscsi", "fc", "rbd", "cephfs", "glusterfs", "azureDisk", "awsElasticBlockStore"];
    let found = known.into_iter().find(|name| fields.get(*name).is_some_and(Value::is_object));
    found.map_or_else(|| "N/A".to_owned(), |name| format!("kubernetes.io/{}", name.to_lowercase()))
}

fn mode(volume: &PersistentVolume) -> String {
    let mode = volume.spec.as_ref().and_then(|spec| spec.volume_mode.clone());
    mode.unwrap_or_else(|| "Filesystem".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_by_plugin_and_class() {
        let volume = |spec: Value, phase: &str| -> PersistentVolume {
            serde_json::from_value(serde_json::json!({"spec": spec, "status": {"phase": phase}})).unwrap()
        };
        let csi = volume(
            serde_json::json!({"csi": {"driver": "d", "volumeHandle": "h"}, "storageClassName": "k"}),
            "Bound",
        );
        assert_eq!(plugin(&csi), "kubernetes.io/csi:d");
        assert_eq!(class_of(&csi, true), Some(vec!["k".to_owned()]));
        assert_eq!(class_of(&csi, false), None);
        let nfs = volume(
            serde_json::json!({"nfs": {"server": "s", "path": "/"}, "volumeMode": "Block"}),
            "Available",
        );
        assert_eq!((plugin(&nfs), mode(&nfs)), ("kubernetes.io/nfs".to_owned(), "Block".to_owned()));
        assert_eq!(
            levels([class_of(&nfs, false), class_of(&nfs, false)].into_iter().flatten()),
            [(vec![String::new()], 2)]
        );
    }
}
