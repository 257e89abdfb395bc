//! DaemonSets: one pod on each node that fits.

mod decide;

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus},
    core::v1::Node,
};
use knarr_component::{
    backoff::exponential,
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::PostParams;
use parking_lot::Mutex;

use crate::{
    context::Context,
    control::{PodControl, candidates, claim_all, index_orphans},
    expectations::Expectations,
    freshness::Written,
    history::{self, HASH, Revisions},
    meta::{
        controller_key, controller_of, controller_reference, ignore_absent, is_deleting, label, matches,
        name, namespace, selects_everything, uid,
    },
    node_affinity,
    pods::{self, Pod},
    taints::taints,
};

use decide::{ByNode, Work};

/// Pods created or deleted by one sync at most.
const BURST: usize = 250;
/// Label with the generation of the template, which older clients read.
const GENERATION: &str = "pod-template-generation";

struct Controller {
    context: Context,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    control: PodControl,
    expectations: Expectations,
    written: Written,
    /// Failures of each set on each node, and when the last one was.
    failures: Mutex<HashMap<(String, String), (u32, Timestamp)>>,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let control =
        PodControl { client: context.client.clone(), recorder: context.recorder("daemonset-controller") };
    let controller = Arc::new(Controller {
        sets: context.informers.get(),
        pods: context.informers.get(),
        nodes: context.informers.get(),
        revisions: context.informers.get(),
        control,
        expectations: Expectations::default(),
        written: Written::default(),
        failures: Mutex::default(),
        context,
    });
    index_orphans(&controller.pods);
    index_orphans(&controller.revisions);
    let queue = Queue::new();
    watch(&controller, &queue);
    let synced = {
        let (sets, pods) = (controller.sets.synced(), controller.pods.synced());
        let (nodes, revisions) = (controller.nodes.synced(), controller.revisions.synced());
        async {
            futures::join!(sets, pods, nodes, revisions);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_daemonset_syncs;
    context
        .work("daemonset-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

fn watch(controller: &Arc<Controller>, queue: &Queue<Key>) {
    let added = queue.clone();
    controller.sets.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, sets) = (queue.clone(), controller.sets.clone());
    controller.nodes.on_change(move |change| {
        if let Change::Updated { old, new } = &change
            && old.metadata.labels == new.metadata.labels
            && taints(old) == taints(new)
        {
            return;
        }
        sets.list().iter().for_each(|set| added.add(Key::of(&set.metadata)));
    });
    let (added, this) = (queue.clone(), Arc::downgrade(controller));
    controller.pods.on_change(move |change| {
        let Some(this) = this.upgrade() else { return };
        let pod = change.object();
        let owner = controller_key::<DaemonSet>(&pod.metadata);
        if let Change::Updated { old, new } = &change
            && controller_of(&old.metadata) != controller_of(&new.metadata)
        {
            controller_key::<DaemonSet>(&old.metadata).into_iter().for_each(|key| added.add(key));
        }
        match owner {
            Some(owner) => {
                if change.is_deletion() || is_deleting(&pod.metadata) {
                    this.expectations.deleted(&owner, uid(&pod.metadata));
                } else if matches!(change, Change::Added(_)) {
                    this.expectations.created(&owner);
                }
                added.add(owner);
            }
            None if controller_of(&pod.metadata).is_none() && !change.is_deletion() => {
                for set in this.sets.list_namespace(namespace(&pod.metadata)) {
                    let selector = set.spec.as_ref().map(|spec| &spec.selector);
                    if selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref())) {
                        added.add(Key::of(&set.metadata));
                    }
                }
            }
            None => {}
        }
    });
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(set) = self.sets.get(&key) else {
            self.expectations.forget(&key);
            self.written.forget(&key);
            return Ok(None);
        };
        if self.written.is_stale(&key, &set.metadata) {
            return Ok(None);
        }
        let Some(spec) = set.spec.as_ref() else { return Ok(None) };
        if selects_everything(&spec.selector) {
            self.control.recorder.warning(
                &*set,
                "SelectingAll",
                "This daemon set is selecting all pods. A non-empty selector is required.",
            );
            return Ok(None);
        }
        if is_deleting(&set.metadata) {
            return Ok(None);
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let revisions = history::revisions(
            &self.context,
            &self.revisions,
            &*set,
            &spec.selector,
            &spec.template,
            collisions,
        )
        .await?;
        let hash = label(&revisions.current.metadata, HASH).unwrap_or_default().to_string();
        let now = Timestamp::now();
        let claimed =
            claim_all(&self.context.client, &*set, &spec.selector, candidates(&self.pods, &set.metadata))
                .await?;
        let nodes = self.nodes.list();
        let by_node = decide::by_node(&claimed);
        let mut requeue = None;
        let mut result = Ok(());
        if self.expectations.satisfied(&key) {
            let work = self.work(&set, &nodes, &by_node, &hash, now, &mut requeue);
            result = self.carry_out(&key, &set, &hash, work).await;
            self.clean_history(&set, &revisions, &claimed).await?;
        }
        let status = decide::status(&set, &nodes, &by_node, &hash, revisions.collisions, now);
        let unavailable = status.number_ready > status.number_available.unwrap_or_default();
        self.update_status(&key, &set, status).await?;
        result?;
        if unavailable && let Some(seconds) = spec.min_ready_seconds.filter(|seconds| *seconds > 0) {
            requeue = Some(Duration::from_secs(seconds as u64));
        }
        Ok(requeue.map(Requeue::After))
    }

    /// Decides what to create and delete; failed pods are replaced ever more slowly.
    fn work(
        &self,
        set: &DaemonSet,
        nodes: &[Arc<Node>],
        by_node: &ByNode,
        hash: &str,
        now: Timestamp,
        requeue: &mut Option<Duration>,
    ) -> Work {
        let mut work = decide::manage(set, nodes, by_node, hash, now);
        work.failed.retain(|(node, pod)| {
            let wait = self.wait_after_failure(uid(&set.metadata), node, now);
            if !wait.is_zero() {
                *requeue = Some(requeue.map_or(wait, |known| known.min(wait)));
                return false;
            }
            let text = format!(
                "Found failed daemon pod {} on node {node}, will try to kill it",
                Key::of(&pod.metadata)
            );
            self.control.recorder.warning(set, "FailedDaemonPod", text);
            true
        });
        for (node, pod) in &work.succeeded {
            let pod = Key::of(&pod.metadata);
            let text = format!("Found succeeded daemon pod {pod} on node {node}, will try to delete it");
            self.control.recorder.normal(set, "SucceededDaemonPod", text);
        }
        let ended = work.failed.drain(..).chain(work.succeeded.drain(..));
        work.delete.extend(ended.map(|(_, pod)| pod));
        if work.create.is_empty() && work.delete.is_empty() {
            work = decide::roll(set, nodes, by_node, hash, now);
        }
        work
    }

    /// Zero when a failed pod may be replaced now, which is noted.
    fn wait_after_failure(&self, set: &str, node: &str, now: Timestamp) -> Duration {
        let mut failures = self.failures.lock();
        failures.retain(|_, (_, last)| now.duration_since(*last).as_secs() < 1800);
        let (count, last) =
            failures.entry((set.to_string(), node.to_string())).or_insert((0, Timestamp::UNIX_EPOCH));
        let passed = Duration::try_from(now.duration_since(*last)).unwrap_or_default();
        let pause = match *count {
            0 => Duration::ZERO,
            count => exponential(Duration::from_secs(1), Duration::from_secs(900), 2.0, count - 1),
        };
        if passed >= pause {
            (*count, *last) = (*count + 1, now);
            return Duration::ZERO;
        }
        pause - passed
    }

    async fn carry_out(&self, key: &Key, set: &DaemonSet, hash: &str, mut work: Work) -> anyhow::Result<()> {
        work.create.truncate(BURST);
        work.delete.truncate(BURST);
        if work.create.is_empty() && work.delete.is_empty() {
            return Ok(());
        }
        let doomed = work.delete.iter().map(|pod| uid(&pod.metadata).to_string());
        self.expectations.expect(key, work.create.len(), doomed);
        let template = set.spec.clone().unwrap_or_default().template;
        let generation = crate::meta::annotation(&set.metadata, "deprecated.daemonset.template.generation");
        let pod = |index: usize| {
            let prefix = format!("{}-", name(&set.metadata));
            let mut pod = pods::from_template(&template, &key.namespace, &prefix, controller_reference(set));
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.insert(HASH.to_string(), hash.to_string());
            if let Some(generation) = generation {
                labels.insert(GENERATION.to_string(), generation.to_string());
            }
            let spec = pod.spec.get_or_insert_default();
            decide::add_tolerations(spec);
            node_affinity::bind(spec, &work.create[index]);
            pod
        };
        let created = self.control.create_batch(set, work.create.len(), &self.expectations, pod).await;
        let deleted = self.control.delete_batch(set, &work.delete, &self.expectations).await;
        created.and(deleted).context("cannot manage pods")
    }

    async fn clean_history(
        &self,
        set: &DaemonSet,
        revisions: &Revisions,
        pods: &[Arc<Pod>],
    ) -> anyhow::Result<()> {
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        history::truncate(&self.context, &revisions.all, limit, |revision| {
            let hash = label(&revision.metadata, HASH);
            revision.metadata.uid == revisions.current.metadata.uid
                || pods.iter().any(|pod| label(&pod.metadata, HASH) == hash)
        })
        .await
    }

    async fn update_status(&self, key: &Key, set: &DaemonSet, status: DaemonSetStatus) -> anyhow::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let updated = DaemonSet { status: Some(status), ..set.clone() };
        let api = self.context.api::<DaemonSet>(&key.namespace);
        let result = api.replace_status(&key.name, &PostParams::default(), &updated).await;
        if let Some(answer) = ignore_absent(result).context("cannot update status")? {
            self.written.note(key, &answer.metadata);
        }
        Ok(())
    }
}
