//! The garbage collector: objects go when their owners are gone.
//!
//! It watches the metadata of all deletable resources and keeps the graph of owners
//! ([`graph`]). Three ways of deletion follow from it: in the *background* an owner goes at once
//! and its dependents when this is seen; in the *foreground* the owner waits (with a finalizer)
//! until its blocking dependents are gone; and when it *orphans*, its dependents lose their
//! reference first. What the graph suggests is verified with the server before anything is
//! deleted, since an informer may lag behind.

mod graph;
mod verify;

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::OwnerReference};
use knarr_component::{
    events::{Recorder, Type},
    informer::{Change, Informer},
    queue::Queue,
    runner::{self, SyncResult},
};
use kube::{
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
    runtime::watcher::Config,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, RwLock};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    meta::{ignore_absent, is_code},
    resources::{Resource, discover},
};

use graph::{FOREGROUND, Graph, ORPHAN, Object, Uid, Work};

/// How often resources are discovered without a reason to.
const RESYNC: Duration = Duration::from_secs(30);
/// How long new resources may take to sync before collection goes on.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// Resources without owners and of no interest: there are too many events.
const IGNORED: [&str; 2] = ["events", "events.events.k8s.io"];

struct Collector {
    context: Context,
    graph: Mutex<Graph>,
    /// Objects whose owners may be gone, and objects that wait for dependents.
    delete: Queue<Uid>,
    /// Owners whose dependents lose their reference.
    orphan: Queue<Uid>,
    /// Resources by API version and kind.
    resources: parking_lot::RwLock<HashMap<(String, String), Arc<Resource>>>,
    /// Held for writing while a resource is not in the graph yet.
    complete: RwLock<()>,
    rediscover: Notify,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let collector = Arc::new(Collector {
        graph: Mutex::default(),
        delete: Queue::with_max_delay(Duration::from_secs(60)),
        orphan: Queue::with_max_delay(Duration::from_secs(60)),
        resources: parking_lot::RwLock::default(),
        complete: RwLock::new(()),
        rediscover: Notify::new(),
        recorder: context.recorder("garbage-collector-controller"),
        context: context.clone(),
    });
    let mut monitors = Monitors::default();
    let first = async {
        while !collector.discover(&mut monitors).await {
            // Nothing tells when discovery answers again.
            tokio::time::sleep(Duration::from_secs(1)).await
        }
    };
    if context.stop.run_until_cancelled(first).await.is_none() {
        return Ok(());
    }
    let (stop, workers) = (context.stop.clone(), context.args.workers.concurrent_gc_syncs);
    let (this, that) = (collector.clone(), collector.clone());
    let deleting =
        runner::run("garbage-collector", collector.delete.clone(), workers, stop.clone(), move |uid| {
            let this = this.clone();
            async move { this.attempt_to_delete(uid).await }
        });
    let orphaning =
        runner::run("garbage-collector", collector.orphan.clone(), workers, stop.clone(), move |uid| {
            let that = that.clone();
            async move { that.attempt_to_orphan(uid).await }
        });
    let following = async {
        loop {
            let woken = tokio::time::timeout(RESYNC, collector.rediscover.notified()).await.is_ok();
            if woken {
                // A new definition is served a moment later than it is seen.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            collector.discover(&mut monitors).await;
        }
    };
    let following = stop.run_until_cancelled(following);
    tokio::join!(deleting, orphaning, following);
    Ok(())
}

/// The running informers.
#[derive(Default)]
struct Monitors(HashMap<(String, String), (Informer<Object>, CancellationToken)>);

impl Collector {
    /// Starts informers for new resources and stops those of resources that are gone; whether the
    /// server could be asked.
    async fn discover(self: &Arc<Self>, monitors: &mut Monitors) -> bool {
        let resources = match discover(&self.context.client).await {
            Ok(resources) => resources,
            Err(error) => {
                tracing::debug!(%error, "discovery failed");
                return false;
            }
        };
        let watchable = |resource: &&Arc<Resource>| {
            resource.can(&["delete", "list", "watch"]) && !IGNORED.contains(&resource.name().as_str())
        };
        let wanted: HashMap<(String, String), Arc<Resource>> = resources
            .iter()
            .filter(watchable)
            .map(|resource| ((resource.name(), resource.api.version.clone()), resource.clone()))
            .collect();
        let kinds = resources.iter().map(|resource| {
            ((resource.api.api_version.clone(), resource.api.kind.clone()), resource.clone())
        });
        *self.resources.write() = kinds.collect();
        monitors.0.retain(|key, (informer, stop)| {
            let keep = wanted.contains_key(key);
            if !keep {
                stop.cancel();
                for object in informer.list() {
                    self.apply(&Change::Deleted(&object));
                }
            }
            keep
        });
        let fresh: Vec<_> = wanted.into_iter().filter(|(key, _)| !monitors.0.contains_key(key)).collect();
        if fresh.is_empty() {
            return true;
        }
        let _pause = self.complete.write().await;
        let mut synced = Vec::new();
        for (key, resource) in fresh {
            let (informer, stop) = self.monitor(&resource);
            synced.push(informer.synced());
            monitors.0.insert(key, (informer, stop));
        }
        if tokio::time::timeout(SYNC_PATIENCE, futures::future::join_all(synced)).await.is_err() {
            tracing::warn!("some resources cannot be listed; their objects are not collected yet");
        }
        true
    }

    fn monitor(self: &Arc<Self>, resource: &Arc<Resource>) -> (Informer<Object>, CancellationToken) {
        let stop = self.context.stop.child_token();
        let kind = resource.clone();
        let informer = Informer::start_mapped(
            resource.metadata(&self.context.client),
            Config::default(),
            stop.clone(),
            move |object| Object::view(&kind, object.metadata),
        );
        let is_definition = matches!(
            resource.name().as_str(),
            "customresourcedefinitions.apiextensions.k8s.io" | "apiservices.apiregistration.k8s.io"
        );
        let this = Arc::downgrade(self);
        informer.on_change(move |change| {
            if let Some(this) = this.upgrade() {
                this.apply(&change);
                if is_definition {
                    this.rediscover.notify_one();
                }
            }
        });
        (informer, stop)
    }

    fn apply(&self, change: &Change<'_, Object>) {
        let mut graph = self.graph.lock();
        let work = match change {
            Change::Deleted(object) => graph.remove(&object.uid),
            Change::Added(object) | Change::Updated { new: object, .. } => graph.put(object),
        };
        drop(graph);
        self.enqueue(work);
    }

    fn enqueue(&self, work: Vec<Work>) {
        for work in work {
            match work {
                Work::Delete(uid) => self.delete.add(uid),
                Work::Orphan(uid) => self.orphan.add(uid),
            }
        }
    }

    /// Looks at one object whose owners, or whose dependents, have changed.
    async fn attempt_to_delete(&self, uid: Uid) -> SyncResult {
        let _complete = self.complete.read().await;
        let Some(node) = self.graph.lock().snapshot(&uid) else { return Ok(None) };
        let garbage = self.graph.lock().may_be_garbage(&node.object);
        if !node.waits_for_dependents && (node.object.deleting || !garbage) {
            return Ok(None);
        }
        let latest = self.latest(&node.object).await?;
        let Some(latest) = latest.filter(|latest| latest.uid == uid) else {
            // The informer has not told yet, or will never, as for an owner that is long gone.
            let work = self.graph.lock().remove(&uid);
            self.enqueue(work);
            return Ok(None);
        };
        if node.waits_for_dependents {
            return self.continue_foreground(&latest).await.map(|()| None);
        }
        if latest.owners.is_empty() {
            return Ok(None);
        }
        let Some(owners) = self.verify_owners(&latest).await? else { return Ok(None) };
        let circular = self.graph.lock().waiting_dependents(&uid);
        match graph::decide(&latest, &owners, node.dependents, &circular) {
            graph::Action::Keep => {}
            graph::Action::DropOwners(uids) => self.drop_owners(&latest, &uids).await?,
            graph::Action::Delete { policy, unblock } => {
                if unblock {
                    self.unblock_owners(&latest).await?;
                }
                self.delete(&latest, policy).await?;
            }
        }
        Ok(None)
    }

    /// Removes the finalizer of an owner in foreground deletion once nothing blocks it.
    async fn continue_foreground(&self, owner: &Object) -> anyhow::Result<()> {
        let dependents = self.graph.lock().dependents(&owner.uid);
        if !dependents.iter().any(|dependent| dependent.blocks) {
            return self.remove_finalizer(owner, FOREGROUND).await;
        }
        dependents
            .into_iter()
            .filter(|dependent| !dependent.waits)
            .for_each(|dependent| self.delete.add(dependent.uid));
        Ok(())
    }

    /// Takes the reference to an owner from all its dependents, then the owner's finalizer.
    async fn attempt_to_orphan(&self, uid: Uid) -> SyncResult {
        let _complete = self.complete.read().await;
        let Some(node) = self.graph.lock().snapshot(&uid) else { return Ok(None) };
        let dependents = self.graph.lock().dependents(&uid);
        for dependent in dependents {
            let dependent = self.graph.lock().snapshot(&dependent.uid);
            let Some(dependent) = dependent else { continue };
            self.drop_owners(&dependent.object, std::slice::from_ref(&uid)).await?;
        }
        if let Some(owner) = self.latest(&node.object).await?.filter(|latest| latest.uid == uid) {
            self.remove_finalizer(&owner, ORPHAN).await?;
        }
        Ok(None)
    }

    async fn delete(&self, object: &Object, policy: PropagationPolicy) -> anyhow::Result<()> {
        let parameters = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(object.uid.to_string()),
                resource_version: Some(object.version.to_string()),
            }),
            ..Default::default()
        };
        tracing::debug!(object = %object, "deleting");
        let api = object.resource.objects(&self.context.client, &object.namespace);
        ignore_absent(api.delete(&object.name, &parameters).await)?;
        Ok(())
    }

    /// Removes references to owners. The UID in the patch keeps it from hitting another object of
    /// the same name.
    async fn drop_owners(&self, object: &Object, uids: &[Uid]) -> anyhow::Result<()> {
        let Some(latest) = self.latest(object).await?.filter(|latest| latest.uid == object.uid) else {
            return Ok(());
        };
        let keep: Vec<_> =
            latest.references.iter().filter(|owner| !uids.iter().any(|uid| **uid == *owner.uid)).collect();
        if keep.len() == latest.references.len() {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "ownerReferences": keep, "uid": &*latest.uid, "resourceVersion": &*latest.version,
        }});
        self.patch(&latest, patch).await
    }

    /// Lets owners in foreground deletion go on although this dependent remains: the two wait for
    /// each other.
    async fn unblock_owners(&self, object: &Object) -> anyhow::Result<()> {
        let mut owners = object.references.to_vec();
        owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
        let patch = json!({"metadata": {"ownerReferences": owners, "uid": &*object.uid}});
        self.patch(object, patch).await
    }

    async fn remove_finalizer(&self, object: &Object, finalizer: &str) -> anyhow::Result<()> {
        let finalizers: Vec<&String> = object.finalizers.iter().filter(|have| *have != finalizer).collect();
        if finalizers.len() == object.finalizers.len() {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "finalizers": finalizers, "uid": &*object.uid, "resourceVersion": &*object.version,
        }});
        self.patch(object, patch).await
    }

    async fn patch(&self, object: &Object, patch: serde_json::Value) -> anyhow::Result<()> {
        let api = object.resource.objects(&self.context.client, &object.namespace);
        let patched = api.patch_metadata(&object.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched {
            Err(error) if is_code(&error, 404) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    fn warn_of_namespace(&self, object: &Object, owner: &OwnerReference) {
        let about = ObjectReference {
            api_version: Some(object.resource.api.api_version.clone()),
            kind: Some(object.resource.api.kind.clone()),
            namespace: Some(object.namespace.to_string()),
            name: Some(object.name.to_string()),
            uid: Some(object.uid.to_string()),
            ..Default::default()
        };
        let OwnerReference { api_version, kind, name, uid, .. } = owner;
        let namespace = &object.namespace;
        let text = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in \
             namespace {namespace:?}"
        );
        self.recorder.event(about, Type::Warning, "OwnerRefInvalidNamespace", text);
    }
}
