//! The built-in provisioner: volumes that are directories of a node, for the class `standard`.
//!
//! A volume belongs to the node that the scheduler chose for the claim's first consumer. The kubelet
//! there makes the directory when it is used first; on this process's own node it is made and
//! removed here. The directory of a volume on another node cannot be removed from here: such a
//! volume stays as `Failed`, which says so.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use knarr_component::{
    events::{Recorder, reference},
    informer::Informer,
    queue::Queue,
    runner::SyncResult,
    store::Key,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::{
    context::Context,
    meta::{annotation, ignore_absent, is_code, is_deleting, label, name, namespace, uid},
    volume_binder::Item,
};

/// Name of the provisioner in storage classes.
pub(crate) const PROVISIONER: &str = "knarr.dev/local-path";
/// Annotation of a volume: who made it.
pub(crate) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Annotation of a claim: the node of its first consumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const HOSTNAME: &str = "kubernetes.io/hostname";

struct Controller {
    context: Context,
    directory: PathBuf,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<Node>,
    recorder: Recorder,
}

/// Runs the controller; it has nothing to do without `--local-path-directory`.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let Some(directory) = context.args.local_path_directory.clone() else { return Ok(()) };
    let controller = Arc::new(Controller {
        directory,
        claims: context.informers.get(),
        volumes: context.informers.get(),
        classes: context.informers.get(),
        nodes: context.informers.get(),
        recorder: context.recorder(PROVISIONER),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.claims.on_change(move |change| {
        if !change.is_deletion() {
            added.add(Item::Claim(Key::of(&change.object().metadata)));
        }
    });
    let added = queue.clone();
    controller.volumes.on_change(move |change| {
        if annotation(&change.object().metadata, PROVISIONED_BY) == Some(PROVISIONER) {
            added.add(Item::Volume(name(&change.object().metadata).to_string()));
        }
    });
    let (added, claims) = (queue.clone(), controller.claims.clone());
    controller.classes.on_change(move |_| {
        claims.list().iter().for_each(|claim| added.add(Item::Claim(Key::of(&claim.metadata))));
    });
    let synced = {
        let (claims, volumes) = (controller.claims.synced(), controller.volumes.synced());
        let (classes, nodes) = (controller.classes.synced(), controller.nodes.synced());
        async {
            futures::join!(claims, volumes, classes, nodes);
        }
    };
    let context = controller.context.clone();
    context
        .work("local-path-provisioner-controller", synced, queue, 4, move |item| {
            let controller = controller.clone();
            async move {
                match item {
                    Item::Claim(key) => controller.sync_claim(key).await,
                    Item::Volume(name) => controller.sync_volume(&name).await,
                }
            }
        })
        .await
}

/// What is to be done about a claim.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is bound, somebody else's, or waits for its first consumer.
    Nothing,
    /// It asks for what a directory cannot be.
    Refuse(&'static str),
    /// A volume is made on this node; empty for any.
    Make(String),
}

fn step(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> Step {
    let spec = claim.spec.clone().unwrap_or_default();
    let Some(class) = class.filter(|class| class.provisioner == PROVISIONER) else { return Step::Nothing };
    if is_deleting(&claim.metadata) || spec.volume_name.is_some_and(|volume| !volume.is_empty()) {
        return Step::Nothing;
    }
    let node = annotation(&claim.metadata, SELECTED_NODE).unwrap_or_default();
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    if waits && node.is_empty() {
        return Step::Nothing;
    }
    if spec.selector.is_some() {
        return Step::Refuse("claim.Spec.Selector is not supported");
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Step::Refuse("block volumes are not supported by this provisioner");
    }
    let one_node = |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod");
    if !spec.access_modes.iter().flatten().all(one_node) {
        return Step::Refuse("only the access modes ReadWriteOnce and ReadWriteOncePod are supported");
    }
    Step::Make(node.to_string())
}

/// The directory of a claim's volume.
fn directory_of(base: &Path, claim: &PersistentVolumeClaim) -> PathBuf {
    let meta = &claim.metadata;
    base.join(format!("{}_{}_{}", volume_name(claim), namespace(meta), name(meta)))
}

fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", uid(&claim.metadata))
}

/// The volume for a claim on a node whose label `kubernetes.io/hostname` is `hostname`.
fn volume_for(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    directory: &Path,
    hostname: &str,
) -> serde_json::Result<PersistentVolume> {
    let spec = claim.spec.clone().unwrap_or_default();
    let request = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    serde_json::from_value(json!({
        "metadata": {"name": volume_name(claim), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": request.get("storage")},
            "accessModes": spec.access_modes,
            "volumeMode": spec.volume_mode,
            "persistentVolumeReclaimPolicy": class.reclaim_policy,
            "storageClassName": class.metadata.name,
            "mountOptions": class.mount_options,
            "claimRef": reference(claim),
            "hostPath": {"path": directory, "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": HOSTNAME, "operator": "In", "values": [hostname]},
            ]}]}},
        },
    }))
}

/// The directory of a volume that may be removed: one that this provisioner would make, whatever the object says.
fn removable(base: &Path, volume: &PersistentVolume) -> Option<PathBuf> {
    let path = PathBuf::from(&volume.spec.as_ref()?.host_path.as_ref()?.path);
    let prefix = format!("{}_", name(&volume.metadata));
    let file = path.file_name()?.to_str()?;
    (path.parent() == Some(base) && file.starts_with(&prefix)).then_some(path)
}

/// The hostname that a volume's affinity names.
fn hostname_of(volume: &PersistentVolume) -> Option<&str> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let mut rules =
        affinity.node_selector_terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
    let rule = rules.find(|rule| rule.key == HOSTNAME)?;
    rule.values.as_ref()?.first().map(String::as_str)
}

/// Makes a directory that any user of a container may write to.
fn make(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777))
}

impl Controller {
    /// Whether a node is the host of this process.
    fn is_here(&self, node: &str) -> bool {
        self.context.args.local_path_node.as_deref() == Some(node)
    }

    async fn sync_claim(&self, key: Key) -> SyncResult {
        let Some(claim) = self.claims.get(&key) else { return Ok(None) };
        let class_name = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
        let class = self.classes.get(&Key::new("", class_name.clone().unwrap_or_default()));
        let failed = |text: &str| {
            let class = class_name.clone().unwrap_or_default();
            let text = format!("failed to provision volume with StorageClass {class:?}: {text}");
            self.recorder.warning(&*claim, "ProvisioningFailed", text);
        };
        let node = match step(&claim, class.as_deref()) {
            Step::Nothing => return Ok(None),
            Step::Refuse(text) => {
                failed(text);
                return Ok(None);
            }
            Step::Make(node) if node.is_empty() => {
                self.context.args.local_path_node.clone().unwrap_or_default()
            }
            Step::Make(node) => node,
        };
        let (Some(class), Some(found)) = (class.as_deref(), self.nodes.get(&Key::new("", node.clone())))
        else {
            failed(&format!("node {node:?} not found"));
            self.give_back(&key).await?;
            return Ok(None);
        };
        if self.volumes.get(&Key::new("", volume_name(&claim))).is_some() {
            return Ok(None);
        }
        let text = format!("External provisioner is provisioning volume for claim {:?}", key.to_string());
        self.recorder.normal(&*claim, "Provisioning", text);
        let directory = directory_of(&self.directory, &claim);
        if self.is_here(&node) {
            let target = directory.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || make(&target)).await? {
                failed(&format!("cannot make {}: {error}", directory.display()));
                return Err(error.into());
            }
        }
        let hostname = label(&found.metadata, HOSTNAME).unwrap_or(&node);
        let volume = volume_for(&claim, class, &directory, hostname)?;
        match self.context.api_all::<PersistentVolume>().create(&PostParams::default(), &volume).await {
            Err(error) if !is_code(&error, 409) => {
                failed(&crate::control::message(&error));
                Err(error.into())
            }
            _ => {
                let text = format!("Successfully provisioned volume {}", volume_name(&claim));
                self.recorder.normal(&*claim, "ProvisioningSucceeded", text);
                Ok(None)
            }
        }
    }

    /// Lets the scheduler choose another node.
    async fn give_back(&self, key: &Key) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {SELECTED_NODE: null}}}));
        let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
        ignore_absent(api.patch(&key.name, &PatchParams::default(), &patch).await)?;
        Ok(())
    }

    /// Removes a released volume whose policy is `Delete`, with its data.
    async fn sync_volume(&self, volume_key: &str) -> SyncResult {
        let Some(volume) = self.volumes.get(&Key::new("", volume_key)) else { return Ok(None) };
        let spec = volume.spec.clone().unwrap_or_default();
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase != Some("Released") || spec.persistent_volume_reclaim_policy.as_deref() != Some("Delete") {
            return Ok(None);
        }
        if let Err(text) = self.remove_data(&volume).await {
            self.recorder.warning(&*volume, "VolumeFailedDelete", text.clone());
            let patch = Patch::Merge(json!({"status": {"phase": "Failed", "message": text}}));
            let api = self.context.api_all::<PersistentVolume>();
            ignore_absent(api.patch_status(volume_key, &PatchParams::default(), &patch).await)?;
            return Ok(None);
        }
        let precondition = Preconditions { uid: volume.metadata.uid.clone(), resource_version: None };
        let parameters = DeleteParams::default().preconditions(precondition);
        ignore_absent(self.context.api_all::<PersistentVolume>().delete(volume_key, &parameters).await)?;
        Ok(None)
    }

    async fn remove_data(&self, volume: &PersistentVolume) -> Result<(), String> {
        let Some(directory) = removable(&self.directory, volume) else {
            return Err("the volume's path is none that this provisioner made".to_string());
        };
        let hostname = hostname_of(volume).unwrap_or_default();
        let here = self.nodes.list().into_iter().any(|node| {
            let own = label(&node.metadata, HOSTNAME).unwrap_or(name(&node.metadata)) == hostname;
            own && self.is_here(name(&node.metadata))
        });
        if !here {
            let path = directory.display();
            return Err(format!("{path} is on node {hostname:?} and must be removed there by hand"));
        }
        let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", directory.display()))
            }
            _ => Ok(()),
        });
        removed.await.map_err(|error| error.to_string())?
    }
}

#[cfg(test)]
mod tests;
