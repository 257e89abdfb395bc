//! StatefulSets: pods with names that stay, each with volumes of its own.

mod decide;
mod identity;
mod retention;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus},
    core::v1::{PersistentVolumeClaim, PodTemplateSpec},
};
use knarr_component::{
    events::Recorder,
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::{
    Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};

use crate::{
    context::Context,
    control::{candidates, claim_all, index_orphans, message},
    freshness::Written,
    history::{self, Revisions},
    meta::{
        controller_key, controller_of, ignore_absent, is_code, is_deleting, is_namespace_terminating,
        matches, name, namespace, selects_everything,
    },
    pods::{self, Pod},
};

use decide::{Plan, Step, Why};

struct Controller {
    context: Context,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    recorder: Recorder,
    written: Written,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        sets: context.informers.get(),
        pods: context.informers.get(),
        claims: context.informers.get(),
        revisions: context.informers.get(),
        recorder: context.recorder("statefulset-controller"),
        written: Written::default(),
        context,
    });
    index_orphans(&controller.pods);
    index_orphans(&controller.revisions);
    let queue = Queue::new();
    let added = queue.clone();
    controller.sets.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, sets) = (queue.clone(), controller.sets.clone());
    controller.pods.on_change(move |change| pod_changed(&change, &sets, &added));
    let synced = {
        let (sets, pods) = (controller.sets.synced(), controller.pods.synced());
        let (claims, revisions) = (controller.claims.synced(), controller.revisions.synced());
        async {
            futures::join!(sets, pods, claims, revisions);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_statefulset_syncs;
    context
        .work("statefulset-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

fn pod_changed(change: &Change<'_, Pod>, sets: &Informer<StatefulSet>, queue: &Queue<Key>) {
    let pod = change.object();
    if let Change::Updated { old, new } = change
        && controller_of(&old.metadata) != controller_of(&new.metadata)
    {
        controller_key::<StatefulSet>(&old.metadata).into_iter().for_each(|key| queue.add(key));
    }
    if controller_of(&pod.metadata).is_some() {
        controller_key::<StatefulSet>(&pod.metadata).into_iter().for_each(|key| queue.add(key));
        return;
    }
    for set in sets.list_namespace(namespace(&pod.metadata)) {
        let selector = set.spec.as_ref().map(|spec| &spec.selector);
        if selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref())) {
            queue.add(Key::of(&set.metadata));
        }
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(set) = self.sets.get(&key) else {
            self.written.forget(&key);
            return Ok(None);
        };
        if is_deleting(&set.metadata) || self.written.is_stale(&key, &set.metadata) {
            return Ok(None);
        }
        let Some(spec) = set.spec.as_ref().filter(|spec| !selects_everything(&spec.selector)) else {
            return Ok(None);
        };
        // The original writes, and hashes, none as zero.
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or_default();
        let revisions = history::revisions(
            &self.context,
            &self.revisions,
            &*set,
            &spec.selector,
            &spec.template,
            Some(collisions),
        )
        .await?;
        let candidates = candidates(&self.pods, &set.metadata);
        let candidates =
            candidates.into_iter().filter(|pod| identity::ordinal(&set, pod).is_some()).collect();
        let claimed = claim_all(&self.context.client, &*set, &spec.selector, candidates).await?;
        let current = current_revision(&set, &revisions);
        let world = decide::World {
            set: &set,
            pods: &claimed,
            current: name(&current.metadata),
            update: name(&revisions.current.metadata),
            now: Timestamp::now(),
        };
        let plan = decide::plan(&world);
        self.retain_claims(&set, &claimed).await?;
        let mut status = plan.status.clone();
        status.collision_count = revisions.collisions;
        let done = self.carry_out(&set, &plan, &current, &revisions.current).await;
        self.update_status(&key, &set, status).await?;
        done?;
        self.clean_history(&set, &revisions, &claimed).await?;
        Ok(plan.requeue.map(|wait| Requeue::After(wait + Duration::from_millis(100))))
    }

    async fn carry_out(
        &self,
        set: &StatefulSet,
        plan: &Plan,
        current: &ControllerRevision,
        update: &ControllerRevision,
    ) -> anyhow::Result<()> {
        let monotonic = decide::is_ordered(set);
        let mut first = Ok(());
        for step in &plan.steps {
            let result = match step {
                Step::Create { ordinal, from_current } => {
                    let (revision, template) = if *from_current {
                        (current, history::template_of(current)?)
                    } else {
                        (update, set.spec.clone().unwrap_or_default().template)
                    };
                    self.create(set, *ordinal, template, name(&revision.metadata)).await
                }
                Step::Claim { ordinal } => self.create_claims(set, *ordinal).await,
                Step::Delete { pod, why } => self.delete(set, pod, *why).await,
                Step::Identify { pod, ordinal } => self.identify(set, pod, *ordinal).await,
            };
            match result {
                Err(error) if monotonic => return Err(error),
                Err(error) => first = first.and(Err(error)),
                Ok(()) => {}
            }
        }
        first
    }

    async fn create(
        &self,
        set: &StatefulSet,
        ordinal: i32,
        template: PodTemplateSpec,
        revision: &str,
    ) -> anyhow::Result<()> {
        let pod = identity::pod(set, ordinal, &template, revision);
        let pod_name = name(&pod.metadata);
        let failed = |why: &str| {
            let set_name = name(&set.metadata);
            let text = format!("create Pod {pod_name} in StatefulSet {set_name} failed error: {why}");
            self.recorder.warning(set, "FailedCreate", text);
        };
        if let Err(error) = self.create_claims(set, ordinal).await {
            failed(&error.to_string());
            return Err(error);
        }
        match pods::create(&self.context.client, &pod).await {
            Ok(_) => {
                let text = format!("create Pod {pod_name} in StatefulSet {} successful", name(&set.metadata));
                self.recorder.normal(set, "SuccessfulCreate", text);
                Ok(())
            }
            Err(error) if is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                if !is_code(&error, 409) {
                    failed(&message(&error));
                }
                Err(error).context("cannot create pod")
            }
        }
    }

    /// Makes the claims of a pod that are missing; the error is worded for the user.
    async fn create_claims(&self, set: &StatefulSet, ordinal: i32) -> anyhow::Result<()> {
        for claim in identity::claims(set, ordinal) {
            let key = Key::new(namespace(&set.metadata), name(&claim.metadata));
            if let Some(existing) = self.claims.get(&key) {
                if is_deleting(&existing.metadata) {
                    anyhow::bail!("pvc {} is being deleted", key.name);
                }
                continue;
            }
            let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
            let subject = format!(
                "Claim {} Pod {}-{ordinal} in StatefulSet {}",
                key.name,
                name(&set.metadata),
                name(&set.metadata)
            );
            match api.create(&PostParams::default(), &claim).await {
                Ok(_) => self.recorder.normal(set, "SuccessfulCreate", format!("create {subject} success")),
                Err(error) if is_code(&error, 409) => {}
                Err(error) => {
                    let text = format!("create {subject} failed error: {}", message(&error));
                    self.recorder.warning(set, "FailedCreate", text);
                    let why = format!("failed to create PVC {}: {}", key.name, message(&error));
                    return Err(error).context(why);
                }
            }
        }
        Ok(())
    }

    /// Makes the claims of all pods go with whom the set's policy names.
    async fn retain_claims(&self, set: &StatefulSet, pods: &[Arc<Pod>]) -> anyhow::Result<()> {
        for pod in pods {
            let Some(ordinal) = identity::ordinal(set, pod) else { continue };
            let condemned = !decide::range(set).contains(&ordinal);
            for claim in identity::claims(set, ordinal) {
                let key = Key::new(namespace(&set.metadata), name(&claim.metadata));
                let Some(existing) = self.claims.get(&key) else { continue };
                let Some(owners) = retention::owners(set, Some(pod), condemned, &existing.metadata) else {
                    continue;
                };
                let patch = Patch::Merge(serde_json::json!({"metadata": {
                    "resourceVersion": existing.metadata.resource_version, "ownerReferences": owners,
                }}));
                let api = self.context.api::<PersistentVolumeClaim>(&key.namespace);
                ignore_absent(api.patch(&key.name, &PatchParams::default(), &patch).await)?;
            }
        }
        Ok(())
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod, why: Why) -> anyhow::Result<()> {
        let recreating = |what: &str| {
            let (set, pod) = (Key::of(set.meta()), name(&pod.metadata));
            format!("StatefulSet {set} is recreating {what} Pod {pod}")
        };
        match why {
            Why::Failed => self.recorder.warning(set, "RecreatingFailedPod", recreating("failed")),
            Why::Succeeded => self.recorder.normal(set, "RecreatingTerminatedPod", recreating("terminated")),
            Why::Condemned | Why::Outdated => {}
        }
        let precondition = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let api = self.context.api::<Pod>(namespace(&set.metadata));
        let parameters = DeleteParams::default().preconditions(precondition);
        match ignore_absent(api.delete(name(&pod.metadata), &parameters).await) {
            Ok(_) => {
                let text = format!(
                    "delete Pod {} in StatefulSet {} successful",
                    name(&pod.metadata),
                    name(&set.metadata)
                );
                self.recorder.normal(set, "SuccessfulDelete", text);
                Ok(())
            }
            Err(error) => {
                let text = format!(
                    "delete Pod {} in StatefulSet {} failed error: {}",
                    name(&pod.metadata),
                    name(&set.metadata),
                    message(&error)
                );
                self.recorder.warning(set, "FailedDelete", text);
                Err(error).context("cannot delete pod")
            }
        }
    }

    /// Gives an adopted pod the labels by which it is known.
    async fn identify(&self, set: &StatefulSet, pod: &Pod, ordinal: i32) -> anyhow::Result<()> {
        let labels = identity::labels(set, ordinal);
        let patch = serde_json::json!({"metadata": {"labels": labels, "uid": pod.metadata.uid}});
        let api = self.context.api::<Pod>(namespace(&set.metadata));
        ignore_absent(api.patch(name(&pod.metadata), &PatchParams::default(), &Patch::Merge(patch)).await)?;
        Ok(())
    }

    async fn clean_history(
        &self,
        set: &StatefulSet,
        revisions: &Revisions,
        pods: &[Arc<Pod>],
    ) -> anyhow::Result<()> {
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let current = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        history::truncate(&self.context, &revisions.all, limit, |revision| {
            let revision = name(&revision.metadata);
            revision == name(&revisions.current.metadata)
                || Some(revision) == current
                || pods.iter().any(|pod| identity::revision(pod) == Some(revision))
        })
        .await
    }

    async fn update_status(
        &self,
        key: &Key,
        set: &StatefulSet,
        status: StatefulSetStatus,
    ) -> anyhow::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let updated = StatefulSet { status: Some(status), ..set.clone() };
        let api = self.context.api::<StatefulSet>(&key.namespace);
        let result = api.replace_status(&key.name, &PostParams::default(), &updated).await;
        if let Some(answer) = ignore_absent(result).context("cannot update status")? {
            self.written.note(key, &answer.metadata);
        }
        Ok(())
    }
}

/// The revision that pods had before the update in progress, if it is still known.
fn current_revision(set: &StatefulSet, revisions: &Revisions) -> Arc<ControllerRevision> {
    let current = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let known = revisions.all.iter().find(|revision| Some(name(&revision.metadata)) == current);
    known.unwrap_or(&revisions.current).clone()
}
