//! Persistent volume claims: paths of the node (`hostPath`, `local`) and volumes of drivers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    CSIVolumeSource, ISCSIVolumeSource, PersistentVolumeClaim, PersistentVolumeSpec, Pod, SecretReference,
    Volume,
};

use super::exclusive::{self, Exclusive};
use super::iscsi::{self, Iscsi, Target};
use super::nfs::Nfs;
use super::{Lookup, Resolved, VolumeError};
use crate::container::ConfigError;
use crate::csi::{CsiVolume, Growth, places};
use crate::pod;

/// Name of the claim that a volume stands for; a generic ephemeral volume has one named after pod and
/// volume.
pub fn name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(source.claim_name.clone());
    }
    volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod::name(pod), volume.name))
}

/// A volume of a pod that stands for a claim.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The volume's name in the pod.
    pub volume: &'a str,
    /// The claim's name.
    pub claim: &'a str,
    /// The pod asks for no more than to read it.
    pub read_only: bool,
}

/// Follows the claim to its volume, after which the volume is called in errors once it is known.
pub async fn resolve(
    pod: &Pod,
    wanted: Wanted<'_>,
    lookup: &dyn Lookup,
    exclusive: &Exclusive,
) -> Result<Resolved, VolumeError> {
    let fail = |error| VolumeError::Config(wanted.volume.to_owned(), error);
    let (volume, spec, waiting) = bound(pod, wanted.claim, lookup).await.map_err(fail)?;
    let alone = spec.access_modes.iter().flatten().any(|mode| mode == exclusive::MODE);
    if alone && !exclusive.take(pod, wanted.claim) {
        let text = "volume uses the ReadWriteOncePod access mode and is already in use by another pod";
        return Err(VolumeError::step("MountVolume.SetUp", &volume, text));
    }
    let is_block = spec.volume_mode.as_deref() == Some("Block");
    if let Some(source) = spec.local.as_ref().filter(|local| !is_block && !Path::new(&local.path).exists()) {
        let text = format!("path {:?} does not exist", source.path);
        return Err(VolumeError::step("MountVolume.NewMounter initialization", &volume, text));
    }
    let fail = |error| VolumeError::Config(volume.clone(), error);
    persistent(&volume, spec, waiting, wanted.read_only, lookup).await.map_err(fail)
}

/// The name of a claim's volume and what it is, with the claim if what is on the volume has to grow.
async fn bound(
    pod: &Pod,
    claim: &str,
    lookup: &dyn Lookup,
) -> Result<(String, PersistentVolumeSpec, Option<PersistentVolumeClaim>), ConfigError> {
    let namespace = pod::namespace(pod);
    let missing = || ConfigError::Missing(format!("persistentvolumeclaim \"{claim}\" not found"));
    let found = lookup.claim(namespace, claim).await?.ok_or_else(missing)?;
    let grows = found
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "FileSystemResizePending" && condition.status == "True");
    let waiting = grows.then(|| found.clone());
    let bound = found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume = found.spec.and_then(|spec| spec.volume_name).filter(|_| bound);
    let volume = volume
        .ok_or_else(|| ConfigError::Missing(format!("PVC {namespace}/{claim} is not bound to a volume")))?;
    let missing = || ConfigError::Missing(format!("persistentvolume \"{volume}\" not found"));
    let spec = lookup.volume(&volume).await?.ok_or_else(missing)?.spec.unwrap_or_default();
    Ok((volume, spec, waiting))
}

/// What a PersistentVolume is on the node.
async fn persistent(
    volume: &str,
    spec: PersistentVolumeSpec,
    waiting: Option<PersistentVolumeClaim>,
    read_only: bool,
    lookup: &dyn Lookup,
) -> Result<Resolved, ConfigError> {
    if let Some(source) = driver_volume(volume, &spec, read_only) {
        let size = spec.capacity.as_ref().and_then(|capacity| capacity.get("storage")).cloned();
        let growth = waiting.zip(size).map(|(claim, size)| Growth { claim, size });
        return Ok(Resolved::Csi(Box::new(CsiVolume { growth, ..source })));
    }
    let is_block = spec.volume_mode.as_deref() == Some("Block");
    if let Some(source) = spec.host_path {
        let kind = source.type_.unwrap_or_default();
        let path = PathBuf::from(source.path);
        return Ok(Resolved::HostPath { spec_name: volume.to_owned(), path, kind, read_only });
    }
    if let Some(source) = spec.iscsi {
        if is_block {
            let text = format!("persistentvolume \"{volume}\": block devices of iSCSI are not supported");
            return Err(ConfigError::Invalid(text));
        }
        let secret = source.secret_ref.as_ref();
        let secret = secret
            .map(|one| (one.namespace.clone().unwrap_or_default(), one.name.clone().unwrap_or_default()));
        let source = ISCSIVolumeSource {
            chap_auth_discovery: source.chap_auth_discovery,
            chap_auth_session: source.chap_auth_session,
            fs_type: source.fs_type,
            initiator_name: source.initiator_name,
            iqn: source.iqn,
            iscsi_interface: source.iscsi_interface,
            lun: source.lun,
            portals: source.portals,
            read_only: Some(read_only || source.read_only == Some(true)),
            secret_ref: None,
            target_portal: source.target_portal,
        };
        let options = spec.mount_options.unwrap_or_default();
        return iscsi_with(volume, &source, secret, options, lookup).await;
    }
    if let Some(source) = spec.nfs {
        return Ok(Resolved::Nfs(Nfs {
            spec_name: volume.to_owned(),
            server: source.server,
            path: source.path,
            options: spec.mount_options.unwrap_or_default(),
            read_only: read_only || source.read_only == Some(true),
        }));
    }
    if let Some(source) = spec.local {
        let kind = if is_block { "BlockDevice" } else { "Directory" };
        let path = PathBuf::from(source.path);
        let (spec_name, kind) = (volume.to_owned(), kind.to_owned());
        return Ok(Resolved::HostPath { spec_name, path, kind, read_only });
    }
    Err(ConfigError::Invalid(format!("persistentvolume \"{volume}\": this kind of volume is not supported")))
}

/// A persistent volume of a driver.
fn driver_volume(name: &str, spec: &PersistentVolumeSpec, read_only: bool) -> Option<CsiVolume> {
    let source = spec.csi.as_ref()?;
    let secret = |reference: &Option<SecretReference>| {
        let reference = reference.as_ref()?;
        Some((reference.namespace.clone()?, reference.name.clone()?))
    };
    let mode = spec.access_modes.iter().flatten().next();
    Some(CsiVolume {
        spec_name: name.to_owned(),
        driver: source.driver.clone(),
        handle: source.volume_handle.clone(),
        is_ephemeral: false,
        is_block: spec.volume_mode.as_deref() == Some("Block"),
        read_only: read_only || source.read_only == Some(true),
        fs_type: source.fs_type.clone().unwrap_or_default(),
        mount_options: spec.mount_options.clone().unwrap_or_default(),
        access_mode: mode.cloned().unwrap_or_else(|| "ReadWriteOnce".to_owned()),
        attributes: source.volume_attributes.clone().unwrap_or_default(),
        stage_secret: secret(&source.node_stage_secret_ref),
        publish_secret: secret(&source.node_publish_secret_ref),
        growth: None,
    })
}

/// A volume of a driver that lives with its pod.
pub fn inline(pod: &Pod, name: &str, source: &CSIVolumeSource) -> CsiVolume {
    let secret = source.node_publish_secret_ref.as_ref();
    CsiVolume {
        spec_name: name.to_owned(),
        driver: source.driver.clone(),
        handle: places::ephemeral_handle(pod::uid(pod), name),
        is_ephemeral: true,
        is_block: false,
        read_only: source.read_only == Some(true),
        fs_type: source.fs_type.clone().unwrap_or_default(),
        mount_options: Vec::new(),
        access_mode: "ReadWriteOnce".to_owned(),
        attributes: source.volume_attributes.clone().unwrap_or_default(),
        stage_secret: None,
        publish_secret: secret.map(|secret| (pod::namespace(pod).to_owned(), secret.name.clone())),
        growth: None,
    }
}

/// A volume of an iSCSI target that a pod names.
pub async fn iscsi(
    pod: &Pod,
    name: &str,
    source: &ISCSIVolumeSource,
    lookup: &dyn Lookup,
) -> Result<Resolved, ConfigError> {
    let secret = source.secret_ref.as_ref().map(|one| (pod::namespace(pod).to_owned(), one.name.clone()));
    iscsi_with(name, source, secret, Vec::new(), lookup).await
}

async fn iscsi_with(
    name: &str,
    source: &ISCSIVolumeSource,
    secret: Option<(String, String)>,
    options: Vec<String>,
    lookup: &dyn Lookup,
) -> Result<Resolved, ConfigError> {
    let (discovery_chap, session_chap) =
        (source.chap_auth_discovery == Some(true), source.chap_auth_session == Some(true));
    let mut values = BTreeMap::new();
    if let Some((namespace, secret)) = secret.filter(|_| discovery_chap || session_chap) {
        let missing = || ConfigError::Missing(format!("couldn't get secret {namespace}/{secret}"));
        let found = lookup.secret_once(&namespace, &secret).await?.ok_or_else(missing)?;
        let text = |(key, value): (String, ByteString)| (key, String::from_utf8_lossy(&value.0).into_owned());
        values.extend(found.data.unwrap_or_default().into_iter().map(text));
    }
    let portals = iscsi::portals(&source.target_portal, source.portals.as_deref().unwrap_or_default());
    let named = source.iscsi_interface.clone().filter(|interface| !interface.is_empty());
    let named = named.unwrap_or_else(|| "default".to_owned());
    let initiator = source.initiator_name.clone().filter(|initiator| !initiator.is_empty());
    // One of the volume's own, since the name belongs to the interface.
    let (interface, from_interface) = match initiator {
        Some(_) => (format!("{}:{name}", portals[0]), Some(named)),
        None => (named, None),
    };
    let target = Target { portals, iqn: source.iqn.clone(), lun: source.lun, interface, from_interface };
    Ok(Resolved::Iscsi(Box::new(Iscsi {
        spec_name: name.to_owned(),
        target,
        initiator,
        fs_type: source.fs_type.clone().unwrap_or_default(),
        options,
        read_only: source.read_only == Some(true),
        discovery_chap,
        session_chap,
        secret: values,
    })))
}
