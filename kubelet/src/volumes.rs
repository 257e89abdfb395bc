//! Volumes of pods: made before the first container, kept up to date, taken away at the end.
//!
//! A volume is first resolved (what should be in it, asking the API server) and then set up on disk
//! below `pods/UID/volumes`, in the original's layout.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Volume};

use crate::container::ConfigError;
use crate::container::field::Surroundings;
use crate::pod;

pub mod atomic;
pub mod claim;
pub mod disk;
pub mod mounts;
pub mod ownership;
pub mod payload;
pub mod subpath;

use payload::Payload;

/// Why a volume cannot be given to its pod yet.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An object it needs is missing, or its spec is wrong.
    #[error("MountVolume.SetUp failed for volume {0:?} : {1}")]
    Config(String, ConfigError),
    /// A system call failed.
    #[error("MountVolume.SetUp failed for volume {0:?} : {1}")]
    Io(String, #[source] io::Error),
    /// No code here knows this kind of volume.
    #[error("no volume plugin matched for volume {0:?}")]
    Unsupported(String),
}

/// Where pods' objects and tokens come from.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// A config map; `None` if there is none.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, ConfigError>;
    /// A secret; `None` if there is none.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, ConfigError>;
    /// A token of the pod's service account, valid for a good while yet.
    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<String, ConfigError>;
    /// A claim; `None` if there is none.
    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, ConfigError>;
    /// A volume of the cluster; `None` if there is none.
    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, ConfigError>;
    /// The runtime's handler for a runtime class.
    async fn runtime_handler(&self, class: &str) -> Result<String, ConfigError>;
}

/// What a volume should be.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// A directory of the pod's own, on disk or in memory (with a limit in bytes).
    EmptyDir { memory: bool, size: Option<i64> },
    /// A path of the node, which must be of the given kind.
    HostPath { path: PathBuf, kind: String },
    /// Files written by the kubelet.
    Payload { plugin: &'static str, memory: bool, files: Payload },
}

/// Finds out what a volume should be.
pub async fn resolve(
    pod: &Pod,
    volume: &Volume,
    lookup: &dyn Lookup,
    around: &Surroundings,
) -> Result<Resolved, VolumeError> {
    let fail = |error| VolumeError::Config(volume.name.clone(), error);
    if let Some(source) = &volume.empty_dir {
        return match source.medium.as_deref().unwrap_or_default() {
            medium @ ("" | "Memory") => Ok(Resolved::EmptyDir {
                memory: medium == "Memory",
                size: source.size_limit.as_ref().map(pod::value).filter(|size| *size > 0),
            }),
            _ => Err(VolumeError::Unsupported(volume.name.clone())),
        };
    }
    if let Some(source) = &volume.host_path {
        let kind = source.type_.clone().unwrap_or_default();
        return Ok(Resolved::HostPath { path: PathBuf::from(&source.path), kind });
    }
    if let Some(claim) = claim::name(pod, volume) {
        return claim::resolve(pod, &claim, lookup).await.map_err(fail);
    }
    match payload::collect(pod, volume, lookup, around).await.map_err(fail)? {
        Some((plugin, memory, files)) => Ok(Resolved::Payload { plugin, memory, files }),
        None => Err(VolumeError::Unsupported(volume.name.clone())),
    }
}

/// The names of the volumes that containers of the pod really use.
pub fn used(pod: &Pod) -> BTreeSet<String> {
    let ephemeral: Vec<_> = pod::ephemeral_containers(pod).iter().map(pod::as_container).collect();
    pod::init_containers(pod)
        .iter()
        .chain(pod::containers(pod))
        .chain(&ephemeral)
        .flat_map(|container| {
            let mounts = container.volume_mounts.iter().flatten().map(|mount| mount.name.clone());
            let devices = container.volume_devices.iter().flatten().map(|device| device.name.clone());
            mounts.chain(devices)
        })
        .collect()
}

/// Resolves and sets up all volumes that the pod uses; answers where each is on the node.
pub async fn set_up(
    pod_dir: &Path,
    pod: &Arc<Pod>,
    lookup: &dyn Lookup,
    around: &Surroundings,
) -> Result<BTreeMap<String, PathBuf>, VolumeError> {
    let used = used(pod);
    let mut paths = BTreeMap::new();
    for volume in pod::spec(pod).volumes.iter().flatten().filter(|volume| used.contains(&volume.name)) {
        let resolved = resolve(pod, volume, lookup, around).await?;
        let (name, dir, owner) = (volume.name.clone(), pod_dir.to_owned(), Arc::clone(pod));
        let done = tokio::task::spawn_blocking(move || disk::set_up(&dir, &owner, &name, &resolved)).await;
        let fail = |error| VolumeError::Io(volume.name.clone(), error);
        let path = done.map_err(|error| fail(io::Error::other(error)))?.map_err(fail)?;
        paths.insert(volume.name.clone(), path);
    }
    Ok(paths)
}
