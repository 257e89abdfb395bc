//! The next step of a StatefulSet: up in order, down in reverse, and updates from the top.

use std::{ops::Range, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};

use super::identity::{self, ordinal, revision};
use crate::{
    meta::{is_deleting, scaled},
    pods::{Pod, is_finished, is_ready, phase, until_available},
};

/// What is known of one set.
pub(super) struct World<'a> {
    pub set: &'a StatefulSet,
    pub pods: &'a [Arc<Pod>],
    /// Name of the revision before the update in progress.
    pub current: &'a str,
    /// Name of the revision of the set's template.
    pub update: &'a str,
    pub now: Timestamp,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It failed.
    Failed,
    /// It ended well, which its kind should not.
    Succeeded,
    /// The set was scaled down.
    Condemned,
    /// It has an old template.
    Outdated,
}

#[derive(Debug)]
pub(super) enum Step {
    Create {
        ordinal: i32,
        /// From the revision before the update.
        from_current: bool,
    },
    Delete {
        pod: Arc<Pod>,
        why: Why,
    },
    /// Set its labels.
    /// Makes what is missing of the claims of a pod that is there.
    Claim {
        ordinal: i32,
    },
    Identify {
        pod: Arc<Pod>,
        ordinal: i32,
    },
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub status: StatefulSetStatus,
    /// When a ready pod becomes available.
    pub requeue: Option<Duration>,
}

/// Whether pods come and go one after the other.
pub(super) fn is_ordered(set: &StatefulSet) -> bool {
    set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel")
}

fn is_rolling(set: &StatefulSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn partition(set: &StatefulSet) -> Option<i32> {
    set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()?.partition
}

/// How many pods an update may take away at a time. The server drops the field while its gate is off.
fn max_unavailable(set: &StatefulSet, replicas: i32) -> i32 {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()?.rolling_update.as_ref());
    let given = strategy.and_then(|rolling| rolling.max_unavailable.as_ref());
    given.and_then(|given| scaled(given, replicas, false)).unwrap_or(1).max(1)
}

fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The ordinals that a set should have.
pub(super) fn range(set: &StatefulSet) -> Range<i32> {
    let start = set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or_default();
    start..start + replicas(set)
}

impl World<'_> {
    fn replicas(&self) -> i32 {
        replicas(self.set)
    }

    fn start(&self) -> i32 {
        range(self.set).start
    }

    fn min_ready(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn pod(&self, wanted: i32) -> Option<&Arc<Pod>> {
        self.pods.iter().find(|pod| ordinal(self.set, pod) == Some(wanted))
    }

    fn is_running_and_ready(pod: &Pod) -> bool {
        phase(pod) == "Running" && is_ready(pod)
    }

    /// Ready for long enough and not going away.
    fn is_healthy(&self, pod: &Pod) -> bool {
        Self::is_running_and_ready(pod)
            && !is_deleting(&pod.metadata)
            && until_available(pod, self.min_ready(), self.now).is_some_and(|wait| wait.is_zero())
    }

    /// Whether a missing pod comes back with the old template: the update has not reached it.
    fn needs_current(&self, wanted: i32) -> bool {
        if !is_rolling(self.set) || self.current == self.update {
            return false;
        }
        match partition(self.set) {
            Some(partition) if partition > 0 => wanted < self.start() + partition,
            _ => {
                let kept =
                    self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or_default();
                wanted < self.start() + kept
            }
        }
    }

    fn status(&self) -> StatefulSetStatus {
        let is_created = |pod: &Arc<Pod>| !phase(pod).is_empty();
        let count = |keep: &dyn Fn(&Pod) -> bool| {
            self.pods.iter().filter(|pod| is_created(pod) && keep(pod)).count() as i32
        };
        let of_revision =
            |name: &str| count(&|pod| !is_deleting(&pod.metadata) && revision(pod) == Some(name));
        let old = self.set.status.clone().unwrap_or_default();
        let positive = |count: i32| Some(count).filter(|count| *count != 0);
        let mut status = StatefulSetStatus {
            replicas: count(&|_| true),
            ready_replicas: positive(count(&Self::is_running_and_ready)),
            available_replicas: Some(count(&|pod| {
                Self::is_running_and_ready(pod)
                    && until_available(pod, self.min_ready(), self.now).is_some_and(|wait| wait.is_zero())
            })),
            current_replicas: positive(of_revision(self.current)),
            updated_replicas: positive(of_revision(self.update)),
            current_revision: Some(self.current.to_string()),
            update_revision: Some(self.update.to_string()),
            observed_generation: self.set.metadata.generation,
            collision_count: old.collision_count,
            conditions: old.conditions,
        };
        let all = Some(status.replicas);
        if is_rolling(self.set)
            && status.updated_replicas.or(Some(0)) == all
            && status.ready_replicas.or(Some(0)) == all
            && status.replicas == self.replicas()
        {
            status.current_replicas = status.updated_replicas;
            status.current_revision.clone_from(&status.update_revision);
        }
        status
    }
}

/// Decides the next steps and the status.
pub(super) fn plan(world: &World<'_>) -> Plan {
    let mut plan = Plan { status: world.status(), ..Plan::default() };
    let waits = world.pods.iter().filter_map(|pod| until_available(pod, world.min_ready(), world.now));
    plan.requeue = waits.filter(|wait| !wait.is_zero()).min();
    let settled = grow(world, &mut plan) && shrink(world, &mut plan);
    if settled && is_rolling(world.set) {
        update(world, &mut plan);
    }
    plan
}

/// Makes the pods that should be there; whether the next phase may follow.
fn grow(world: &World<'_>, plan: &mut Plan) -> bool {
    let ordered = is_ordered(world.set);
    let mut settled = true;
    for wanted in world.start()..world.start() + world.replicas() {
        let Some(pod) = world.pod(wanted) else {
            plan.steps.push(Step::Create { ordinal: wanted, from_current: world.needs_current(wanted) });
            settled = false;
            if ordered {
                return false;
            }
            continue;
        };
        if is_finished(pod) {
            if !is_deleting(&pod.metadata) {
                let why = if phase(pod) == "Failed" { Why::Failed } else { Why::Succeeded };
                plan.steps.push(Step::Delete { pod: pod.clone(), why });
            }
            settled = false;
            if ordered {
                return false;
            }
            continue;
        }
        // Its claims may be deleted while it waits, as after the loss of a node with local volumes.
        if phase(pod) == "Pending" {
            plan.steps.push(Step::Claim { ordinal: wanted });
        }
        if !identity::is_identified(world.set, wanted, pod) {
            plan.steps.push(Step::Identify { pod: pod.clone(), ordinal: wanted });
        }
        if ordered && !world.is_healthy(pod) {
            return false;
        }
    }
    settled
}

/// Deletes the pods beyond the range, from the top; whether the next phase may follow.
fn shrink(world: &World<'_>, plan: &mut Plan) -> bool {
    let range = world.start()..world.start() + world.replicas();
    let mut condemned: Vec<(i32, &Arc<Pod>)> = world
        .pods
        .iter()
        .filter_map(|pod| Some((ordinal(world.set, pod)?, pod)))
        .filter(|(ordinal, _)| !range.contains(ordinal))
        .collect();
    condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
    let ordered = is_ordered(world.set);
    let first_unhealthy =
        condemned.iter().rev().find(|(_, pod)| !world.is_healthy(pod)).map(|(ordinal, _)| *ordinal);
    for (ordinal, pod) in &condemned {
        if is_deleting(&pod.metadata) {
            if ordered {
                return false;
            }
            continue;
        }
        if ordered && !world.is_healthy(pod) && first_unhealthy != Some(*ordinal) {
            return false;
        }
        plan.steps.push(Step::Delete { pod: (*pod).clone(), why: Why::Condemned });
        if ordered {
            return false;
        }
    }
    condemned.is_empty()
}

/// Deletes pods with an old template from the top, as many as may be unavailable at a time; by default the next once
/// all above it are healthy.
fn update(world: &World<'_>, plan: &mut Plan) {
    let lowest = world.start() + partition(world.set).unwrap_or_default();
    let ordinals = lowest..world.start() + world.replicas();
    let most = max_unavailable(world.set, world.replicas());
    let missing = |wanted: &i32| world.pod(*wanted).is_none_or(|pod| !world.is_healthy(pod));
    // With one at a time a pod that does not become healthy is replaced all the same, once it is its turn.
    let mut left = if most == 1 { 1 } else { most - ordinals.clone().filter(missing).count() as i32 };
    for wanted in ordinals.rev() {
        let Some(pod) = world.pod(wanted) else { return };
        if left <= 0 {
            return;
        }
        if revision(pod) != Some(world.update) && !is_deleting(&pod.metadata) {
            plan.steps.push(Step::Delete { pod: pod.clone(), why: Why::Outdated });
            let count = plan.status.current_replicas.unwrap_or_default();
            if revision(pod) == Some(world.current) {
                plan.status.current_replicas = Some(count - 1).filter(|count| *count > 0);
            }
            left -= 1;
        } else if most == 1 && !world.is_healthy(pod) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{
        RollingUpdateStatefulSetStrategy, StatefulSetSpec, StatefulSetUpdateStrategy,
    };
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use kube::api::ObjectMeta;

    use super::*;
    use crate::{
        history::HASH,
        meta::name,
        pods::tests::{pod, test_now},
    };

    fn set(replicas: i32, parallel: bool, partition: Option<i32>, kept: i32) -> StatefulSet {
        StatefulSet {
            metadata: ObjectMeta {
                name: Some("db".into()),
                namespace: Some("ns".into()),
                ..Default::default()
            },
            spec: Some(StatefulSetSpec {
                replicas: Some(replicas),
                pod_management_policy: Some(if parallel { "Parallel" } else { "OrderedReady" }.into()),
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: partition.map(|partition| RollingUpdateStatefulSetStrategy {
                        partition: Some(partition),
                        max_unavailable: None,
                    }),
                }),
                ..Default::default()
            }),
            status: Some(StatefulSetStatus { current_replicas: Some(kept), ..Default::default() }),
        }
    }

    /// A pod written as ordinal, revision and state: `+` ready, `x` failed, `s` succeeded, `p` pending, `-` going
    /// away.
    fn member(set: &StatefulSet, text: &str) -> Arc<Pod> {
        let number: i32 = text[..1].parse().unwrap();
        let state = text.chars().last().unwrap();
        let phase = match state {
            'x' => "Failed",
            's' => "Succeeded",
            'p' => "Pending",
            _ => "Running",
        };
        let mut pod = pod(&format!("db-{number}"), phase, "n", (state == '+').then_some(60));
        let mut labels = identity::labels(set, number);
        labels
            .insert(HASH.to_string(), text[1..].trim_end_matches(['+', 'x', 's', 'p', '-', '?']).to_string());
        pod.metadata.labels = Some(labels);
        pod.metadata.deletion_timestamp = (state == '-').then(crate::meta::now);
        Arc::new(pod)
    }

    fn check(set: &StatefulSet, pods: &[&str], current: &str, expected: &str) -> StatefulSetStatus {
        let pods: Vec<Arc<Pod>> = pods.iter().map(|text| member(set, text)).collect();
        let world = World { set, pods: &pods, current, update: "new", now: test_now() };
        let plan = plan(&world);
        let show = |step: &Step| match step {
            Step::Create { ordinal, from_current } => {
                format!("+{ordinal}{}", if *from_current { "old" } else { "" })
            }
            Step::Delete { pod, why } => format!("-{} {why:?}", name(&pod.metadata)),
            Step::Claim { ordinal } => format!("claims of {ordinal}"),
            Step::Identify { ordinal, .. } => format!("!{ordinal}"),
        };
        let steps: Vec<String> = plan.steps.iter().map(show).collect();
        assert_eq!(steps.join(", "), expected, "{pods:?}");
        plan.status
    }

    #[test]
    fn pods_come_and_go_in_order() {
        let three = set(3, false, None, 0);
        check(&three, &[], "new", "+0");
        check(&three, &["0new?"], "new", "");
        check(&three, &["0new+"], "new", "+1");
        check(&three, &["0new+", "2new+"], "new", "+1");
        check(&three, &["0new+", "1new-", "2new+"], "new", "");
        check(&three, &["0new+", "1newx"], "new", "-db-1 Failed");
        check(&three, &["0new+", "1news"], "new", "-db-1 Succeeded");
        check(&three, &["0new+", "1newp"], "new", "claims of 1");
        let one = set(1, false, None, 0);
        check(&one, &["0new+", "1new+", "2new+"], "new", "-db-2 Condemned");
        check(&one, &["0new+", "1new+", "2new-"], "new", "");
        check(&one, &["0new?", "1new+"], "new", "");
    }

    #[test]
    fn parallel_sets_do_not_wait() {
        check(&set(3, true, None, 0), &["1new?"], "new", "+0, +2");
        check(&set(3, true, None, 0), &["1newp", "2newp"], "new", "+0, claims of 1, claims of 2");
        check(
            &set(1, true, None, 0),
            &["0new+", "1new?", "2new+"],
            "new",
            "-db-2 Condemned, -db-1 Condemned",
        );
    }

    #[test]
    fn updates_go_from_the_top() {
        let three = set(3, false, None, 3);
        check(&three, &["0old+", "1old+", "2old+"], "old", "-db-2 Outdated");
        check(&three, &["0old+", "1old+", "2new?"], "old", "");
        check(&three, &["0old+", "1old+", "2new+"], "old", "-db-1 Outdated");
        // A pod that is lost meanwhile comes back as it was, as long as its turn has not come.
        check(&set(3, false, None, 2), &["0old+", "2new+"], "old", "+1old");
        check(&set(3, false, None, 1), &["0old+", "2new+"], "old", "+1");
        let done = check(&three, &["0new+", "1new+", "2new+"], "old", "");
        assert_eq!((done.current_revision.as_deref(), done.current_replicas), (Some("new"), Some(3)));
    }

    #[test]
    fn several_may_be_unavailable() {
        let mut four = set(4, true, Some(0), 4);
        let strategy = four.spec.as_mut().unwrap().update_strategy.as_mut().unwrap();
        strategy.rolling_update.as_mut().unwrap().max_unavailable = Some(IntOrString::String("50%".into()));
        check(&four, &["0old+", "1old+", "2old+", "3old+"], "old", "-db-3 Outdated, -db-2 Outdated");
        check(&four, &["0old+", "1old+", "2old+", "3new?"], "old", "-db-2 Outdated");
        check(&four, &["0old+", "1old+", "2new?", "3new?"], "old", "");
        check(&four, &["0old+", "1old+", "2new?", "3new+"], "old", "-db-1 Outdated");
    }

    #[test]
    fn partitions_hold_an_update() {
        let held = set(3, false, Some(2), 3);
        check(&held, &["0old+", "1old+", "2old+"], "old", "-db-2 Outdated");
        let status = check(&held, &["0old+", "1old+", "2new+"], "old", "");
        assert_eq!(status.current_revision.as_deref(), Some("old"));
        check(&held, &["0old+", "2new+"], "old", "+1old");
    }

    #[test]
    fn identity_is_restored() {
        let one = set(1, false, None, 0);
        let mut stray = (*member(&one, "0new+")).clone();
        stray.metadata.labels.as_mut().unwrap().remove("apps.kubernetes.io/pod-index");
        let pods = [Arc::new(stray)];
        let world = World { set: &one, pods: &pods, current: "new", update: "new", now: test_now() };
        assert!(matches!(plan(&world).steps[..], [Step::Identify { ordinal: 0, .. }]));
    }
}
