//! PodDisruptionBudgets: how many pods of an app may be evicted now.

mod stale;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        core::v1::ReplicationController,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time},
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
    control::message,
    meta::{
        controller_of, ignore_absent, is_deleting, matches, name, namespace, scaled, selector_structure,
        whole_seconds,
    },
    pods::{self, Pod},
    resources::Directory,
};

/// How long an eviction that was allowed may take to show.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);

/// How many pods workloads want.
#[derive(Debug, Default)]
struct Wanted {
    replicas: i32,
    /// Whether there are pods without a workload, which count nowhere.
    has_unmanaged: bool,
}

/// Whether a budget depends on what its pods' workloads want, not only on the pods.
fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    budget.spec.as_ref().is_some_and(|spec| {
        spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
    })
}

/// What the user is told of a budget with pods that nobody manages.
fn unmanaged(budget: &PodDisruptionBudget) -> String {
    let selector = selector_structure(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// What a budget demands, given the number of its pods and the number their workloads want:
/// expected pods and healthy ones among them.
fn demand(budget: &PodDisruptionBudget, pods: i32, wanted: i32) -> Result<(i32, i32), String> {
    let spec = budget.spec.clone().unwrap_or_default();
    let invalid = || "invalid number or percentage".to_string();
    if let Some(most) = &spec.max_unavailable {
        let most = scaled(most, wanted, true).ok_or_else(invalid)?;
        return Ok((wanted, (wanted - most).max(0)));
    }
    match &spec.min_available {
        Some(IntOrString::Int(least)) => Ok((pods, *least)),
        Some(share) => Ok((wanted, scaled(share, wanted, true).ok_or_else(invalid)?)),
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
    let generation = budget.metadata.generation;
    let (expected, desired) = match demanded {
        Ok(demanded) => demanded,
        // All that is known stays as it was, but for what may be evicted.
        Err(reason) => {
            let words = ("False", "SyncFailed", reason.as_str());
            let conditions = conditions(&old, words, old.observed_generation, now);
            return PodDisruptionBudgetStatus { conditions, disruptions_allowed: Some(0), ..old };
        }
    };
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let words = if allowed > 0 { ("True", "SufficientPods", "") } else { ("False", "InsufficientPods", "") };
    PodDisruptionBudgetStatus {
        conditions: conditions(&old, words, generation, now),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: generation,
    }
}

/// The conditions with DisruptionAllowed as these words, status, reason and message, say.
fn conditions(
    old: &PodDisruptionBudgetStatus,
    (state, reason, message): (&str, &str, &str),
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let known = conditions.iter().position(|condition| condition.type_ == "DisruptionAllowed");
    let since = known
        .filter(|index| conditions[*index].status == state)
        .map_or(Time(whole_seconds(now)), |index| conditions[index].last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".to_string(),
        status: state.to_string(),
        reason: reason.to_string(),
        message: message.to_string(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match known {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
    Some(conditions)
}

struct Controller {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    controllers: Informer<ReplicationController>,
    resources: Directory,
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
        resources: Directory::new(context.client.clone()),
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
    let stale = stale::run(context.clone(), controller.pods.clone());
    let budgets = context.work("disruption-controller", synced, queue, 1, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    futures::try_join!(budgets, stale).map(drop)
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref()))
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(budget) = self.budgets.get(&key) else { return Ok(None) };
        let all = self.pods.list_namespace(&key.namespace);
        let pods: Vec<Arc<Pod>> = all.into_iter().filter(|pod| selects(&budget, pod)).collect();
        if pods.is_empty() {
            self.recorder.normal(&*budget, "NoPods", "No matching pods found");
        }
        let wanted = if needs_scale(&budget) { self.wanted(&pods).await } else { Ok(Wanted::default()) };
        let demanded = match wanted {
            Ok(wanted) => {
                if wanted.has_unmanaged {
                    self.recorder.warning(&*budget, "UnmanagedPods", unmanaged(&budget));
                }
                demand(&budget, pods.len() as i32, wanted.replicas)
            }
            Err(why) => Err(why),
        };
        if let Err(why) = &demanded {
            let text = format!("Failed to calculate the number of expected pods: {why}");
            self.recorder.warning(&*budget, "CalculateExpectedPodCountFailed", text);
        }
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
    async fn wanted(&self, pods: &[Arc<Pod>]) -> Result<Wanted, String> {
        let mut scales: BTreeMap<String, i32> = BTreeMap::new();
        let mut has_unmanaged = false;
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                has_unmanaged = true;
                continue;
            };
            if scales.contains_key(&owner.uid) {
                continue;
            }
            let space = namespace(&pod.metadata);
            let known = self.known_scale(space, owner);
            let scale = if known.is_some() { known } else { self.scale(space, owner).await? };
            let (uid, replicas) =
                scale.ok_or_else(|| format!("found no controllers for pod {:?}", name(&pod.metadata)))?;
            scales.insert(uid, replicas);
        }
        Ok(Wanted { replicas: scales.values().sum(), has_unmanaged })
    }

    /// UID and scale of a workload of the cluster's own kinds; of a Deployment for its ReplicaSets.
    fn known_scale(&self, space: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        let key = Key::new(space, owner.name.as_str());
        let of = |meta: &ObjectMeta, replicas: Option<i32>| Some((meta.uid.clone()?, replicas.unwrap_or(1)));
        let is_owner = |meta: &ObjectMeta| meta.uid.as_ref() == Some(&owner.uid);
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.replica_sets.get(&key).filter(|set| is_owner(&set.metadata))?;
                if let Some(above) = controller_of(&set.metadata).filter(|above| above.kind == "Deployment") {
                    let deployment = self.deployments.get(&Key::new(space, above.name.as_str()))?;
                    let is_above = deployment.metadata.uid.as_ref() == Some(&above.uid);
                    return is_above.then(|| of(&deployment.metadata, deployment.spec.as_ref()?.replicas))?;
                }
                of(&set.metadata, set.spec.as_ref()?.replicas)
            }
            "StatefulSet" => {
                let set = self.stateful_sets.get(&key).filter(|set| is_owner(&set.metadata))?;
                of(&set.metadata, set.spec.as_ref()?.replicas)
            }
            "ReplicationController" => {
                let set = self.controllers.get(&key).filter(|set| is_owner(&set.metadata))?;
                of(&set.metadata, set.spec.as_ref()?.replicas)
            }
            _ => None,
        }
    }

    /// UID and scale of a workload of any kind, custom ones too; `None` if it is gone.
    async fn scale(&self, space: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>, String> {
        let found = self.resources.find(&owner.api_version, &owner.kind).await;
        let resource = found.map_err(|error| message(&error))?.ok_or_else(|| {
            format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version)
        })?;
        match resource.objects(&self.context.client, space).get_scale(&owner.name).await {
            Ok(scale) if scale.metadata.uid.as_ref() == Some(&owner.uid) => {
                let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
                Ok(Some((owner.uid.clone(), replicas)))
            }
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let names_it = status.details.is_some_and(|details| details.name == owner.name);
                let why = || format!("{} does not implement the scale subresource", resource.name());
                if names_it { Ok(None) } else { Err(why()) }
            }
            Err(error) => Err(message(&error)),
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
            let demanded = demand(&budget, of as i32, of as i32);
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

    #[test]
    fn what_cannot_be_calculated_allows_nothing() {
        let old = PodDisruptionBudgetStatus {
            current_healthy: Some(3),
            desired_healthy: Some(2),
            disruptions_allowed: Some(1),
            expected_pods: Some(3),
            observed_generation: Some(4),
            ..Default::default()
        };
        let mut budget = PodDisruptionBudget { status: Some(old.clone()), ..Default::default() };
        budget.metadata.generation = Some(5);
        let seen = status(&budget, &[], Err("no scale".into()), test_now());
        let condition = seen.conditions.as_ref().unwrap()[0].clone();
        assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("SyncFailed", "no scale"));
        assert_eq!(condition.observed_generation, Some(4));
        let expected = PodDisruptionBudgetStatus { conditions: None, disruptions_allowed: Some(0), ..old };
        assert_eq!(PodDisruptionBudgetStatus { conditions: None, ..seen }, expected);
    }

    #[test]
    fn workloads_matter_for_shares_only() {
        let check = |least: Option<IntOrString>, most: Option<IntOrString>, expected| {
            let spec =
                PodDisruptionBudgetSpec { min_available: least, max_unavailable: most, ..Default::default() };
            assert_eq!(
                needs_scale(&PodDisruptionBudget { spec: Some(spec), ..Default::default() }),
                expected
            );
        };
        check(Some(IntOrString::Int(1)), None, false);
        check(Some(IntOrString::String("50%".into())), None, true);
        check(None, Some(IntOrString::Int(1)), true);
        check(None, None, false);
    }
}
