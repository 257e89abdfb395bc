//! Binds claims to volumes that exist. Volumes are made by administrators or by provisioners that
//! run in the cluster.

mod choose;
mod count;

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use knarr_component::{
    events::{Recorder, reference},
    informer::Informer,
    queue::Queue,
    runner::SyncResult,
    store::Key,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    edit::{self, Part},
    local_path::PROVISIONED_BY,
    meta::{annotation, created, is_deleting, name, namespace, uid},
    pods::{self, Pod},
};

use choose::Named;
pub(crate) use choose::nanos;

/// Annotation of a claim whose binding is complete in both directions.
const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Annotation of what this controller chose itself, rather than a user.
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Annotations of a claim that tell who is to make its volume; the older one is still read.
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// Annotation of the class for claims that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What controllers of volumes work on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    Claim(Key),
    /// By its name.
    Volume(String),
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Item::Claim(key) => write!(f, "claim {key}"),
            Item::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

struct Controller {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    count::count(&context);
    let controller = Arc::new(Controller {
        claims: context.informers.get(),
        volumes: context.informers.get(),
        classes: context.informers.get(),
        pods: context.informers.get(),
        recorder: context.recorder("persistentvolume-controller"),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.claims.on_change(move |change| {
        let claim = change.object();
        added.add(Item::Claim(Key::of(&claim.metadata)));
        if let Some(volume) = volume_name(claim) {
            added.add(Item::Volume(volume.to_string()));
        }
    });
    let (added, claims) = (queue.clone(), controller.claims.clone());
    controller.volumes.on_change(move |change| {
        let volume = change.object();
        added.add(Item::Volume(name(&volume.metadata).to_string()));
        // A new volume may be what some claim waits for.
        let waiting = claims.list().into_iter().filter(|claim| !is_completed(claim));
        waiting.for_each(|claim| added.add(Item::Claim(Key::of(&claim.metadata))));
        if let Some(claim) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) {
            let (space, name) =
                (claim.namespace.clone().unwrap_or_default(), claim.name.clone().unwrap_or_default());
            added.add(Item::Claim(Key::new(space, name)));
        }
    });
    let (added, claims) = (queue.clone(), controller.claims.clone());
    controller.classes.on_change(move |_| {
        let waiting = claims.list().into_iter().filter(|claim| !is_completed(claim));
        waiting.for_each(|claim| added.add(Item::Claim(Key::of(&claim.metadata))));
    });
    let (added, claims) = (queue.clone(), controller.claims.clone());
    controller.pods.on_change(move |change| {
        let pod = change.object();
        // The claims of a pod without a node may wait for it.
        if is_unscheduled(pod) {
            let keys = pods::claims(pod).map(|claim| Key::new(namespace(&pod.metadata), claim));
            let waits = |key: &Key| claims.get(key).is_some_and(|claim| !is_completed(&claim));
            keys.filter(waits).for_each(|key| added.add(Item::Claim(key)));
        }
    });
    let synced = {
        let (claims, volumes) = (controller.claims.synced(), controller.volumes.synced());
        let (classes, pods) = (controller.classes.synced(), controller.pods.synced());
        async {
            futures::join!(claims, volumes, classes, pods);
        }
    };
    let context = controller.context.clone();
    // One worker: two claims must not be given the same volume.
    context
        .work("persistentvolume-binder-controller", synced, queue, 1, move |item| {
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

fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

fn is_completed(claim: &PersistentVolumeClaim) -> bool {
    annotation(&claim.metadata, COMPLETED).is_some()
}

fn class(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default()
}

/// The class that claims without one get: the newest of those marked so.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<&StorageClass> {
    let marked = |class: &&Arc<StorageClass>| annotation(&class.metadata, DEFAULT_CLASS) == Some("true");
    let newest = |class: &&Arc<StorageClass>| {
        (created(&class.metadata), std::cmp::Reverse(name(&class.metadata).to_string()))
    };
    classes.iter().filter(marked).max_by_key(newest).map(|class| &**class)
}

/// What becomes of a released volume.
#[derive(Debug, PartialEq)]
enum Reclaim {
    /// It is kept, or whoever made it removes it.
    Nothing,
    /// It cannot be removed or emptied.
    Fail(&'static str, &'static str),
}

fn reclaim(volume: &PersistentVolume) -> Reclaim {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    match policy {
        Some("Delete") if annotation(&volume.metadata, PROVISIONED_BY).is_none() => Reclaim::Fail(
            "VolumeFailedDelete",
            "Error getting deleter volume plugin for volume: no deletable volume plugin matched",
        ),
        Some("Recycle") => Reclaim::Fail("VolumeFailedRecycle", "No recycler plugin found for the volume!"),
        _ => Reclaim::Nothing,
    }
}

fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

impl Controller {
    async fn sync_claim(&self, key: Key) -> SyncResult {
        let Some(claim) = self.claims.get(&key) else { return Ok(None) };
        if self.give_class(&key, &claim).await? {
            return Ok(None);
        }
        if is_completed(&claim) {
            return self.check_bound(&key, &claim).await;
        }
        let chosen = match volume_name(&claim) {
            Some(wanted) => self.named(&claim, wanted),
            None => {
                let scheduler_chooses = self.waits_for_consumer(&claim);
                let found = choose::choose(&claim, &self.volumes.list(), scheduler_chooses);
                if found.is_none() && scheduler_chooses {
                    let (reason, text) = self.waits_for(&claim);
                    self.recorder.normal(&*claim, reason, text);
                } else if found.is_none() {
                    self.explain(&claim);
                    self.ask_provisioner(&key, &claim).await?;
                }
                found
            }
        };
        match chosen {
            Some(volume) => Box::pin(self.bind(&key, &claim, &volume)).await?,
            None => self.set_claim_phase(&key, &claim, json!({"phase": "Pending"}), "Pending").await?,
        }
        Ok(None)
    }

    /// The volume that a claim names, if it may have it; tells why not.
    fn named(&self, claim: &PersistentVolumeClaim, wanted: &str) -> Option<Arc<PersistentVolume>> {
        let volume = self.volumes.get(&Key::new("", wanted))?;
        match choose::of_named(claim, &volume) {
            Named::Bind => Some(volume),
            Named::Refused(reason, text) => {
                self.recorder.warning(claim, reason, text);
                None
            }
        }
    }

    /// Reason and text of the event about a claim whose volume comes with the node of its first pod.
    fn waits_for(&self, claim: &PersistentVolumeClaim) -> (&'static str, String) {
        let uses = |pod: &Arc<Pod>| pods::claims(pod).any(|used| used == name(&claim.metadata));
        let pods = self.pods.list_namespace(namespace(&claim.metadata));
        let waiting: Vec<&str> = pods
            .iter()
            .filter(|pod| is_unscheduled(pod))
            .filter(|pod| uses(pod))
            .map(|pod| name(&pod.metadata))
            .collect();
        match waiting.as_slice() {
            [] => {
                ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned())
            }
            [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
            several => {
                ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", several.join(",")))
            }
        }
    }

    /// Gives the default class to a claim that names none; whether it did. Admission has done so already unless the
    /// class is younger than the claim.
    async fn give_class(&self, key: &Key, claim: &PersistentVolumeClaim) -> anyhow::Result<bool> {
        let spec = claim.spec.clone().unwrap_or_default();
        let legacy = annotation(&claim.metadata, "volume.beta.kubernetes.io/storage-class");
        if is_deleting(&claim.metadata)
            || spec.storage_class_name.is_some()
            || legacy.is_some()
            || volume_name(claim).is_some()
        {
            return Ok(false);
        }
        let classes = self.classes.list();
        let Some(class) = default_class(&classes) else { return Ok(false) };
        let change = json!({
            "metadata": {"resourceVersion": claim.metadata.resource_version},
            "spec": {"storageClassName": class.metadata.name},
        });
        let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
        edit::merge(&api, claim, &change, Part::Object).await?;
        Ok(true)
    }

    /// Tells the claim's provisioner that a volume is wanted.
    async fn ask_provisioner(&self, key: &Key, claim: &PersistentVolumeClaim) -> anyhow::Result<()> {
        let class = self.classes.get(&Key::new("", class(claim)));
        let Some(class) = class.filter(|class| class.provisioner != NO_PROVISIONER) else { return Ok(()) };
        let wanted = class.provisioner.as_str();
        if PROVISIONER.iter().all(|known| annotation(&claim.metadata, known) == Some(wanted)) {
            return Ok(());
        }
        let annotations: serde_json::Map<String, Value> =
            PROVISIONER.iter().map(|known| ((*known).to_string(), json!(wanted))).collect();
        let change = json!({"metadata": {"annotations": annotations}});
        let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
        edit::merge(&api, claim, &change, Part::Object).await?;
        Ok(())
    }

    /// Whether the scheduler chooses the volume together with the node.
    fn waits_for_consumer(&self, claim: &PersistentVolumeClaim) -> bool {
        let class = self.classes.get(&Key::new("", class(claim)));
        class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
            && annotation(&claim.metadata, "volume.kubernetes.io/selected-node").is_none()
    }

    fn explain(&self, claim: &PersistentVolumeClaim) {
        if class(claim).is_empty() {
            let text = "no persistent volumes available for this claim and no storage class is set";
            self.recorder.normal(claim, "FailedBinding", text);
            return;
        }
        match self.classes.get(&Key::new("", class(claim))) {
            None => {
                let text = format!("storageclass.storage.k8s.io {:?} not found", class(claim));
                self.recorder.warning(claim, "ProvisioningFailed", text);
            }
            Some(class) if class.provisioner != NO_PROVISIONER => {
                let text = format!(
                    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the \
                     system administrator. If volume creation is delayed, please verify that the provisioner is \
                     running and correctly registered.",
                    class.provisioner
                );
                self.recorder.normal(claim, "ExternalProvisioning", text);
            }
            Some(_) => {
                let text = format!("no volume plugin matched name: {NO_PROVISIONER}");
                self.recorder.warning(claim, "ProvisioningFailed", text);
            }
        }
    }

    /// First the volume, which only one claim can win, then the claim.
    async fn bind(
        &self,
        key: &Key,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> anyhow::Result<()> {
        let spec = volume.spec.clone().unwrap_or_default();
        let volumes = self.context.api_all::<PersistentVolume>();
        let volume_key = name(&volume.metadata);
        let bound =
            spec.claim_ref.as_ref().is_some_and(|known| known.uid.as_deref() == Some(uid(&claim.metadata)));
        let mut current = None;
        if !bound {
            let mut patch = json!({
                "metadata": {"resourceVersion": volume.metadata.resource_version},
                "spec": {"claimRef": reference(claim)},
            });
            if spec.claim_ref.is_none() {
                patch["metadata"]["annotations"] = json!({BY_CONTROLLER: "yes"});
            }
            current =
                edit::merge(&volumes, volume, &patch, Part::Object).await.context("cannot bind volume")?;
            anyhow::ensure!(current.is_some(), "cannot bind volume: it is gone");
        }
        self.set_volume_phase(current.as_ref().unwrap_or(volume), "Bound", "").await?;
        let mut annotations = json!({COMPLETED: "yes"});
        if volume_name(claim).is_none() {
            annotations[BY_CONTROLLER] = json!("yes");
        }
        let patch = json!({
            "metadata": {"annotations": annotations},
            "spec": {"volumeName": volume_key},
        });
        let claims = self.context.api::<PersistentVolumeClaim>(&key.namespace);
        let changed = edit::merge(&claims, claim, &patch, Part::Object).await.context("cannot bind claim")?;
        let Some(changed) = changed else { return Ok(()) };
        let status = json!({"phase": "Bound", "accessModes": spec.access_modes, "capacity": spec.capacity});
        self.set_claim_phase(key, &changed, status, "Bound").await
    }

    /// A bound claim whose volume is gone has lost its data.
    async fn check_bound(&self, key: &Key, claim: &PersistentVolumeClaim) -> SyncResult {
        let volume = volume_name(claim).and_then(|name| self.volumes.get(&Key::new("", name)));
        let ours = |volume: &Arc<PersistentVolume>| {
            let known = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            known.is_none_or(|known| known.uid.is_none() || known.uid == claim.metadata.uid)
        };
        match volume.filter(ours) {
            Some(volume) => self.bind_again(key, claim, &volume).await?,
            None => {
                let known = claim.status.as_ref().and_then(|status| status.phase.as_deref());
                if known != Some("Lost") {
                    let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                    self.recorder.warning(claim, "ClaimLost", text);
                }
                self.set_claim_phase(
                    key,
                    claim,
                    json!({"phase": "Lost", "accessModes": null, "capacity": null}),
                    "Lost",
                )
                .await?;
            }
        }
        Ok(None)
    }

    /// Completes what a crash may have interrupted.
    async fn bind_again(
        &self,
        key: &Key,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> anyhow::Result<()> {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let known = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let complete = known.is_some_and(|known| known.uid == claim.metadata.uid);
        if phase == Some("Bound") && complete && volume_phase(volume) == "Bound" {
            return Ok(());
        }
        Box::pin(self.bind(key, claim, volume)).await
    }

    async fn set_claim_phase(
        &self,
        key: &Key,
        claim: &PersistentVolumeClaim,
        status: Value,
        phase: &str,
    ) -> anyhow::Result<()> {
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
            return Ok(());
        }
        let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
        edit::merge(&api, claim, &json!({"status": status}), Part::Status).await?;
        Ok(())
    }

    async fn set_volume_phase(
        &self,
        volume: &PersistentVolume,
        phase: &str,
        message: &str,
    ) -> anyhow::Result<()> {
        if volume_phase(volume) == phase {
            return Ok(());
        }
        let api = self.context.api_all::<PersistentVolume>();
        let change = json!({"status": {"phase": phase, "message": message}});
        edit::merge(&api, volume, &change, Part::Status).await?;
        Ok(())
    }

    async fn sync_volume(&self, volume_key: &str) -> SyncResult {
        let Some(volume) = self.volumes.get(&Key::new("", volume_key)) else { return Ok(None) };
        let claim_ref = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone());
        let phase = match claim_ref {
            // Free, or kept by a user for a claim that has not been bound yet.
            None => "Available",
            Some(known) if known.uid.as_deref().unwrap_or_default().is_empty() => "Available",
            Some(known) => {
                let key = Key::new(
                    known.namespace.clone().unwrap_or_default(),
                    known.name.clone().unwrap_or_default(),
                );
                let claim = self.claims.get(&key).filter(|claim| claim.metadata.uid == known.uid);
                match claim {
                    Some(_) => return Ok(None),
                    None => match self.claim_is_gone(&key, known.uid.as_deref()).await? {
                        true => "Released",
                        false => return Ok(None),
                    },
                }
            }
        };
        if phase == "Released"
            && let Reclaim::Fail(reason, text) = reclaim(&volume)
        {
            if volume_phase(&volume) != "Failed" {
                self.recorder.warning(&*volume, reason, text);
            }
            self.set_volume_phase(&volume, "Failed", text).await?;
            return Ok(None);
        }
        if phase == "Released" && volume_phase(&volume) == "Failed" {
            // Its provisioner says why.
            return Ok(None);
        }
        self.set_volume_phase(&volume, phase, "").await?;
        Ok(None)
    }

    async fn claim_is_gone(&self, key: &Key, uid: Option<&str>) -> kube::Result<bool> {
        let live = self.context.api::<PersistentVolumeClaim>(&key.namespace).get_opt(&key.name).await?;
        Ok(live.is_none_or(|live| live.metadata.uid.as_deref() != uid))
    }
}

/// Whether no node has been chosen for a pod yet.
fn is_unscheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref().unwrap_or_default().is_empty())
        && !pods::is_finished(pod)
}

/// Whether a volume that is kept for some claim is kept for this one.
fn is_kept_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<bool> {
    let known = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let same_name = known.name.as_deref() == Some(name(&claim.metadata))
        && known.namespace.as_deref() == Some(namespace(&claim.metadata));
    let same_uid = known.uid.as_deref().is_none_or(|known| known.is_empty() || known == uid(&claim.metadata));
    Some(same_name && same_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_default_class_counts() {
        let class = |name: &str, marked: &str, time: &str| -> Arc<StorageClass> {
            let meta =
                json!({"name": name, "creationTimestamp": time, "annotations": {DEFAULT_CLASS: marked}});
            Arc::new(serde_json::from_value(json!({"metadata": meta, "provisioner": "p"})).unwrap())
        };
        let all = [
            class("old", "true", "2026-01-01T00:00:00Z"),
            class("b", "true", "2026-01-02T00:00:00Z"),
            class("a", "true", "2026-01-02T00:00:00Z"),
            class("none", "false", "2026-01-03T00:00:00Z"),
        ];
        assert_eq!(default_class(&all).map(|class| name(&class.metadata)), Some("a"));
        assert_eq!(default_class(&all[3..]), None);
    }

    #[test]
    fn released_volumes() {
        let check = |policy: &str, maker: Option<&str>, expected: Option<&str>| {
            let annotations = maker.map(|maker| json!({PROVISIONED_BY: maker}));
            let volume = json!({
                "metadata": {"annotations": annotations}, "spec": {"persistentVolumeReclaimPolicy": policy},
            });
            let reason = match reclaim(&serde_json::from_value(volume).unwrap()) {
                Reclaim::Nothing => None,
                Reclaim::Fail(reason, _) => Some(reason),
            };
            assert_eq!(reason, expected, "{policy} {maker:?}");
        };
        check("Retain", None, None);
        check("Delete", Some("csi.example.com"), None);
        check("Delete", None, Some("VolumeFailedDelete"));
        check("Recycle", None, Some("VolumeFailedRecycle"));
    }
}
