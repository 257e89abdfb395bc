//! Rules of what a volume is made of, the same for pods and for persistent volumes.
use super::constraints::Rule::{By, Need, NeedFormat, OneOf, Range};
use super::constraints::{Row, check};
use super::cursor::At;
use super::pod::{absolute_path, host_path, no_backsteps};
use super::storage::driver_name;

/// What the sources ask of their members. Those that only pods or only persistent volumes know lie with them.
const SOURCES: &[Row] = &[
    ("awsElasticBlockStore?.volumeID", Need),
    ("awsElasticBlockStore?.partition", Range(0, 255)),
    ("azureDisk?.diskName", Need),
    ("azureDisk?.diskURI", Need),
    ("azureDisk?.cachingMode", OneOf(&["None", "ReadOnly", "ReadWrite"])),
    ("azureDisk?.kind", OneOf(&["Dedicated", "Managed", "Shared"])),
    ("azureFile?.secretName", Need),
    ("azureFile?.shareName", Need),
    ("cephfs?.monitors", Need),
    ("cinder?.volumeID", Need),
    ("csi?.driver", NeedFormat(driver_name)),
    ("fc?", By(fibre_channel)),
    ("flexVolume?.driver", Need),
    ("flocker?", By(flocker)),
    ("gcePersistentDisk?.pdName", Need),
    ("gcePersistentDisk?.partition", Range(0, 255)),
    ("glusterfs?.endpoints", Need),
    ("glusterfs?.path", Need),
    ("hostPath?", By(host_path)),
    ("iscsi?.targetPortal", Need),
    ("iscsi?.iqn", By(qualified_target)),
    ("iscsi?.lun", Range(0, 255)),
    ("local?.path", By(local_path)),
    ("nfs?.server", Need),
    ("nfs?.path", By(absolute_path)),
    ("photonPersistentDisk?.pdID", Need),
    ("portworxVolume?.volumeID", Need),
    ("quobyte?.registry", Need),
    ("quobyte?.volume", Need),
    ("rbd?.monitors", Need),
    ("rbd?.image", Need),
    ("scaleIO?.gateway", Need),
    ("scaleIO?.system", Need),
    ("scaleIO?.volumeName", Need),
    ("storageos?.volumeName", Need),
    ("vsphereVolume?.volumePath", Need),
];

/// The members of whatever source a volume has.
pub(super) fn all(volume: &At<'_>) {
    check(volume, SOURCES);
}

fn fibre_channel(fc: &At<'_>) {
    let (names, ids) = (fc.get("targetWWNs"), fc.get("wwids"));
    if names.is_empty() && ids.is_empty() {
        names.required("must specify either targetWWNs or wwids, but not both");
    } else if !names.is_empty() && !ids.is_empty() {
        names.invalid("targetWWNs and wwids can not be specified simultaneously");
    }
    if !names.is_empty() {
        let lun = fc.get("lun");
        if lun.is_set() {
            check(&lun, &[("", Range(0, 255))]);
        } else {
            lun.required("lun is required if targetWWNs is specified");
        }
    }
}

fn flocker(flocker: &At<'_>) {
    let (name, uuid) = (flocker.get("datasetName"), flocker.get("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        name.required("one of datasetName and datasetUUID is required");
    } else if !name.is_empty() && !uuid.is_empty() {
        flocker.invalid_text("resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.text().contains('/') {
        name.invalid("must not contain '/'");
    }
}

fn qualified_target(name: &At<'_>) {
    let known = ["iqn", "eui", "naa"].iter().any(|start| name.text().starts_with(start));
    if name.need() && !known {
        name.invalid("must be valid format starting with iqn, eui, or naa");
    }
}

fn local_path(path: &At<'_>) {
    if path.is_empty() {
        path.required("");
    } else {
        no_backsteps(path);
    }
}
