//! ReplicaSets and ReplicationControllers: as many pods as asked for.
//!
//! The two kinds differ in their types only; [`Replicated`] is what they have in common.

mod replicated;

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::ReplicationController},
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_component::{
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::{Api, ResourceExt, api::PostParams};

use crate::{
    context::Context,
    control::{PodControl, candidates, claim_all, index_orphans},
    expectations::Expectations,
    freshness::Written,
    meta::{
        controller_key, controller_of, controller_reference, is_deleting, matches, name, namespace, now, uid,
    },
    pods::{self, Pod},
};

use replicated::{Observed, Replicated};

/// Pods created or deleted by one sync at most.
const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// Compares the wanted number with the active pods. `related` counts the pods of the workload on
/// each node.
fn step(replicas: i32, mut active: Vec<Arc<Pod>>, related: &HashMap<String, usize>, now: Timestamp) -> Step {
    let wanted = replicas.max(0) as usize;
    if active.len() < wanted {
        return Step::Create((wanted - active.len()).min(BURST));
    }
    if active.len() == wanted {
        return Step::Nothing;
    }
    let surplus = (active.len() - wanted).min(BURST);
    if wanted > 0 {
        active.sort_by(|a, b| pods::deletion_order(a, b, related, now));
    }
    active.truncate(surplus);
    Step::Delete(active)
}

/// Counts pods for the status.
fn observe<R: Replicated>(
    set: &R,
    claimed: &[Arc<Pod>],
    failure: Option<String>,
    now: Timestamp,
) -> Observed {
    let active = || claimed.iter().filter(|pod| pods::is_active(pod));
    let count = |keep: &dyn Fn(&Pod) -> bool| active().filter(|pod| keep(pod)).count() as i32;
    let template_labels = set.template().and_then(|template| template.metadata?.labels).unwrap_or_default();
    Observed {
        replicas: count(&|_| true),
        fully_labeled: count(&|pod| {
            crate::meta::contains_all(&template_labels, pod.metadata.labels.as_ref())
        }),
        ready: count(&pods::is_ready),
        available: count(&|pod| pods::is_available(pod, set.min_ready_seconds(), now)),
        terminating: claimed.iter().filter(|pod| pods::is_terminating(pod)).count() as i32,
        failure,
    }
}

struct Controller<R> {
    context: Context,
    sets: Informer<R>,
    pods: Informer<Pod>,
    control: PodControl,
    expectations: Expectations,
    written: Written,
}

/// Runs the ReplicaSet controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let workers = context.args.workers.concurrent_replicaset_syncs;
    run_kind::<ReplicaSet>(context, "replicaset-controller", workers).await
}

/// Runs the ReplicationController controller.
pub(crate) async fn run_replication_controllers(context: Context) -> anyhow::Result<()> {
    let workers = context.args.workers.concurrent_rc_syncs;
    run_kind::<ReplicationController>(context, "replication-controller", workers).await
}

async fn run_kind<R: Replicated>(
    context: Context,
    component: &'static str,
    workers: usize,
) -> anyhow::Result<()> {
    let control = PodControl { client: context.client.clone(), recorder: context.recorder(component) };
    let controller = Arc::new(Controller::<R> {
        sets: context.informers.get(),
        pods: context.informers.get(),
        control,
        expectations: Expectations::default(),
        written: Written::default(),
        context,
    });
    index_orphans(&controller.pods);
    let queue = Queue::new();
    let (added, this) = (queue.clone(), Arc::downgrade(&controller));
    controller.sets.on_change(move |change| {
        let key = Key::of(change.object().meta());
        if let (Change::Deleted(_), Some(this)) = (&change, this.upgrade()) {
            this.expectations.forget(&key);
        }
        added.add(key);
    });
    let (added, this) = (queue.clone(), Arc::downgrade(&controller));
    controller.pods.on_change(move |change| {
        if let Some(this) = this.upgrade() {
            this.pod_changed(&change, &added);
        }
    });
    let (sets, pods) = (controller.sets.synced(), controller.pods.synced());
    let synced = async {
        futures::join!(sets, pods);
    };
    let context = controller.context.clone();
    context
        .work(component, synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl<R: Replicated> Controller<R> {
    fn pod_changed(&self, change: &Change<'_, Pod>, queue: &Queue<Key>) {
        let pod = change.object();
        let owner = controller_key::<R>(&pod.metadata);
        match change {
            Change::Added(_) if is_deleting(&pod.metadata) => self.pod_leaving(pod, owner.as_ref()),
            Change::Added(_) => {
                if let Some(owner) = &owner {
                    self.expectations.created(owner);
                }
            }
            Change::Updated { old, new } => {
                if is_deleting(&new.metadata) {
                    self.pod_leaving(new, owner.as_ref());
                }
                let before = controller_key::<R>(&old.metadata);
                if before != owner {
                    before.into_iter().for_each(|before| queue.add(before));
                }
                self.requeue_when_available(old, new, owner.as_ref(), queue);
            }
            Change::Deleted(_) => self.pod_leaving(pod, owner.as_ref()),
        }
        match owner {
            Some(owner) => queue.add(owner),
            None if controller_of(&pod.metadata).is_none() && !change.is_deletion() => {
                for set in self.sets.list_namespace(namespace(&pod.metadata)) {
                    if matches(&set.selector(), pod.metadata.labels.as_ref()) {
                        queue.add(Key::of(set.meta()));
                    }
                }
            }
            None => {}
        }
    }

    fn pod_leaving(&self, pod: &Pod, owner: Option<&Key>) {
        if let Some(owner) = owner {
            self.expectations.deleted(owner, uid(&pod.metadata));
        }
    }

    /// Nothing happens at the moment at which a pod that stays ready becomes available.
    fn requeue_when_available(&self, old: &Pod, new: &Pod, owner: Option<&Key>, queue: &Queue<Key>) {
        let Some(owner) = owner else { return };
        if pods::is_ready(old) || !pods::is_ready(new) {
            return;
        }
        if let Some(set) = self.sets.get(owner)
            && set.min_ready_seconds() > 0
        {
            queue.add_after(owner.clone(), Duration::from_secs(set.min_ready_seconds() as u64 + 1));
        }
    }

    async fn sync(&self, key: Key) -> SyncResult {
        let Some(set) = self.sets.get(&key) else {
            self.expectations.forget(&key);
            self.written.forget(&key);
            return Ok(None);
        };
        if self.written.is_stale(&key, set.meta()) {
            return Ok(None);
        }
        let selector = set.selector();
        let candidates = candidates(&self.pods, set.meta());
        let claimed = claim_all(&self.context.client, &*set, &selector, candidates).await?;
        let managed = if self.expectations.satisfied(&key) && !is_deleting(set.meta()) {
            self.manage(&key, &set, &claimed).await
        } else {
            Ok(())
        };
        let failure = managed.as_ref().err().map(crate::control::message);
        let observed = observe(&*set, &claimed, failure, Timestamp::now());
        self.update_status(&key, &set, &observed, &now()).await?;
        managed.context("cannot manage pods")?;
        let waiting = observed.ready > observed.available && set.min_ready_seconds() > 0;
        let waits = claimed.iter().filter_map(|pod| {
            pods::until_available(pod, set.min_ready_seconds(), Timestamp::now())
                .filter(|wait| !wait.is_zero())
        });
        Ok(waits.min().filter(|_| waiting).map(|wait| Requeue::After(wait + Duration::from_millis(100))))
    }

    async fn manage(&self, key: &Key, set: &R, claimed: &[Arc<Pod>]) -> kube::Result<()> {
        let active: Vec<Arc<Pod>> = claimed.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        match step(set.replicas(), active, &self.related(set), Timestamp::now()) {
            Step::Nothing => Ok(()),
            Step::Create(count) => {
                let Some(template) = set.template() else { return Ok(()) };
                let prefix = format!("{}-", name(set.meta()));
                let pod = pods::from_template(&template, &key.namespace, &prefix, controller_reference(set));
                self.expectations.expect(key, count, []);
                self.control.create_batch(set, count, &self.expectations, |_| pod.clone()).await
            }
            Step::Delete(pods) => {
                self.expectations.expect(key, 0, pods.iter().map(|pod| uid(&pod.metadata).to_string()));
                self.control.delete_batch(set, &pods, &self.expectations).await
            }
        }
    }

    /// Pods by node of all sets that share an owner: during a rollout, the pods of the new set
    /// count as company of those of the old one.
    fn related(&self, set: &R) -> HashMap<String, usize> {
        let siblings = match controller_of(set.meta()) {
            Some(owner) => self.sets.owned_by(&owner.uid),
            None => Vec::new(),
        };
        let uids: Vec<String> = match siblings.is_empty() {
            true => vec![uid(set.meta()).to_string()],
            false => siblings.iter().map(|set| uid(set.meta()).to_string()).collect(),
        };
        let related: Vec<Arc<Pod>> = uids.iter().flat_map(|uid| self.pods.owned_by(uid)).collect();
        pods::count_by_node(related.iter().map(|pod| &**pod).filter(|pod| pods::is_active(pod)))
    }

    async fn update_status(&self, key: &Key, set: &R, observed: &Observed, now: &Time) -> anyhow::Result<()> {
        let Some(updated) = set.with_status(observed, now) else { return Ok(()) };
        let api: Api<R> = self.context.api(&key.namespace);
        match api.replace_status(&updated.name_any(), &PostParams::default(), &updated).await {
            Err(error) if !crate::meta::is_code(&error, 404) => Err(error).context("cannot update status"),
            Err(_) => Ok(()),
            Ok(answer) => {
                self.written.note(key, answer.meta());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{pod, test_now};

    #[test]
    fn the_number_of_pods_is_corrected() {
        let pods = |count: usize| {
            (0..count)
                .map(|i| Arc::new(pod(&format!("p{i}"), "Running", "n", Some(i as i64))))
                .collect::<Vec<_>>()
        };
        let check = |replicas, have: usize, expected: &str| {
            let text = match step(replicas, pods(have), &HashMap::new(), test_now()) {
                Step::Nothing => "nothing".to_string(),
                Step::Create(count) => format!("+{count}"),
                Step::Delete(pods) => format!("-{}", pods.len()),
            };
            assert_eq!(text, expected, "{have} of {replicas}");
        };
        check(3, 3, "nothing");
        check(3, 0, "+3");
        check(3, 5, "-2");
        check(0, 2, "-2");
        check(2000, 3, "+500");
        check(1, 700, "-500");
    }

    #[test]
    fn status_counts_active_pods_only() {
        let mut set = ReplicaSet::default();
        set.spec.get_or_insert_default().min_ready_seconds = Some(10);
        let mut leaving = pod("leaving", "Running", "n", Some(99));
        leaving.metadata.deletion_timestamp = Some(now());
        let pods = [
            pod("available", "Running", "n", Some(20)),
            pod("ready", "Running", "n", Some(5)),
            pod("pending", "Pending", "", None),
            pod("failed", "Failed", "n", None),
            leaving,
        ];
        let pods: Vec<Arc<Pod>> = pods.into_iter().map(Arc::new).collect();
        let seen = observe(&set, &pods, None, test_now());
        assert_eq!((seen.replicas, seen.ready, seen.available, seen.terminating), (3, 2, 1, 1));
    }
}
