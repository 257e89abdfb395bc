//! Volumes of pods: made before the first container, kept up to date, taken away at the end.
//!
//! A volume is first resolved (what should be in it, asking the API server) and then set up on disk
//! below `pods/UID/volumes`, in the original's layout.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Volume};
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use knarr_api::quantity::Quantity;

use crate::container::ConfigError;
use crate::container::field::Surroundings;
use crate::csi::{Csi, CsiVolume};
use crate::pod;

pub mod atomic;
pub mod claim;
pub mod disk;
pub mod exclusive;
pub mod iscsi;
pub mod mounts;
pub mod nfs;
pub mod node_logs;
pub mod ownership;
pub mod payload;
pub mod subpath;
mod tools;
pub mod trust;

use exclusive::Exclusive;
use iscsi::Iscsi;
use nfs::Nfs;
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
    /// One of the steps of a driver's volume failed: which, the volume, and why.
    #[error("{0} failed for volume {1:?} : {2}")]
    Step(&'static str, String, String),
    /// No code here knows this kind of volume.
    #[error("no volume plugin matched for volume {0:?}")]
    Unsupported(String),
}

impl VolumeError {
    /// A step that failed.
    pub fn step(step: &'static str, volume: &str, reason: impl std::fmt::Display) -> Self {
        Self::Step(step, volume.to_owned(), reason.to_string())
    }
}

/// A token of a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub token: String,
    /// Until when it is valid.
    pub expires: Timestamp,
}

/// Where pods' objects and tokens come from.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// A config map; `None` if there is none.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, ConfigError>;
    /// A secret; `None` if there is none.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, ConfigError>;
    /// A token of the pod's service account, valid for a good while yet.
    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, ConfigError>;
    /// A claim; `None` if there is none.
    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, ConfigError>;
    /// A volume of the cluster; `None` if there is none.
    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, ConfigError>;
    /// Tells that what is on a claim's volume has become so large.
    async fn set_claim_size(&self, claim: &PersistentVolumeClaim, size: &Amount) -> Result<(), ConfigError>;
    /// A secret that is needed once, not while the pod runs; `None` if there is none.
    async fn secret_once(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ConfigError>;
    /// What a driver of volumes asks for; `None` if the cluster knows no such driver.
    async fn csi_driver(&self, name: &str) -> Result<Option<CSIDriver>, ConfigError>;
    /// Whether a volume is attached; `None` if nobody has asked for it yet.
    async fn volume_attachment(&self, name: &str) -> Result<Option<VolumeAttachment>, ConfigError>;
    /// Roots that somebody vouches for; `None` if there are none of the name.
    async fn trust_bundle(&self, name: &str) -> Result<Option<ClusterTrustBundle>, ConfigError>;
    /// All that are vouched for as a signer's.
    async fn trust_bundles(&self, signer: &str) -> Result<Vec<ClusterTrustBundle>, ConfigError>;
    /// A claim of devices; `None` if there is none.
    async fn resource_claim(&self, namespace: &str, name: &str)
    -> Result<Option<ResourceClaim>, ConfigError>;
    /// The runtime's handler for a runtime class.
    async fn runtime_handler(&self, class: &str) -> Result<String, ConfigError>;
}

/// What a volume should be.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// A directory of the pod's own.
    EmptyDir(Medium),
    /// A path of the node, which must be of the given kind.
    HostPath { spec_name: String, path: PathBuf, kind: String, read_only: bool },
    /// Files written by the kubelet.
    Payload { plugin: &'static str, medium: Medium, files: Payload },
    /// A disk of an iSCSI target.
    Iscsi(Box<Iscsi>),
    /// What an NFS server exports.
    Nfs(Nfs),
    /// What a driver makes.
    Csi(Box<CsiVolume>),
}

impl Resolved {
    /// Whether containers may only read it, whatever their mounts say.
    fn is_read_only(&self) -> bool {
        match self {
            Self::EmptyDir(_) => false,
            Self::HostPath { read_only, .. } => *read_only,
            Self::Payload { .. } => true,
            Self::Iscsi(volume) => volume.read_only,
            Self::Nfs(volume) => volume.read_only,
            Self::Csi(volume) => volume.read_only,
        }
    }

    /// What the volume is called in events: as its PersistentVolume, if it has one.
    fn name<'a>(&'a self, in_pod: &'a str) -> &'a str {
        match self {
            Self::HostPath { spec_name, .. } => spec_name,
            Self::Iscsi(volume) => &volume.spec_name,
            Self::Nfs(volume) => &volume.spec_name,
            Self::Csi(volume) => &volume.spec_name,
            Self::EmptyDir(_) | Self::Payload { .. } => in_pod,
        }
    }
}

/// Where a volume's files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// On the node's disk.
    Disk,
    /// In memory, so many bytes at most; 0: the kernel's own limit.
    Memory(i64),
    /// In huge pages of so many bytes.
    HugePages(i64),
}

/// A volume on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its directory, file or device.
    pub path: PathBuf,
    /// Containers may only read it, whatever their mounts say.
    pub read_only: bool,
}

/// How large a volume in memory may become: as the pod's memory limit, or the node's memory, and no larger than asked.
fn memory_size(pod: &Pod, around: &Surroundings, asked: Option<i64>) -> i64 {
    let limits = pod::containers(pod).iter().filter_map(|container| pod::limit_milli(container, "memory"));
    let whole = pod::spec(pod).resources.as_ref().and_then(|own| own.limits.as_ref()?.get("memory"));
    let of_pod = whole.map(pod::milli).or_else(|| limits.reduce(|one, other| one + other));
    let of_node = around.allocatable.get("memory").copied();
    let bytes = of_pod.into_iter().chain(of_node).map(|milli| milli / 1000);
    bytes.chain(asked.filter(|size| *size > 0)).min().unwrap_or_default()
}

/// The size of a volume's pages in bytes: what its medium says, or the one that the pod's containers ask for.
fn page_size(pod: &Pod, medium: &str) -> Result<i64, String> {
    let containers = pod::init_containers(pod).iter().chain(pod::containers(pod));
    let requests =
        containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref()).flatten();
    let asked: BTreeSet<&str> = requests.filter_map(|(name, _)| name.strip_prefix("hugepages-")).collect();
    let chosen = match medium.strip_prefix("HugePages-") {
        Some(size) if asked.contains(size) => size,
        Some(size) => {
            return Err(format!("medium {medium:?}: no container of the pod requests huge pages of {size}"));
        }
        None => match asked.iter().copied().collect::<Vec<&str>>().as_slice() {
            [only] => only,
            [] => return Err(format!("medium {medium:?}: no container of the pod requests huge pages")),
            _ => {
                return Err(format!(
                    "medium {medium:?} can only be used if containers request pages of one size"
                ));
            }
        },
    };
    let size = chosen.parse::<Quantity>().map(|size| size.value());
    size.map_err(|_| format!("medium {medium:?}: {chosen:?} is no size"))
}

/// Finds out what a volume should be.
pub async fn resolve(
    pod: &Pod,
    volume: &Volume,
    lookup: &dyn Lookup,
    exclusive: &Exclusive,
    around: &Surroundings,
) -> Result<Resolved, VolumeError> {
    let fail = |error| VolumeError::Config(volume.name.clone(), error);
    if let Some(source) = &volume.empty_dir {
        return match source.medium.as_deref().unwrap_or_default() {
            "" => Ok(Resolved::EmptyDir(Medium::Disk)),
            "Memory" => {
                let size = memory_size(pod, around, source.size_limit.as_ref().map(pod::value));
                Ok(Resolved::EmptyDir(Medium::Memory(size)))
            }
            medium if medium.starts_with("HugePages") => {
                let size = page_size(pod, medium);
                let size = size.map_err(|error| fail(ConfigError::Invalid(error)))?;
                Ok(Resolved::EmptyDir(Medium::HugePages(size)))
            }
            _ => Err(VolumeError::Unsupported(volume.name.clone())),
        };
    }
    if let Some(source) = &volume.host_path {
        let kind = source.type_.clone().unwrap_or_default();
        let path = node_logs::place(Path::new(&source.path), &around.pod_logs_dir);
        return Ok(Resolved::HostPath { spec_name: volume.name.clone(), path, kind, read_only: false });
    }
    if let Some(source) = &volume.iscsi {
        return claim::iscsi(pod, &volume.name, source, lookup).await.map_err(fail);
    }
    if let Some(source) = &volume.nfs {
        return Ok(Resolved::Nfs(Nfs {
            spec_name: volume.name.clone(),
            server: source.server.clone(),
            path: source.path.clone(),
            options: Vec::new(),
            read_only: source.read_only == Some(true),
        }));
    }
    if let Some(source) = &volume.csi {
        return Ok(Resolved::Csi(Box::new(claim::inline(pod, &volume.name, source))));
    }
    if let Some(claim) = claim::name(pod, volume) {
        let read_only = volume.persistent_volume_claim.as_ref().and_then(|source| source.read_only);
        let wanted =
            claim::Wanted { volume: &volume.name, claim: &claim, read_only: read_only == Some(true) };
        return claim::resolve(pod, wanted, lookup, exclusive).await;
    }
    match payload::collect(pod, volume, lookup, around).await.map_err(fail)? {
        Some((plugin, in_memory, files)) => {
            let medium =
                if in_memory { Medium::Memory(memory_size(pod, around, None)) } else { Medium::Disk };
            Ok(Resolved::Payload { plugin, medium, files })
        }
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

/// Resolves and sets up all volumes that the pod uses; answers where each is on the node, by name.
pub async fn set_up(
    pod_dir: &Path,
    pod: &Arc<Pod>,
    csi: &Arc<Csi>,
    lookup: &dyn Lookup,
    exclusive: &Exclusive,
    around: &Surroundings,
) -> Result<BTreeMap<String, Mounted>, VolumeError> {
    let used = used(pod);
    let mut paths = BTreeMap::new();
    // Images are the runtime's.
    let volumes = pod::spec(pod).volumes.iter().flatten().filter(|volume| volume.image.is_none());
    for volume in volumes.filter(|volume| used.contains(&volume.name)) {
        let resolved = resolve(pod, volume, lookup, exclusive, around).await?;
        let read_only = resolved.is_read_only();
        if let Resolved::Csi(wanted) = &resolved {
            let path = csi.set_up(pod, wanted, lookup).await?;
            paths.insert(volume.name.clone(), Mounted { path, read_only });
            continue;
        }
        if let Resolved::Iscsi(wanted) = resolved {
            paths.insert(
                volume.name.clone(),
                Mounted { path: set_up_iscsi(pod_dir, pod, *wanted).await?, read_only },
            );
            continue;
        }
        let told = resolved.name(&volume.name).to_owned();
        let (name, dir, owner) = (volume.name.clone(), pod_dir.to_owned(), Arc::clone(pod));
        let done = tokio::task::spawn_blocking(move || disk::set_up(&dir, &owner, &name, &resolved)).await;
        let fail = |error| VolumeError::Io(told.clone(), error);
        let path = done.map_err(|error| fail(io::Error::other(error)))?.map_err(fail)?;
        paths.insert(volume.name.clone(), Mounted { path, read_only });
    }
    Ok(paths)
}

async fn set_up_iscsi(pod_dir: &Path, pod: &Arc<Pod>, wanted: Iscsi) -> Result<PathBuf, VolumeError> {
    // `ROOT/pods/UID`
    let root = pod_dir.ancestors().nth(2).unwrap_or(pod_dir).to_owned();
    let (dir, owner, name) = (pod_dir.to_owned(), Arc::clone(pod), wanted.spec_name.clone());
    let done = tokio::task::spawn_blocking(move || wanted.set_up(&root, &dir, &owner)).await;
    done.unwrap_or_else(|error| Err(("MountVolume.SetUp", io::Error::other(error))))
        .map_err(|(step, error)| VolumeError::step(step, &name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_in_memory() {
        let around = |memory: i64| Surroundings {
            allocatable: [("memory".to_owned(), memory * 1000)].into(),
            ..Default::default()
        };
        let pod = |limit: &str| {
            pod::tests::pod(&format!(
                "{{spec: {{containers: [{{name: a, resources: {{limits: {limit}}}}}]}}}}"
            ))
        };
        assert_eq!(memory_size(&pod("{}"), &around(100), None), 100, "the node's");
        assert_eq!(memory_size(&pod("{memory: 64}"), &around(100), None), 64, "the pod's");
        assert_eq!(memory_size(&pod("{memory: 64}"), &around(100), Some(10)), 10, "as asked");
        assert_eq!(memory_size(&pod("{memory: 64}"), &around(100), Some(80)), 64, "not more than the pod's");
        assert_eq!(memory_size(&pod("{}"), &Surroundings::default(), None), 0, "not known");
    }
    #[test]
    fn sizes_of_huge_pages() {
        let check = |requests: &str, medium: &str, expected: Option<i64>| {
            let text =
                format!("{{spec: {{containers: [{{name: a, resources: {{requests: {{{requests}}}}}}}]}}}}");
            assert_eq!(page_size(&pod::tests::pod(&text), medium).ok(), expected, "{requests} {medium}");
        };
        check("hugepages-2Mi: 4Mi", "HugePages", Some(2 << 20));
        check("hugepages-2Mi: 4Mi", "HugePages-2Mi", Some(2 << 20));
        check("hugepages-2Mi: 4Mi", "HugePages-1Gi", None);
        check("hugepages-2Mi: 4Mi, hugepages-1Gi: 1Gi", "HugePages", None);
        check("hugepages-2Mi: 4Mi, hugepages-1Gi: 1Gi", "HugePages-1Gi", Some(1 << 30));
        check("cpu: 1", "HugePages", None);
    }
}
