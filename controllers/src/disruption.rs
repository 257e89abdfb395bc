//! PodDisruptionBudgets: how many pods of an app may be evicted now.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        core::v1::{Pod, ReplicationController},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};
use knarr_component::{
    events::Recorder,
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::PostParams;

use crate::{
    context::Context,
    meta::{controller_of, ignore_absent, is_deleting, matches, name, namespace, scaled, whole_seconds},
    pods,
};

/// How long an eviction that was allowed may take to show.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);

/// What a budget demands, given the number of its pods and the number their workloads want
/// (an error says why that is unknown): expected pods and healthy ones among them.
fn demand(
    budget: &PodDisruptionBudget,
    pods: i32,
    wanted: Result<i32, String>,
) -> Result<(i32, i32), String> {
    let spec = budget.spec.clone().unwrap_or_default();
    let invalid = || "invalid number or percentage".to_string();
    if let Some(most) = &spec.max_unavailable {
        let expected = wanted?;
        let most = scaled(most, expected, true).ok_or_else(invalid)?;
        return Ok((expected, (expected - most).max(0)));
    }
    match &spec.min_available {
        Some(IntOrString::Int(least)) => Ok((pods, *least)),
        Some(share) => {
            let expected = wanted?;
            Ok((expected, scaled(share, expected, true).ok_or_else(invalid)?))
        }
        None => Ok((pods, 0)),
    }
}

/// The status of a budget over its pods.
fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    demanded: Result<(i32, i32), String>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    // Evictions under way; those that did not happen in time are forgotten.
    let mut disrupted = old.disrupted_pods.clone().unwrap_or_default();
    disrupted.retain(|pod, since| {
        let known = pods.iter().find(|known| name(&known.metadata) == pod);
        known.is_some_and(|pod| !is_deleting(&pod.metadata)) && now.duration_since(since.0) < PATIENCE
    });
    let is_healthy = |pod: &&Arc<Pod>| {
        pods::is_ready(pod) && !is_deleting(&pod.metadata) && !disrupted.contains_key(name(&pod.metadata))
    };
    let healthy = pods.iter().filter(is_healthy).count() as i32;
    let (expected, desired, failure) = match demanded {
        Ok((expected, desired)) => (expected, desired, None),
        Err(reason) => {
            (old.expected_pods.unwrap_or_default(), old.desired_healthy.unwrap_or_default(), Some(reason))
        }
    };
    let allowed = if failure.is_some() || expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let (state, reason, message) = match (&failure, allowed > 0) {
        (Some(failure), _) => ("False", "SyncFailed", failure.as_str()),
        (None, true) => ("True", "SufficientPods", ""),
        (None, false) => ("False", "InsufficientPods", ""),
    };
    let mut conditions = old.conditions.unwrap_or_default();
    let known = conditions.iter().position(|condition| condition.type_ == "DisruptionAllowed");
    let since = known
        .filter(|index| conditions[*index].status == state)
        .map_or(Time(whole_seconds(now)), |index| conditions[index].last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".to_string(),
        status: state.to_string(),
        reason: reason.to_string(),
        message: message.to_string(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since,
    };
    match known {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
    PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: budget.metadata.generation,
    }
}

struct Controller {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    controllers: Informer<ReplicationController>,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        budgets: context.informers.get(),
        pods: context.informers.get(),
        deployments: context.informers.get(),
        replica_sets: context.informers.get(),
        stateful_sets: context.informers.get(),
        controllers: context.informers.get(),
        recorder: context.recorder("controllermanager"),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.budgets.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, budgets) = (queue.clone(), controller.budgets.clone());
    controller.pods.on_change(move |change| {
        let pod = change.object();
        if let Change::Updated { old, new } = &change
            && pods::is_ready(old) == pods::is_ready(new)
            && is_deleting(&old.metadata) == is_deleting(&new.metadata)
            && old.metadata.labels == new.metadata.labels
        {
            return;
        }
        for budget in budgets.list_namespace(namespace(&pod.metadata)) {
            if selects(&budget, pod) {
                added.add(Key::of(&budget.metadata));
            }
        }
    });
    macro_rules! on_resize {
        ($informer:ident) => {
            let (added, budgets) = (queue.clone(), controller.budgets.clone());
            controller.$informer.on_change(move |change| {
                let resized = |replicas: Option<i32>, before: Option<i32>| replicas != before;
                if let Change::Updated { old, new } = &change
                    && !resized(
                        new.spec.as_ref().and_then(|spec| spec.replicas),
                        old.spec.as_ref().and_then(|spec| spec.replicas),
                    )
                {
                    return;
                }
                let space = namespace(&change.object().metadata);
                budgets.list_namespace(space).iter().for_each(|budget| added.add(Key::of(&budget.metadata)));
            });
        };
    }
    on_resize!(deployments);
    on_resize!(replica_sets);
    on_resize!(stateful_sets);
    on_resize!(controllers);
    let synced = {
        let (budgets, pods) = (controller.budgets.synced(), controller.pods.synced());
        let (deployments, replica_sets) = (controller.deployments.synced(), controller.replica_sets.synced());
        let (stateful_sets, controllers) =
            (controller.stateful_sets.synced(), controller.controllers.synced());
        async {
            futures::join!(budgets, pods, deployments, replica_sets, stateful_sets, controllers);
        }
    };
    let context = controller.context.clone();
    context
        .work("disruption-controller", synced, queue, 1, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref()))
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(budget) = self.budgets.get(&key) else { return Ok(None) };
        let all = self.pods.list_namespace(&key.namespace);
        let pods: Vec<Arc<Pod>> =
            all.into_iter().filter(|pod| selects(&budget, pod) && !pods::is_finished(pod)).collect();
        if pods.is_empty() {
            self.recorder.normal(&*budget, "NoPods", "No matching pods found");
        }
        let demanded = demand(&budget, pods.len() as i32, self.wanted(&pods));
        let status = status(&budget, &pods, demanded, Timestamp::now());
        let wait = status.disrupted_pods.as_ref().map(|_| Requeue::After(Duration::from_secs(30)));
        if budget.status.as_ref() != Some(&status) {
            let updated = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
            let api = self.context.api::<PodDisruptionBudget>(&key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &updated).await;
            ignore_absent(written).context("cannot update status")?;
        }
        Ok(wait)
    }

    /// The number of pods that the workloads of these pods want.
    fn wanted(&self, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let mut seen = BTreeSet::new();
        let mut total = 0;
        for pod in pods {
            let owner = controller_of(&pod.metadata)
                .ok_or_else(|| format!("found no controllers for pod {:?}", name(&pod.metadata)))?;
            let space = namespace(&pod.metadata);
            let (uid, replicas) = self
                .scale(space, &owner.kind, &owner.name)
                .ok_or_else(|| format!("{} does not implement the scale subresource", owner.kind))?;
            if seen.insert(uid) {
                total += replicas;
            }
        }
        Ok(total)
    }

    fn scale(&self, space: &str, kind: &str, owner: &str) -> Option<(String, i32)> {
        let key = Key::new(space, owner);
        let uid = |meta: &kube::api::ObjectMeta| meta.uid.clone().unwrap_or_default();
        match kind {
            "ReplicaSet" => {
                let set = self.replica_sets.get(&key)?;
                if let Some(above) = controller_of(&set.metadata).filter(|above| above.kind == "Deployment") {
                    let deployment = self.deployments.get(&Key::new(space, above.name.as_str()))?;
                    return Some((
                        uid(&deployment.metadata),
                        deployment.spec.as_ref()?.replicas.unwrap_or(1),
                    ));
                }
                Some((uid(&set.metadata), set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "StatefulSet" => {
                let set = self.stateful_sets.get(&key)?;
                Some((uid(&set.metadata), set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "ReplicationController" => {
                let set = self.controllers.get(&key)?;
                Some((uid(&set.metadata), set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;

    use super::*;
    use crate::pods::tests::{pod, test_now};

    #[test]
    fn budgets_allow_what_health_permits() {
        let check = |least: Option<IntOrString>,
                     most: Option<IntOrString>,
                     ready: usize,
                     of: usize,
                     expected: (i32, i32)| {
            let budget = PodDisruptionBudget {
                spec: Some(PodDisruptionBudgetSpec {
                    min_available: least,
                    max_unavailable: most,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let pods: Vec<Arc<Pod>> = (0..of)
                .map(|i| Arc::new(pod(&format!("p{i}"), "Running", "n", (i < ready).then_some(9))))
                .collect();
            let demanded = demand(&budget, of as i32, Ok(of as i32));
            let seen = status(&budget, &pods, demanded, test_now());
            assert_eq!((seen.desired_healthy.unwrap(), seen.disruptions_allowed.unwrap()), expected);
        };
        let int = |number| Some(IntOrString::Int(number));
        let share = |text: &str| Some(IntOrString::String(text.into()));
        check(int(2), None, 3, 3, (2, 1));
        check(int(2), None, 2, 3, (2, 0));
        check(share("50%"), None, 3, 3, (2, 1));
        check(None, int(1), 3, 3, (2, 1));
        check(None, share("30%"), 3, 3, (2, 1));
        check(None, int(1), 2, 3, (2, 0));
        check(int(0), None, 0, 0, (0, 0));
    }

    #[test]
    fn evictions_under_way_count_as_gone() {
        let pods = [Arc::new(pod("a", "Running", "n", Some(9)))];
        let mut budget = PodDisruptionBudget {
            spec: Some(PodDisruptionBudgetSpec {
                min_available: Some(IntOrString::Int(0)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let at = |seconds| Time(test_now() - SignedDuration::from_secs(seconds));
        let check = |budget: &PodDisruptionBudget, expected| {
            let seen = status(budget, &pods, Ok((1, 0)), test_now());
            assert_eq!(seen.disruptions_allowed, Some(expected));
        };
        let disrupted = |since| Some([("a".to_string(), at(since))].into());
        budget.status =
            Some(PodDisruptionBudgetStatus { disrupted_pods: disrupted(5), ..Default::default() });
        check(&budget, 0);
        budget.status =
            Some(PodDisruptionBudgetStatus { disrupted_pods: disrupted(500), ..Default::default() });
        check(&budget, 1);
    }
}
