//! Persistent volume claims whose volume is a path of the node: `hostPath` and `local`.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::{Lookup, Resolved};
use crate::container::ConfigError;
use crate::pod;

/// Name of the claim that a volume stands for; a generic ephemeral volume has one named after pod and
/// volume.
pub fn name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(source.claim_name.clone());
    }
    volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod::name(pod), volume.name))
}

/// Follows the claim to its volume.
pub async fn resolve(pod: &Pod, claim: &str, lookup: &dyn Lookup) -> Result<Resolved, ConfigError> {
    let namespace = pod::namespace(pod);
    let missing = || ConfigError::Missing(format!("persistentvolumeclaim \"{claim}\" not found"));
    let found = lookup.claim(namespace, claim).await?.ok_or_else(missing)?;
    let bound = found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume = found.spec.and_then(|spec| spec.volume_name).filter(|_| bound);
    let volume = volume
        .ok_or_else(|| ConfigError::Missing(format!("PVC {namespace}/{claim} is not bound to a volume")))?;
    let missing = || ConfigError::Missing(format!("persistentvolume \"{volume}\" not found"));
    let spec = lookup.volume(&volume).await?.ok_or_else(missing)?.spec.unwrap_or_default();
    if let Some(source) = spec.host_path {
        let kind = source.type_.unwrap_or_default();
        return Ok(Resolved::HostPath { path: PathBuf::from(source.path), kind });
    }
    if let Some(source) = spec.local {
        return Ok(Resolved::HostPath { path: PathBuf::from(source.path), kind: "Directory".to_owned() });
    }
    Err(ConfigError::Invalid(format!("persistentvolume \"{volume}\": this kind of volume is not supported")))
}
