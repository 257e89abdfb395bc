//! Giving volumes to pods: wait for attachment, stage once a node, publish once a pod.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::CSIDriver;
use serde_json::json;

use super::driver::Driver;
use super::messages::{
    AccessMode, AccessType, BlockVolume, Capability, CapacityRange, Mode, MountVolume,
    NodeExpandVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest, VolumeCapability,
};
use super::places::{self, Note};
use super::{Csi, CsiVolume};
use crate::grpc;
use crate::pod;
use crate::volumes::{Lookup, VolumeError, mounts, ownership};

pub(super) const PERSISTENT: &str = "Persistent";
const EPHEMERAL: &str = "Ephemeral";

/// How long a volume may take to be attached before the pod's events tell of it.
const ATTACH_PATIENCE: Duration = Duration::from_secs(120);
/// How often the attachment is looked at meanwhile: a kubelet may not watch those.
const ATTACH_PERIOD: Duration = Duration::from_millis(500);

/// What the cluster knows of a volume beside its own spec.
struct Known {
    settings: Option<CSIDriver>,
    stage_secrets: BTreeMap<String, String>,
    publish_secrets: BTreeMap<String, String>,
    /// Tokens of the pod's account, as drivers get them.
    tokens: Option<String>,
}

/// Which step failed, as events word it.
struct Steps {
    wait: &'static str,
    stage: &'static str,
    publish: &'static str,
}

const OF_FILES: Steps = Steps {
    wait: "MountVolume.WaitForAttach",
    stage: "MountVolume.MountDevice",
    publish: "MountVolume.SetUp",
};
const OF_BLOCKS: Steps = Steps {
    wait: "MapVolume.WaitForAttach",
    stage: "MapVolume.SetUpDevice",
    publish: "MapVolume.MapPodDevice",
};

impl Csi {
    /// Gives a volume to a pod; answers its path on the node: a directory, or a device. Safe to repeat.
    pub async fn set_up(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        volume: &CsiVolume,
        lookup: &dyn Lookup,
    ) -> Result<PathBuf, VolumeError> {
        let steps = if volume.is_block { OF_BLOCKS } else { OF_FILES };
        let fail = |step, message: String| VolumeError::step(step, &volume.spec_name, message);
        let driver = self.driver(&volume.driver).ok_or_else(|| {
            let name = &volume.driver;
            fail(steps.stage, format!("driver name {name} not found in the list of registered CSI drivers"))
        })?;
        let known = self.ask(pod, volume, lookup).await?;
        let context = if attaches(volume, known.settings.as_ref()) {
            self.attached(volume, lookup).await.map_err(|message| fail(steps.wait, message))?
        } else {
            BTreeMap::new()
        };
        let work = Work {
            csi: Arc::clone(self),
            driver,
            pod: Arc::clone(pod),
            volume: volume.clone(),
            known,
            context,
            steps,
        };
        // To its end, whatever becomes of the pod meanwhile.
        let path = tokio::spawn(work.run())
            .await
            .unwrap_or_else(|error| Err(VolumeError::step("MountVolume.SetUp", &volume.spec_name, error)))?;
        if let Some(growth) = &volume.growth {
            let told = lookup.set_claim_size(&growth.claim, &growth.size).await;
            told.map_err(|error| VolumeError::Config(volume.spec_name.clone(), error))?;
        }
        Ok(path)
    }

    async fn ask(&self, pod: &Pod, volume: &CsiVolume, lookup: &dyn Lookup) -> Result<Known, VolumeError> {
        let fail = |error| VolumeError::Config(volume.spec_name.clone(), error);
        let settings = lookup.csi_driver(&volume.driver).await.map_err(fail)?;
        if volume.is_ephemeral {
            may_be_ephemeral(volume, settings.as_ref())?;
        }
        let stage_secrets = secrets(volume, volume.stage_secret.as_ref(), lookup).await?;
        let publish_secrets = secrets(volume, volume.publish_secret.as_ref(), lookup).await?;
        let mut tokens = serde_json::Map::new();
        let wanted = settings.iter().flat_map(|driver| driver.spec.token_requests.iter().flatten());
        for request in wanted {
            let seconds = request.expiration_seconds.unwrap_or(3600);
            let token = lookup.token(pod, &request.audience, seconds).await.map_err(fail)?;
            let entry = json!({"token": token.token, "expirationTimestamp": token.expires.to_string()});
            tokens.insert(request.audience.clone(), entry);
        }
        let tokens = (!tokens.is_empty()).then(|| serde_json::Value::Object(tokens).to_string());
        Ok(Known { settings, stage_secrets, publish_secrets, tokens })
    }

    /// Waits until the volume is attached to this node; answers what its attacher noted.
    async fn attached(
        &self,
        volume: &CsiVolume,
        lookup: &dyn Lookup,
    ) -> Result<BTreeMap<String, String>, String> {
        let unique = volume.unique_name();
        self.in_use.send_if_modified(|names| names.insert(unique.clone()));
        let mut reported = self.reported.subscribe();
        let name = places::attachment_name(&volume.driver, &volume.handle, &self.node);
        let mut last = format!("volume attachment {name} not found");
        let wait = async {
            // Nobody detaches a volume that the node's status says to be in use.
            let _ = reported.wait_for(|names| names.contains(&unique)).await;
            loop {
                match lookup.volume_attachment(&name).await {
                    Ok(Some(found)) => {
                        let status = found.status.unwrap_or_default();
                        if found.metadata.deletion_timestamp.is_some() {
                            last = format!("volume attachment {name} is being deleted");
                        } else if status.attached {
                            return status.attachment_metadata.unwrap_or_default();
                        } else if let Some(message) = status.attach_error.and_then(|error| error.message) {
                            last = message;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => last = error.to_string(),
                }
                tokio::time::sleep(ATTACH_PERIOD).await;
            }
        };
        let found = tokio::time::timeout(ATTACH_PATIENCE, wait).await;
        found.map_err(|_| format!("timed out waiting for external-attacher of {}: {last}", volume.driver))
    }
}

/// One volume on its way to a pod.
struct Work {
    csi: Arc<Csi>,
    driver: Arc<Driver>,
    pod: Arc<Pod>,
    volume: CsiVolume,
    known: Known,
    context: BTreeMap<String, String>,
    steps: Steps,
}

impl Work {
    async fn run(self) -> Result<PathBuf, VolumeError> {
        let _lock = self.csi.lock(&self.volume.unique_name()).await;
        let can = self.driver.capabilities().await.map_err(|s| self.failed(self.steps.stage, s))?;
        let stages = can.contains(&Capability::StageUnstageVolume) && !self.volume.is_ephemeral;
        let (places, volume, uid) = (&self.csi.places, &self.volume, pod::uid(&self.pod));
        let directory = places.of_pod(uid).join(&volume.spec_name);
        let (staging, target) = if volume.is_block {
            (places.block_staging(&volume.spec_name), places.block_target(&volume.spec_name, uid))
        } else {
            (places.staging(&volume.driver, &volume.handle), directory.join("mount"))
        };
        let note = Note {
            spec_name: volume.spec_name.clone(),
            volume_handle: volume.handle.clone(),
            driver_name: volume.driver.clone(),
            node_name: self.csi.node.clone(),
            volume_lifecycle_mode: if volume.is_ephemeral { EPHEMERAL } else { PERSISTENT }.to_owned(),
            staging_path: if stages { text(&staging) } else { String::new() },
            target_path: text(&target),
        };
        let fail = |step| move |error: std::io::Error| VolumeError::step(step, &volume.spec_name, error);
        places::write(&directory, &note).map_err(fail(self.steps.publish))?;
        let groups = can.contains(&Capability::VolumeMountGroup);
        let capability =
            capability(volume, &self.pod, groups, can.contains(&Capability::SingleNodeMultiWriter));
        if stages && !mounts::is_mount_point(&staging).map_err(fail(self.steps.stage))? {
            std::fs::create_dir_all(&staging).map_err(fail(self.steps.stage))?;
            let request = NodeStageVolumeRequest {
                volume_id: volume.handle.clone(),
                publish_context: self.context.clone(),
                staging_target_path: note.staging_path.clone(),
                volume_capability: Some(capability.clone()),
                secrets: self.known.stage_secrets.clone(),
                volume_context: volume.attributes.clone(),
            };
            self.driver.stage(request).await.map_err(|status| self.failed(self.steps.stage, status))?;
        }
        if !self.is_there(&target).map_err(fail(self.steps.publish))? {
            self.publish(&note, &target, capability.clone()).await?;
            if !groups {
                self.give_to_group(&target).map_err(fail(self.steps.publish))?;
            }
        }
        if can.contains(&Capability::ExpandVolume) {
            self.grow(&note, capability).await?;
        }
        Ok(target)
    }

    /// Lets what is on the volume become as large as the volume, if that has grown.
    async fn grow(&self, note: &Note, capability: VolumeCapability) -> Result<(), VolumeError> {
        let Some(growth) = &self.volume.growth else { return Ok(()) };
        let range = CapacityRange { required_bytes: pod::value(&growth.size), limit_bytes: 0 };
        let request = NodeExpandVolumeRequest {
            volume_id: self.volume.handle.clone(),
            volume_path: note.target_path.clone(),
            capacity_range: Some(range),
            staging_target_path: note.staging_path.clone(),
            volume_capability: Some(capability),
            secrets: BTreeMap::new(),
        };
        let failed = |status| self.failed("MountVolume.NodeExpandVolume", status);
        self.driver.expand(request).await.map_err(failed)
    }

    /// Whether the volume has been published already and need not be again.
    fn is_there(&self, target: &Path) -> std::io::Result<bool> {
        let again = self.known.settings.as_ref().and_then(|driver| driver.spec.requires_republish);
        if again == Some(true) {
            return Ok(false);
        }
        if self.volume.is_block { Ok(target.exists()) } else { mounts::is_mount_point(target) }
    }

    async fn publish(
        &self,
        note: &Note,
        target: &Path,
        capability: VolumeCapability,
    ) -> Result<(), VolumeError> {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| VolumeError::step(self.steps.publish, &self.volume.spec_name, error))?;
        }
        let mut volume_context = self.volume.attributes.clone();
        volume_context.extend(self.about_pod());
        if let Some(tokens) = &self.known.tokens {
            volume_context.insert("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), tokens.clone());
        }
        let request = NodePublishVolumeRequest {
            volume_id: self.volume.handle.clone(),
            publish_context: self.context.clone(),
            staging_target_path: note.staging_path.clone(),
            target_path: note.target_path.clone(),
            volume_capability: Some(capability),
            readonly: self.volume.read_only,
            secrets: self.known.publish_secrets.clone(),
            volume_context,
        };
        self.driver.publish(request).await.map_err(|status| self.failed(self.steps.publish, status))
    }

    /// What drivers that ask for it are told of the pod.
    fn about_pod(&self) -> BTreeMap<String, String> {
        let asked = self.known.settings.as_ref().and_then(|driver| driver.spec.pod_info_on_mount);
        if asked != Some(true) {
            return BTreeMap::new();
        }
        let account = pod::spec(&self.pod).service_account_name.clone().unwrap_or_default();
        let facts = [
            ("pod.name", pod::name(&self.pod).to_owned()),
            ("pod.namespace", pod::namespace(&self.pod).to_owned()),
            ("pod.uid", pod::uid(&self.pod).to_owned()),
            ("serviceAccount.name", account),
            ("ephemeral", self.volume.is_ephemeral.to_string()),
        ];
        facts.into_iter().map(|(name, value)| (format!("csi.storage.k8s.io/{name}"), value)).collect()
    }

    fn give_to_group(&self, target: &Path) -> std::io::Result<()> {
        let security = pod::security(&self.pod);
        let Some(group) = security.fs_group.filter(|_| !self.volume.is_block && !self.volume.read_only)
        else {
            return Ok(());
        };
        let policy = self.known.settings.as_ref().and_then(|driver| driver.spec.fs_group_policy.as_deref());
        let wanted = match policy {
            Some("File") => true,
            Some("None") => false,
            _ => !self.volume.fs_type.is_empty() && self.volume.access_mode == "ReadWriteOnce",
        };
        let lazy = security.fs_group_change_policy.as_deref() == Some("OnRootMismatch");
        if !wanted || (lazy && ownership::belongs_to_group(target, group)?) {
            return Ok(());
        }
        ownership::give_to_group(target, group, ownership::Access::ReadWrite)
    }

    fn failed(&self, step: &'static str, status: tonic::Status) -> VolumeError {
        VolumeError::step(step, &self.volume.spec_name, grpc::describe(&status))
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether the volume must be attached to the node by somebody else first.
fn attaches(volume: &CsiVolume, settings: Option<&CSIDriver>) -> bool {
    !volume.is_ephemeral && settings.and_then(|driver| driver.spec.attach_required).unwrap_or(true)
}

/// A driver's volumes live with pods only if its object says so.
fn may_be_ephemeral(volume: &CsiVolume, settings: Option<&CSIDriver>) -> Result<(), VolumeError> {
    let modes = settings.and_then(|driver| driver.spec.volume_lifecycle_modes.as_deref()).unwrap_or_default();
    if modes.iter().any(|mode| mode == EPHEMERAL) {
        return Ok(());
    }
    let message = format!(
        "volume mode {EPHEMERAL:?} not supported by driver {} (only supports {modes:?})",
        volume.driver
    );
    Err(VolumeError::step(OF_FILES.publish, &volume.spec_name, message))
}

async fn secrets(
    volume: &CsiVolume,
    reference: Option<&(String, String)>,
    lookup: &dyn Lookup,
) -> Result<BTreeMap<String, String>, VolumeError> {
    let Some((namespace, name)) = reference else { return Ok(BTreeMap::new()) };
    let fail = |error| VolumeError::Config(volume.spec_name.clone(), error);
    let missing = || crate::container::ConfigError::Missing(format!("secrets \"{name}\" not found"));
    let found = lookup.secret_once(namespace, name).await.map_err(fail)?.ok_or_else(|| fail(missing()))?;
    let data = found.data.into_iter().flatten();
    Ok(data.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
}

/// How the pod uses the volume. `groups`: the driver gives it to the pod's group; `single`: the driver tells one pod
/// of a node from several.
fn capability(volume: &CsiVolume, pod: &Pod, groups: bool, single: bool) -> VolumeCapability {
    let mode = match volume.access_mode.as_str() {
        "ReadOnlyMany" => Mode::MultiNodeReaderOnly,
        "ReadWriteMany" => Mode::MultiNodeMultiWriter,
        "ReadWriteOncePod" if single => Mode::SingleNodeSingleWriter,
        "ReadWriteOnce" if single => Mode::SingleNodeMultiWriter,
        _ => Mode::SingleNodeWriter,
    };
    let access_type = if volume.is_block {
        AccessType::Block(BlockVolume {})
    } else {
        let group = pod::security(pod).fs_group.filter(|_| groups);
        AccessType::Mount(MountVolume {
            fs_type: volume.fs_type.clone(),
            mount_flags: volume.mount_options.clone(),
            volume_mount_group: group.map(|group| group.to_string()).unwrap_or_default(),
        })
    };
    VolumeCapability { access_type: Some(access_type), access_mode: Some(AccessMode { mode: mode as i32 }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(mode: &str) -> CsiVolume {
        CsiVolume {
            spec_name: "v".to_owned(),
            driver: "d".to_owned(),
            handle: "h".to_owned(),
            is_ephemeral: false,
            is_block: false,
            read_only: false,
            fs_type: "ext4".to_owned(),
            mount_options: Vec::new(),
            access_mode: mode.to_owned(),
            attributes: BTreeMap::new(),
            stage_secret: None,
            publish_secret: None,
            growth: None,
        }
    }

    #[test]
    fn access_modes() {
        let check = |mode: &str, single: bool, expected: Mode| {
            let found = capability(&volume(mode), &Pod::default(), false, single);
            assert_eq!(found.access_mode.map(|mode| mode.mode()), Some(expected), "{mode} {single}");
        };
        check("ReadWriteOnce", false, Mode::SingleNodeWriter);
        check("ReadWriteOnce", true, Mode::SingleNodeMultiWriter);
        check("ReadWriteOncePod", false, Mode::SingleNodeWriter);
        check("ReadWriteOncePod", true, Mode::SingleNodeSingleWriter);
        check("ReadOnlyMany", true, Mode::MultiNodeReaderOnly);
        check("ReadWriteMany", false, Mode::MultiNodeMultiWriter);
    }

    #[test]
    fn groups_of_drivers_that_know_them() {
        let pod = pod::tests::pod("{spec: {containers: [], securityContext: {fsGroup: 7}}}");
        let group = |groups| match capability(&volume("ReadWriteOnce"), &pod, groups, false).access_type {
            Some(AccessType::Mount(mount)) => mount.volume_mount_group,
            _ => panic!("no mount"),
        };
        assert_eq!(group(true), "7");
        assert_eq!(group(false), "");
    }

    #[test]
    fn settings_of_drivers() {
        let settings = |json| serde_json::from_value::<CSIDriver>(json).unwrap();
        let persistent = volume("ReadWriteOnce");
        let ephemeral = CsiVolume { is_ephemeral: true, ..volume("ReadWriteOnce") };
        assert!(attaches(&persistent, None), "unless the driver says otherwise");
        assert!(!attaches(&persistent, Some(&settings(json!({"spec": {"attachRequired": false}})))));
        assert!(!attaches(&ephemeral, None));
        let both = settings(json!({"spec": {"volumeLifecycleModes": ["Persistent", "Ephemeral"]}}));
        assert!(may_be_ephemeral(&ephemeral, Some(&both)).is_ok());
        assert!(may_be_ephemeral(&ephemeral, Some(&settings(json!({"spec": {}})))).is_err());
        assert!(may_be_ephemeral(&ephemeral, None).is_err());
    }
}
