//! What can be attached, and where.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::PersistentVolume,
    storage::v1::{CSIDriver, VolumeAttachment},
};
use ring::digest;

use crate::meta::name;

/// A volume of a CSI driver.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attachable {
    /// Name of the PersistentVolume.
    pub name: String,
    pub driver: String,
    pub handle: String,
    /// One node at a time.
    pub exclusive: bool,
}

impl Attachable {
    /// How a node's status calls it.
    pub fn unique_name(&self) -> String {
        format!("kubernetes.io/csi/{}^{}", self.driver, self.handle)
    }
}

/// The volume, if it is of a CSI driver.
pub(super) fn attachable(volume: &PersistentVolume) -> Option<Attachable> {
    let spec = volume.spec.as_ref()?;
    let source = spec.csi.as_ref()?;
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let shared = modes.iter().any(|mode| matches!(mode.as_str(), "ReadWriteMany" | "ReadOnlyMany"));
    Some(Attachable {
        name: name(&volume.metadata).to_string(),
        driver: source.driver.clone(),
        handle: source.volume_handle.clone(),
        exclusive: !shared,
    })
}

/// Whether a driver attaches at all; one that is not known does.
pub(super) fn needs_attachment(driver: Option<&CSIDriver>) -> bool {
    driver.and_then(|driver| driver.spec.attach_required).unwrap_or(true)
}

/// The name of the object that attaches a volume to a node, which attachers and kubelets compute too.
pub(super) fn attachment_name(volume: &Attachable, node: &str) -> String {
    let text = format!("{}{}{node}", volume.handle, volume.driver);
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("csi-{hex}")
}

/// Another node has a volume that only one may have.
#[derive(Debug, PartialEq)]
pub(super) struct Blocked {
    pub node: String,
}

/// Who keeps a volume from being attached to a node.
pub(super) fn blocked(volume: &Attachable, node: &str, all: &[Arc<VolumeAttachment>]) -> Option<Blocked> {
    let elsewhere = all.iter().find(|known| {
        known.spec.source.persistent_volume_name.as_deref() == Some(&volume.name)
            && known.spec.node_name != node
    });
    elsewhere.filter(|_| volume.exclusive).map(|known| Blocked { node: known.spec.node_name.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_of_drivers() {
        let volume = |modes: serde_json::Value| {
            let volume = json!({"metadata": {"name": "pv"}, "spec": {
                "accessModes": modes, "csi": {"driver": "d.example.com", "volumeHandle": "h"},
            }});
            attachable(&serde_json::from_value(volume).unwrap()).unwrap()
        };
        let single = volume(json!(["ReadWriteOnce"]));
        assert_eq!(single.unique_name(), "kubernetes.io/csi/d.example.com^h");
        assert_eq!(attachable(&PersistentVolume::default()), None);
        let attachment: VolumeAttachment = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "spec": {"attacher": "d.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "pv"}},
        }))
        .unwrap();
        let all = [Arc::new(attachment)];
        assert_eq!(blocked(&single, "n2", &all), Some(Blocked { node: "n1".into() }));
        assert_eq!(blocked(&single, "n1", &all), None);
        assert_eq!(blocked(&volume(json!(["ReadWriteMany"])), "n2", &all), None);
        let made = attachment_name(&single, "n1");
        assert_eq!(made.len(), 68);
        assert_ne!(made, attachment_name(&single, "n2"));
        assert!(needs_attachment(None));
        let driver = serde_json::from_value(json!({"spec": {"attachRequired": false}}));
        assert!(!needs_attachment(Some(&driver.unwrap())));
    }
}
