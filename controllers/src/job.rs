//! Jobs: pods that run until enough of them have succeeded.
//!
//! No end of a pod may be missed, and none counted twice. Each pod of a Job has a finalizer, and
//! the status lists pods that have ended but are not counted: an ended pod is first listed, then
//! loses its finalizer, and is counted when the list is cleared. Whatever a crash interrupts,
//! [`track`] sees from the list and the finalizers where to go on.

mod decide;
mod indexes;
mod policy;
mod tell;
mod track;

use std::{collections::HashSet, sync::Arc, time::Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use knarr_component::{
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    context::Context,
    control::{PodControl, candidates, claim_all_with, index_orphans},
    expectations::Expectations,
    freshness::Written,
    meta::{
        controller_key, controller_of, has_finalizer, ignore_absent, is_code, is_deleting, matches, name,
        namespace, uid,
    },
    metrics,
    pods::Pod,
};

pub(crate) use decide::finished_at;
use decide::{Plan, is_finished};
use track::FINALIZER;

struct Controller {
    context: Context,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    control: PodControl,
    expectations: Expectations,
    written: Written,
    /// UIDs of pods whose finalizer is removed although the informer still shows it.
    released: Mutex<HashSet<String>>,
    /// UIDs of pods that were ended because they were too many, as long as there are these pods.
    given_up: Mutex<HashSet<String>>,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let control = PodControl { client: context.client.clone(), recorder: context.recorder("job-controller") };
    let controller = Arc::new(Controller {
        jobs: context.informers.get(),
        pods: context.informers.get(),
        control,
        expectations: Expectations::default(),
        written: Written::default(),
        released: Mutex::default(),
        given_up: Mutex::default(),
        context,
    });
    index_orphans(&controller.pods);
    let (queue, orphans) = (Queue::new(), Queue::new());
    let (added, left, this) = (queue.clone(), orphans.clone(), Arc::downgrade(&controller));
    controller.jobs.on_change(move |change| {
        let job = &change.object().metadata;
        added.add(Key::of(job));
        if let Some(this) = this.upgrade().filter(|_| change.is_deletion()) {
            this.pods.owned_by(uid(job)).iter().for_each(|pod| left.add(Key::of(&pod.metadata)));
        }
    });
    let (added, left, this) = (queue.clone(), orphans.clone(), Arc::downgrade(&controller));
    controller.pods.on_change(move |change| {
        if let Some(this) = this.upgrade() {
            this.pod_changed(&change, &added, &left);
        }
    });
    let synced = || {
        let (jobs, pods) = (controller.jobs.synced(), controller.pods.synced());
        async {
            futures::join!(jobs, pods);
        }
    };
    let (jobs_synced, pods_synced) = (synced(), synced());
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_job_syncs;
    let this = controller.clone();
    let jobs = context.work("job-controller", jobs_synced, queue, workers, move |key| {
        let controller = this.clone();
        async move { controller.timed(key).await }
    });
    let left = context.work("job-controller-orphan-pods", pods_synced, orphans, 1, move |key| {
        let controller = controller.clone();
        async move { controller.sync_orphan(&key).await }
    });
    futures::try_join!(jobs, left).map(drop)
}

impl Controller {
    fn pod_changed(&self, change: &Change<'_, Pod>, queue: &Queue<Key>, orphans: &Queue<Key>) {
        let pod = change.object();
        tell::tracked(change);
        if change.is_deletion() {
            self.given_up.lock().remove(uid(&pod.metadata));
        }
        if change.is_deletion() || !has_finalizer(&pod.metadata, FINALIZER) {
            self.released.lock().remove(uid(&pod.metadata));
        } else if self.is_orphan(pod) {
            orphans.add(Key::of(&pod.metadata));
        }
        if let Change::Updated { old, new } = change
            && controller_of(&old.metadata) != controller_of(&new.metadata)
        {
            controller_key::<Job>(&old.metadata).into_iter().for_each(|key| queue.add(key));
        }
        if let Some(owner) = controller_key::<Job>(&pod.metadata) {
            if change.is_deletion() || is_deleting(&pod.metadata) {
                self.expectations.deleted(&owner, uid(&pod.metadata));
            } else if matches!(change, Change::Added(_)) {
                self.expectations.created(&owner);
            }
            queue.add(owner);
        } else if controller_of(&pod.metadata).is_none() && !change.is_deletion() {
            for job in self.jobs.list_namespace(namespace(&pod.metadata)) {
                let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                if selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref())) {
                    queue.add(Key::of(&job.metadata));
                }
            }
        }
    }

    /// One look at a Job, which is counted.
    async fn timed(&self, key: Key) -> SyncResult {
        let mode = self.jobs.get(&key).map_or("NonIndexed", |job| tell::mode(&job));
        let (started, mut action) = (Instant::now(), "reconciling");
        let result = self.sync(key, &mut action).await;
        let labels = [mode, if result.is_ok() { "success" } else { "error" }, action];
        metrics::JOB_SYNCS.one(&labels);
        metrics::JOB_SYNC_TIME.took(&labels, started.elapsed());
        result
    }

    async fn sync(&self, key: Key, action: &mut &'static str) -> SyncResult {
        let Some(job) = self.jobs.get(&key) else {
            self.expectations.forget(&key);
            self.written.forget(&key);
            return Ok(None);
        };
        if self.written.is_stale(&key, &job.metadata) {
            return Ok(None);
        }
        let spec = job.spec.clone().unwrap_or_default();
        if spec.managed_by.as_deref().is_some_and(|manager| manager != "kubernetes.io/job-controller") {
            return Ok(None);
        }
        let held = |pod: &&Arc<Pod>| {
            has_finalizer(&pod.metadata, FINALIZER) && !self.released.lock().contains(uid(&pod.metadata))
        };
        if is_finished(&job) || is_deleting(&job.metadata) {
            let own = self.pods.owned_by(uid(&job.metadata));
            let left: Vec<Arc<Pod>> = own.iter().filter(held).cloned().collect();
            self.release(&left).await?;
            return Ok(None);
        }
        let Some(selector) = &spec.selector else { return Ok(None) };
        let candidates = candidates(&self.pods, &job.metadata);
        let claimed =
            claim_all_with(&self.context.client, &*job, selector, candidates, Some(FINALIZER)).await?;
        let with_finalizer: HashSet<String> =
            claimed.iter().filter(held).map(|pod| uid(&pod.metadata).to_string()).collect();
        let given_up = self.given_up.lock().clone();
        let mut world = decide::World {
            job: &job,
            pods: &claimed,
            with_finalizer: &with_finalizer,
            given_up: &given_up,
            now: Timestamp::now(),
            may_manage: self.expectations.satisfied(&key),
        };
        let mut plan = decide::plan(&world);
        *action = tell::action(&plan);
        let managed = self.manage_pods(&key, &job, &plan).await;
        tell::created(&job, &plan, managed.is_ok());
        if managed.is_err() {
            // What the pods have done is counted all the same.
            world.may_manage = false;
            plan = decide::plan(&world);
        }
        self.carry_out(&key, &job, &plan).await?;
        managed.context("cannot manage pods")?;
        Ok(plan.requeue.map(Requeue::After))
    }

    async fn carry_out(&self, key: &Key, job: &Job, plan: &Plan) -> anyhow::Result<()> {
        // What has ended is listed first, …
        let mut current = job.clone();
        if !plan.release.is_empty() && job.status.as_ref() != Some(&plan.listed) {
            let Some(updated) = self.write_status(key, &current, plan.listed.clone()).await? else {
                return Ok(());
            };
            current = updated;
        }
        // … then let go, and then counted.
        self.release(&plan.release).await?;
        if current.status.as_ref() != Some(&plan.status) {
            self.write_status(key, &current, plan.status.clone()).await?;
            self.report(job, plan);
            tell::counted(job, &plan.status);
        }
        Ok(())
    }

    async fn manage_pods(&self, key: &Key, job: &Job, plan: &Plan) -> anyhow::Result<()> {
        if plan.create.is_empty() && plan.delete.is_empty() {
            return Ok(());
        }
        let doomed = plan.delete.iter().map(|pod| uid(&pod.metadata).to_string());
        self.expectations.expect(key, plan.create.len(), doomed);
        let pod = |index: usize| indexes::pod(job, plan.create[index]);
        let created = self.control.create_batch(job, plan.create.len(), &self.expectations, pod).await;
        if plan.uncounted {
            self.given_up.lock().extend(plan.delete.iter().map(|pod| uid(&pod.metadata).to_string()));
            if let Err(error) = self.release(&plan.delete).await {
                let doomed = plan.delete.iter().map(|pod| uid(&pod.metadata));
                doomed.for_each(|uid| self.expectations.deleted(key, uid));
                return Err(error);
            }
        }
        let deleted = self.control.delete_batch(job, &plan.delete, &self.expectations).await;
        Ok(created.and(deleted)?)
    }

    async fn write_status(&self, key: &Key, job: &Job, status: JobStatus) -> anyhow::Result<Option<Job>> {
        let updated = Job { status: Some(status), ..job.clone() };
        let api = self.context.api::<Job>(&key.namespace);
        let result = api.replace_status(&key.name, &PostParams::default(), &updated).await;
        let answer = ignore_absent(result).context("cannot update status")?;
        if let Some(answer) = &answer {
            self.written.note(key, &answer.metadata);
        }
        Ok(answer)
    }

    fn report(&self, job: &Job, plan: &Plan) {
        for (reason, text, is_warning) in &plan.events {
            if *is_warning {
                self.control.recorder.warning(job, reason, text.clone());
            } else {
                self.control.recorder.normal(job, reason, text.clone());
            }
        }
    }

    /// Removes our finalizer.
    async fn release(&self, pods: &[Arc<Pod>]) -> anyhow::Result<()> {
        try_join_all(pods.iter().map(|pod| async {
            // Before it is done: the informer may be faster.
            self.released.lock().insert(uid(&pod.metadata).to_string());
            let ours = json!({"uid": pod.metadata.uid});
            self.remove_finalizer(pod, ours).await.inspect_err(|_| {
                self.released.lock().remove(uid(&pod.metadata));
            })
        }))
        .await
        .context("cannot remove finalizer")?;
        Ok(())
    }

    /// Removes our finalizer if the pod is still as `precondition`, a part of its metadata, says.
    async fn remove_finalizer(&self, pod: &Pod, precondition: Value) -> kube::Result<()> {
        let mut patch = json!({"metadata": precondition});
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([FINALIZER]);
        let api = self.context.api::<Pod>(namespace(&pod.metadata));
        match api.patch(name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(patch)).await {
            // 409 and 422: it is not so any more.
            Err(error) if ![404, 409, 422].into_iter().any(|code| is_code(&error, code)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether there is no Job that will ever count a pod: it was let go, or its Job is gone, maybe
    /// replaced by one of the same name.
    fn is_orphan(&self, pod: &Pod) -> bool {
        let Some(owner) = controller_of(&pod.metadata) else { return true };
        let job = controller_key::<Job>(&pod.metadata).map(|key| self.jobs.get(&key));
        job.is_some_and(|job| job.is_none_or(|job| uid(&job.metadata) != owner.uid))
    }

    /// A pod without a Job must not hang on our finalizer.
    async fn sync_orphan(&self, key: &Key) -> SyncResult {
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        if has_finalizer(&pod.metadata, FINALIZER) && self.is_orphan(&pod) {
            // A Job that adopts it meanwhile needs the finalizer.
            let seen = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
            self.remove_finalizer(&pod, seen).await.context("cannot remove finalizer")?;
        }
        Ok(None)
    }
}
