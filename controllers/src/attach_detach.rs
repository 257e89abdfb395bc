//! Attaches volumes of CSI drivers to the nodes whose pods use them, and detaches them afterwards.
//!
//! A VolumeAttachment asks the driver's attacher; the node's status tells its kubelet what is
//! attached, and by `volumesInUse` what must not be taken away yet.

mod decide;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSIDriver, VolumeAttachment},
};
use knarr_component::{
    events::Recorder,
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    context::Context,
    meta::{ignore_absent, is_code, is_deleting, name, namespace},
    node_lifecycle::is_ready,
    pods::{self, Pod},
    taint_eviction::{BY_NODE, index_by_node},
    taints::{OUT_OF_SERVICE, taints},
};

use decide::{
    Attachable, Blocked, attachable, attachment_name, blocked, is_own, multi_attach, needs_attachment,
};

/// How long a volume that an unready node says to use is left there.
const FORCE_AFTER: Duration = Duration::from_secs(360);

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    drivers: Informer<CSIDriver>,
    attachments: Informer<VolumeAttachment>,
    recorder: Recorder,
    /// Since when volumes (by attachment) have been of no use on their nodes.
    unused: Mutex<HashMap<String, Instant>>,
}

/// Runs the controller: nodes are its items.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        pods: context.informers.get(),
        nodes: context.informers.get(),
        claims: context.informers.get(),
        volumes: context.informers.get(),
        drivers: context.informers.get(),
        attachments: context.informers.get(),
        recorder: context.recorder("attachdetach-controller"),
        unused: Mutex::default(),
        context,
    });
    index_by_node(&controller.pods);
    let queue: Queue<String> = Queue::new();
    let added = queue.clone();
    controller.pods.on_change(move |change| {
        let pod = change.object();
        if !pods::node_name(pod).is_empty() && pods::claims(pod).next().is_some() {
            added.add(pods::node_name(pod).to_string());
        }
    });
    let (added, claimed) = (queue.clone(), controller.pods.clone());
    controller.claims.on_change(move |change| {
        let claim = change.object();
        for pod in claimed.list_namespace(namespace(&claim.metadata)) {
            let uses = pods::claims(&pod).any(|used| used == name(&claim.metadata));
            if uses && !pods::node_name(&pod).is_empty() {
                added.add(pods::node_name(&pod).to_string());
            }
        }
    });
    let added = queue.clone();
    controller.attachments.on_change(move |change| added.add(change.object().spec.node_name.clone()));
    let added = queue.clone();
    controller.nodes.on_change(move |change| added.add(name(&change.object().metadata).to_string()));
    let synced = {
        let (pods, nodes) = (controller.pods.synced(), controller.nodes.synced());
        let (claims, volumes) = (controller.claims.synced(), controller.volumes.synced());
        let (drivers, attachments) = (controller.drivers.synced(), controller.attachments.synced());
        async {
            futures::join!(pods, nodes, claims, volumes, drivers, attachments);
        }
    };
    let context = controller.context.clone();
    context
        .work("persistentvolume-attach-detach-controller", synced, queue, 4, move |node| {
            let controller = controller.clone();
            async move { controller.sync(&node).await }
        })
        .await
}

/// The volumes that pods of a node use, by the names of their attachments.
type Wanted = BTreeMap<String, Attachable>;

impl Controller {
    fn volume_of(&self, pod: &Pod, claim: &str) -> Option<Attachable> {
        let claim = self.claims.get(&Key::new(namespace(&pod.metadata), claim))?;
        let volume = claim.spec.as_ref()?.volume_name.as_deref()?;
        let found = attachable(&*self.volumes.get(&Key::new("", volume))?)?;
        let driver = self.drivers.get(&Key::new("", found.driver.clone()));
        needs_attachment(driver.as_deref()).then_some(found)
    }

    fn wanted_on(&self, node: &str) -> Wanted {
        let mut wanted = Wanted::new();
        for pod in self.pods.by_index(BY_NODE, node) {
            if pods::is_finished(&pod) {
                continue;
            }
            for claim in pods::claims(&pod) {
                if let Some(volume) = self.volume_of(&pod, &claim) {
                    wanted.insert(attachment_name(&volume, node), volume);
                }
            }
        }
        wanted
    }

    /// The pods of a node that use a volume.
    fn users(&self, node: &str, volume: &Attachable) -> Vec<Arc<Pod>> {
        let uses = |pod: &Pod| {
            let mut volumes = pods::claims(pod).filter_map(|claim| self.volume_of(pod, &claim));
            volumes.any(|used| used.name == volume.name)
        };
        let mut users = self.pods.by_index(BY_NODE, node);
        users.retain(|pod| !pods::is_finished(pod) && uses(pod));
        users
    }

    async fn sync(&self, node: &str) -> SyncResult {
        let wanted = self.wanted_on(node);
        let all = self.attachments.list();
        let found = self.nodes.get(&Key::new("", node));
        let mut again = false;
        for (attachment, volume) in &wanted {
            self.unused.lock().remove(attachment);
            if all.iter().any(|known| name(&known.metadata) == attachment) {
                continue;
            }
            match blocked(volume, node, &all) {
                None => self.attach(node, attachment, volume).await?,
                Some(Blocked { node: elsewhere }) => {
                    again = true;
                    let users = self.users(&elsewhere, volume);
                    for pod in self.users(node, volume) {
                        let text = multi_attach(&volume.name, namespace(&pod.metadata), &users);
                        self.recorder.warning(&*pod, "FailedAttachVolume", text);
                    }
                }
            }
        }
        for attachment in all.iter().filter(|known| known.spec.node_name == node) {
            let known = name(&attachment.metadata);
            if wanted.contains_key(known) || is_deleting(&attachment.metadata) || !is_own(known) {
                continue;
            }
            again |= !self.detach(found.as_deref(), attachment).await?;
        }
        if let Some(found) = &found {
            self.report(found, &all, &wanted).await?;
        }
        Ok(again.then_some(Requeue::After(Duration::from_secs(5))))
    }

    async fn attach(&self, node: &str, attachment: &str, volume: &Attachable) -> anyhow::Result<()> {
        let object = VolumeAttachment {
            metadata: ObjectMeta { name: Some(attachment.to_string()), ..Default::default() },
            spec: k8s_openapi::api::storage::v1::VolumeAttachmentSpec {
                attacher: volume.driver.clone(),
                node_name: node.to_string(),
                source: k8s_openapi::api::storage::v1::VolumeAttachmentSource {
                    persistent_volume_name: Some(volume.name.clone()),
                    ..Default::default()
                },
            },
            status: None,
        };
        match self.context.api_all::<VolumeAttachment>().create(&PostParams::default(), &object).await {
            Err(error) if !is_code(&error, 409) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Detaches what is of no use; false when the node must let go of it first.
    async fn detach(&self, node: Option<&Node>, attachment: &VolumeAttachment) -> anyhow::Result<bool> {
        let key = name(&attachment.metadata).to_string();
        let since = *self.unused.lock().entry(key.clone()).or_insert_with(Instant::now);
        if let Some(node) = node {
            let unique = self.unique_name(attachment);
            let in_use = node.status.iter().flat_map(|status| status.volumes_in_use.iter().flatten());
            let in_use = unique.is_some_and(|unique| in_use.into_iter().any(|used| *used == unique));
            let off = taints(node).iter().any(|taint| taint.key == OUT_OF_SERVICE);
            let lost = !is_ready(node) && since.elapsed() >= FORCE_AFTER;
            if in_use && !off && !lost {
                return Ok(false);
            }
        }
        let api = self.context.api_all::<VolumeAttachment>();
        ignore_absent(api.delete(&key, &DeleteParams::default()).await)?;
        self.unused.lock().remove(&key);
        Ok(true)
    }

    fn unique_name(&self, attachment: &VolumeAttachment) -> Option<String> {
        let volume = attachment.spec.source.persistent_volume_name.as_deref()?;
        let volume = self.volumes.get(&Key::new("", volume))?;
        attachable(&volume).map(|volume| volume.unique_name())
    }

    /// Tells the node what is attached to it, and pods that it has become so.
    async fn report(
        &self,
        node: &Node,
        all: &[Arc<VolumeAttachment>],
        wanted: &Wanted,
    ) -> anyhow::Result<()> {
        let node_name = name(&node.metadata);
        let attached = all.iter().filter(|known| {
            known.spec.node_name == node_name
                && !is_deleting(&known.metadata)
                && known.status.as_ref().is_some_and(|status| status.attached)
        });
        let mut names: Vec<String> = attached.filter_map(|known| self.unique_name(known)).collect();
        names.sort();
        let known = node.status.iter().flat_map(|status| status.volumes_attached.iter().flatten());
        let mut known: Vec<String> = known.map(|volume| volume.name.clone()).collect();
        known.sort();
        if names == known {
            return Ok(());
        }
        let list: Vec<_> = names.iter().map(|name| json!({"name": name, "devicePath": ""})).collect();
        let patch = Patch::Merge(json!({"status": {"volumesAttached": list}}));
        let api = self.context.api_all::<Node>();
        ignore_absent(api.patch_status(node_name, &PatchParams::default(), &patch).await)?;
        for volume in wanted.values() {
            let unique = volume.unique_name();
            if names.contains(&unique) && !known.contains(&unique) {
                let text = format!("AttachVolume.Attach succeeded for volume {:?} ", volume.name);
                for pod in self.users(node_name, volume) {
                    self.recorder.normal(&*pod, "SuccessfulAttachVolume", text.clone());
                }
            }
        }
        Ok(())
    }
}
