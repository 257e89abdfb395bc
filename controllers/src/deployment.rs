//! Deployments: one ReplicaSet for each template, and rollouts from one to the next.
//!
//! [`plan`](rollout::plan) decides on copies of the Deployment and its ReplicaSets; this file
//! finds these and carries out what differs afterwards.

mod progress;
mod revision;
mod rollout;
mod scale;

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use knarr_component::{
    events::Recorder,
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::{
    conditions::{self, Condition},
    context::Context,
    control::{candidates, claim_all, index_orphans, message},
    edit::{self, Part},
    freshness::Written,
    meta::{
        controller_key, controller_of, ignore_absent, is_code, is_deleting, is_namespace_terminating,
        matches, name, namespace, now, selects_everything, uid,
    },
    pods::{self, Pod},
};

use rollout::Plan;

/// Annotation with the number of a template in the order of use.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";

struct Controller {
    context: Context,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    recorder: Recorder,
    written: Written,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        deployments: context.informers.get(),
        sets: context.informers.get(),
        pods: context.informers.get(),
        recorder: context.recorder("deployment-controller"),
        written: Written::default(),
        context,
    });
    index_orphans(&controller.sets);
    let queue = Queue::new();
    let added = queue.clone();
    controller.deployments.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, deployments) = (queue.clone(), controller.deployments.clone());
    controller.sets.on_change(move |change| set_changed(&change, &deployments, &added));
    let (added, sets) = (queue.clone(), controller.sets.clone());
    controller.pods.on_change(move |change| {
        // Recreation waits for the last old pod.
        if change.is_deletion() || pods::is_finished(change.object()) {
            let set = controller_key::<ReplicaSet>(&change.object().metadata).and_then(|key| sets.get(&key));
            let owner = set.and_then(|set| controller_key::<Deployment>(&set.metadata));
            owner.into_iter().for_each(|owner| added.add(owner));
        }
    });
    let synced = {
        let (deployments, sets) = (controller.deployments.synced(), controller.sets.synced());
        let pods = controller.pods.synced();
        async {
            futures::join!(deployments, sets, pods);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_deployment_syncs;
    context
        .work("deployment-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

fn set_changed(change: &Change<'_, ReplicaSet>, deployments: &Informer<Deployment>, queue: &Queue<Key>) {
    let set = change.object();
    if let Change::Updated { old, new } = change
        && controller_of(&old.metadata) != controller_of(&new.metadata)
    {
        controller_key::<Deployment>(&old.metadata).into_iter().for_each(|key| queue.add(key));
    }
    if controller_of(&set.metadata).is_some() {
        controller_key::<Deployment>(&set.metadata).into_iter().for_each(|key| queue.add(key));
        return;
    }
    for deployment in deployments.list_namespace(namespace(&set.metadata)) {
        let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
        if selector.is_some_and(|selector| matches(selector, set.metadata.labels.as_ref())) {
            queue.add(Key::of(&deployment.metadata));
        }
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(deployment) = self.deployments.get(&key) else {
            self.written.forget(&key);
            return Ok(None);
        };
        if self.written.is_stale(&key, &deployment.metadata) {
            return Ok(None);
        }
        let Some(spec) = deployment.spec.as_ref() else { return Ok(None) };
        if selects_everything(&spec.selector) {
            self.recorder.warning(
                &*deployment,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            return Ok(None);
        }
        let candidates = candidates(&self.sets, &deployment.metadata);
        let sets = claim_all(&self.context.client, &*deployment, &spec.selector, candidates).await?;
        let pods: Vec<Arc<Pod>> =
            sets.iter().flat_map(|set| self.pods.owned_by(uid(&set.metadata))).collect();
        let plan = rollout::plan(&deployment, &sets, &pods, Timestamp::now());
        self.carry_out(&deployment, &plan).await?;
        Ok(plan.requeue.map(Requeue::After))
    }

    async fn carry_out(&self, deployment: &Deployment, plan: &Plan) -> anyhow::Result<()> {
        if let Some(set) = &plan.create {
            self.create(deployment, set, &plan.status).await?;
        }
        let sets = self.context.api::<ReplicaSet>(namespace(&deployment.metadata));
        for update in &plan.updates {
            let set = &update.set;
            sets.replace(name(&set.metadata), &PostParams::default(), set)
                .await
                .context("cannot update ReplicaSet")?;
            if let Some(from) = update.scaled_from {
                self.report_scaling(deployment, set, from);
            }
        }
        for doomed in &plan.delete {
            ignore_absent(sets.delete(doomed, &DeleteParams::background()).await)?;
        }
        let current = match &plan.revision {
            None => None,
            Some(revision) => {
                let patch = json!({"metadata": {"annotations": {REVISION: revision}}});
                let deployments = self.context.api::<Deployment>(namespace(&deployment.metadata));
                let changed = edit::merge(&deployments, deployment, &patch, Part::Object).await?;
                let Some(changed) = changed else { return Ok(()) };
                Some(changed)
            }
        };
        if deployment.status.as_ref() == Some(&plan.status) {
            return Ok(());
        }
        self.write_status(current.as_ref().unwrap_or(deployment), plan.status.clone()).await
    }

    async fn write_status(&self, deployment: &Deployment, status: DeploymentStatus) -> anyhow::Result<()> {
        let updated = Deployment { status: Some(status), ..deployment.clone() };
        let api = self.context.api::<Deployment>(namespace(&deployment.metadata));
        let result = api.replace_status(name(&deployment.metadata), &PostParams::default(), &updated).await;
        if let Some(answer) = ignore_absent(result).context("cannot update status")? {
            self.written.note(&Key::of(&deployment.metadata), &answer.metadata);
        }
        Ok(())
    }

    /// Creates the new ReplicaSet. When another one has its name, the hash collided: the next
    /// attempt uses another one.
    async fn create(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        status: &DeploymentStatus,
    ) -> anyhow::Result<()> {
        let api = self.context.api::<ReplicaSet>(namespace(&deployment.metadata));
        let error = match api.create(&PostParams::default(), set).await {
            Ok(_) => {
                if rollout::size(set) > 0 {
                    self.report_scaling(deployment, set, 0);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if is_code(&error, 409) {
            let existing = api.get_opt(name(&set.metadata)).await?;
            let ours = existing.is_some_and(|existing| {
                controller_of(&existing.metadata).is_some_and(|owner| owner.uid == uid(&deployment.metadata))
                    && revision::same_template(deployment, &existing)
            });
            if ours {
                return Ok(());
            }
            let collisions = status.collision_count.unwrap_or_default() + 1;
            let old = deployment.status.clone().unwrap_or_default();
            self.write_status(deployment, DeploymentStatus { collision_count: Some(collisions), ..old })
                .await?;
        } else if !is_namespace_terminating(&error) && !is_deleting(&deployment.metadata) {
            let reason =
                format!("Failed to create new replica set {:?}: {}", name(&set.metadata), message(&error));
            self.recorder.warning(deployment, "ReplicaSetCreateError", reason.clone());
            if progress::has_deadline(deployment) {
                let mut status = deployment.status.clone().unwrap_or_default();
                let failed = DeploymentCondition::new(
                    "Progressing",
                    "False",
                    "ReplicaSetCreateError",
                    &reason,
                    &now(),
                );
                conditions::set(&mut status.conditions, failed);
                self.write_status(deployment, status).await?;
            }
        }
        Err(error).context("cannot create ReplicaSet")
    }

    fn report_scaling(&self, deployment: &Deployment, set: &ReplicaSet, from: i32) {
        let to = rollout::size(set);
        let direction = if to > from { "up" } else { "down" };
        let text = format!("Scaled {direction} replica set {} from {from} to {to}", name(&set.metadata));
        self.recorder.normal(deployment, "ScalingReplicaSet", text);
    }
}
