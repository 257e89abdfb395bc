//! What can be attached, and where.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::PersistentVolume,
    storage::v1::{CSIDriver, VolumeAttachment},
};
use ring::digest;

use crate::meta::name;
use crate::pods::Pod;

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

/// Is an attachment of this name one of those made here? Others are somebody else's, and stay.
pub(super) fn is_own(attachment: &str) -> bool {
    let hash = attachment.strip_prefix("csi-").unwrap_or_default();
    hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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

/// What a pod in `namespace` is told of a volume that is not to be had: the names of those who have it, as far as
/// they are its neighbours.
pub(super) fn multi_attach(volume: &str, namespace: &str, users: &[Arc<Pod>]) -> String {
    let (near, far): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
        users.iter().partition(|pod| pod.metadata.namespace.as_deref() == Some(namespace));
    let near: Vec<&str> = near.into_iter().map(|pod| name(&pod.metadata)).collect();
    let why = match (near.is_empty(), far.len()) {
        (true, 0) => {
            "Volume is already exclusively attached to one node and can't be attached to another".to_string()
        }
        (true, far) => format!("Volume is already used by {far} pod(s) in different namespaces"),
        (false, 0) => format!("Volume is already used by pod(s) {}", near.join(", ")),
        (false, far) => {
            let near = near.join(", ");
            format!("Volume is already used by pod(s) {near} and {far} pod(s) in different namespaces")
        }
    };
    format!("Multi-Attach error for volume {volume:?} {why}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_has_a_volume() {
        let check = |users: &[(&str, &str)], expected: &str| {
            let pod = |(namespace, pod): &(&str, &str)| {
                let mut pod = crate::pods::tests::pod(pod, "Running", "n", None);
                pod.metadata.namespace = Some((*namespace).to_string());
                Arc::new(pod)
            };
            let users: Vec<Arc<Pod>> = users.iter().map(pod).collect();
            let expected = format!("Multi-Attach error for volume \"pv\" Volume is already {expected}");
            assert_eq!(multi_attach("pv", "mine", &users), expected);
        };
        check(&[], "exclusively attached to one node and can't be attached to another");
        check(&[("mine", "a"), ("mine", "b")], "used by pod(s) a, b");
        check(&[("mine", "a"), ("other", "b")], "used by pod(s) a and 1 pod(s) in different namespaces");
        check(&[("other", "b")], "used by 1 pod(s) in different namespaces");
    }

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
        assert!(is_own(&made));
        for foreign in ["va-a", "csi-", "csi-12", &made.to_uppercase()] {
            assert!(!is_own(foreign), "{foreign}");
        }
        assert!(needs_attachment(None));
        let driver = serde_json::from_value(json!({"spec": {"attachRequired": false}}));
        assert!(!needs_attachment(Some(&driver.unwrap())));
    }
}
