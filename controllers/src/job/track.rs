//! Counting ended pods exactly once.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};

use super::{
    indexes,
    policy::{Failure, judge},
};
use crate::{
    meta::{created, is_deleting, uid},
    pods::{Pod, is_active, phase},
};

/// Finalizer of a pod that is not counted yet.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Pods listed at a time: the list is part of an object.
const LISTED: usize = 500;

/// What ended pods amount to before any is let go.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Pods (indexes of an Indexed Job) that have succeeded.
    pub succeeded: i32,
    /// Failures as far as they count, those included whose pods are held back.
    pub failed: i32,
    /// Indexes done (of an Indexed Job).
    pub succeeded_indexes: BTreeSet<i32>,
    /// Indexes failed for good (of a Job with a limit for each).
    pub failed_indexes: BTreeSet<i32>,
    /// Failed pods that carry the count of their index until a successor does.
    pub held: BTreeMap<i32, Arc<Pod>>,
}

/// How a Job ends, with all the pods that it still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Pods that were not needed any more count neither way.
    Success,
    /// Every pod that has not succeeded counts as failed.
    Failure,
}

/// Statuses, and what happens between them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The status with all ended pods listed.
    pub listed: JobStatus,
    /// The status with all of them counted.
    pub counted: JobStatus,
    /// Pods to let go in between.
    pub release: Vec<Arc<Pod>>,
    /// Whether there is more to count than the list takes.
    pub is_full: bool,
}

/// Whether a pod counts as failed.
pub(super) fn has_failed(job: &Job, pod: &Pod) -> bool {
    let only_failed = replaces_failed_only(job);
    phase(pod) == "Failed" || (!only_failed && is_deleting(&pod.metadata) && phase(pod) != "Succeeded")
}

/// Whether pods going away are replaced only once they have ended.
pub(super) fn replaces_failed_only(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.pod_replacement_policy.as_deref()) == Some("Failed")
}

fn is_index_limited(job: &Job) -> bool {
    indexes::is_indexed(job) && job.spec.as_ref().is_some_and(|spec| spec.backoff_limit_per_index.is_some())
}

/// The index of a pod, if the Job has it.
fn index_of(job: &Job, pod: &Pod) -> Option<i32> {
    let completions = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or_default();
    indexes::index(pod).filter(|index| *index < completions)
}

/// Whether a failed pod is the last that its index may have.
fn ends_index(job: &Job, pod: &Pod) -> bool {
    let limit = job.spec.as_ref().and_then(|spec| spec.backoff_limit_per_index).unwrap_or(i32::MAX);
    match judge(job, pod) {
        Failure::FailsIndex => true,
        Failure::Ignored => false,
        Failure::Counts | Failure::FailsJob(_) => indexes::Failures::of(pod).counted >= limit,
    }
}

/// Looks at the pods. `with_finalizer` holds UIDs of pods that have not been let go.
pub(super) fn look(job: &Job, pods: &[Arc<Pod>], with_finalizer: &HashSet<String>) -> Seen {
    let old = job.status.clone().unwrap_or_default();
    let completions = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or_default();
    let uncounted = old.uncounted_terminated_pods.unwrap_or_default();
    let (succeeded, failed) = (uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default());
    let mut seen = Seen {
        succeeded: old.succeeded.unwrap_or_default() + succeeded.len() as i32,
        failed: old.failed.unwrap_or_default() + failed.len() as i32,
        succeeded_indexes: indexes::parse(old.completed_indexes.as_deref().unwrap_or_default(), completions),
        failed_indexes: indexes::parse(old.failed_indexes.as_deref().unwrap_or_default(), completions),
        ..Seen::default()
    };
    let listed =
        |pod: &&&Arc<Pod>| succeeded.iter().chain(&failed).any(|listed| *listed == uid(&pod.metadata));
    let holding: Vec<&Arc<Pod>> =
        pods.iter().filter(|pod| with_finalizer.contains(uid(&pod.metadata))).collect();
    for pod in holding.iter().filter(|pod| !listed(pod)) {
        if phase(pod) == "Succeeded" {
            seen.succeeded += 1;
            seen.succeeded_indexes.extend(index_of(job, pod));
        } else if has_failed(job, pod) {
            seen.failed += i32::from(judge(job, pod) != Failure::Ignored);
        }
    }
    if indexes::is_indexed(job) {
        seen.succeeded = seen.succeeded_indexes.len() as i32;
    }
    if is_index_limited(job) {
        let failing = || holding.iter().filter(|pod| has_failed(job, pod));
        let ended = failing().filter(|pod| ends_index(job, pod)).filter_map(|pod| index_of(job, pod));
        seen.failed_indexes.extend(ended);
        seen.failed_indexes.retain(|index| !seen.succeeded_indexes.contains(index));
        seen.held = held(job, pods, &seen, failing().filter(|pod| !listed(pod)).copied());
    }
    seen
}

/// The last failed pod of each index that is to go on and has no active pod yet.
fn held<'a>(
    job: &Job,
    pods: &[Arc<Pod>],
    seen: &Seen,
    failing: impl Iterator<Item = &'a Arc<Pod>>,
) -> BTreeMap<i32, Arc<Pod>> {
    let active: BTreeSet<i32> =
        pods.iter().filter(|pod| is_active(pod)).filter_map(|pod| indexes::index(pod)).collect();
    let rank = |pod: &Pod| (indexes::Failures::of(pod).all(), ended_at(pod));
    let mut held: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
    for pod in failing {
        let Some(index) = index_of(job, pod) else { continue };
        let has_ended = seen.succeeded_indexes.contains(&index) || seen.failed_indexes.contains(&index);
        if has_ended || active.contains(&index) {
            continue;
        }
        if held.get(&index).is_none_or(|known| rank(known) <= rank(pod)) {
            held.insert(index, pod.clone());
        }
    }
    held
}

/// When a pod's last container ended, or what comes nearest to it.
pub(super) fn ended_at(pod: &Pod) -> Timestamp {
    let status = pod.status.clone().unwrap_or_default();
    let finished = status
        .container_statuses
        .into_iter()
        .flatten()
        .filter_map(|status| status.state?.terminated?.finished_at.map(|time| time.0));
    let deleted = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    finished.max().or(deleted).unwrap_or_else(|| created(&pod.metadata))
}

/// UIDs of pods that have ended but are not counted, and the counts of the others.
struct Lists {
    succeeded: Vec<String>,
    failed: Vec<String>,
    counted_succeeded: i32,
    counted_failed: i32,
}

impl Lists {
    /// Goes on where a former attempt, which may have listed and let go, ended.
    fn resume(old: &JobStatus, with_finalizer: &HashSet<String>, indexed: bool) -> Self {
        let uncounted = old.uncounted_terminated_pods.clone().unwrap_or_default();
        let mut lists = Self {
            succeeded: uncounted.succeeded.unwrap_or_default(),
            failed: uncounted.failed.unwrap_or_default(),
            counted_succeeded: old.succeeded.unwrap_or_default(),
            counted_failed: old.failed.unwrap_or_default(),
        };
        let count = |list: &mut Vec<String>, counter: &mut i32| {
            let before = list.len();
            list.retain(|uid| with_finalizer.contains(uid));
            *counter += (before - list.len()) as i32;
        };
        if !indexed {
            count(&mut lists.succeeded, &mut lists.counted_succeeded);
        }
        count(&mut lists.failed, &mut lists.counted_failed);
        lists
    }

    fn add(&mut self, job: &Job, pod: &Pod, end: Option<End>) {
        let id = uid(&pod.metadata).to_string();
        let indexed = indexes::is_indexed(job);
        if self.failed.contains(&id) || self.succeeded.contains(&id) {
            return;
        }
        if phase(pod) == "Succeeded" {
            // The index says enough of a pod that has one.
            if !indexed {
                self.succeeded.push(id);
            }
        } else if (has_failed(job, pod) || end == Some(End::Failure))
            && (!indexed || index_of(job, pod).is_some())
            && judge(job, pod) != Failure::Ignored
        {
            self.failed.push(id);
        }
    }

    /// The statuses with all ended pods listed, and with all of them counted.
    fn statuses(self, job: &Job, seen: &Seen) -> (JobStatus, JobStatus) {
        let old = job.status.clone().unwrap_or_default();
        let list = |succeeded: Vec<String>, failed: Vec<String>| {
            let list = |uids: Vec<String>| Some(uids).filter(|uids| !uids.is_empty());
            Some(UncountedTerminatedPods { succeeded: list(succeeded), failed: list(failed) })
        };
        let positive = |count: i32| Some(count).filter(|count| *count != 0);
        let mut counted = JobStatus {
            succeeded: positive(self.counted_succeeded + self.succeeded.len() as i32),
            failed: positive(self.counted_failed + self.failed.len() as i32),
            uncounted_terminated_pods: list(Vec::new(), Vec::new()),
            ..old.clone()
        };
        let mut listed = JobStatus {
            succeeded: positive(self.counted_succeeded),
            failed: positive(self.counted_failed),
            uncounted_terminated_pods: list(self.succeeded, self.failed),
            ..old
        };
        for status in [&mut listed, &mut counted] {
            if indexes::is_indexed(job) {
                let completed = Some(indexes::format(&seen.succeeded_indexes));
                status.completed_indexes = completed.filter(|text| !text.is_empty());
                status.succeeded = positive(seen.succeeded_indexes.len() as i32);
            }
            if is_index_limited(job) {
                status.failed_indexes = Some(indexes::format(&seen.failed_indexes));
            }
        }
        (listed, counted)
    }
}

/// Lists, releases and counts. With an `end` no pod keeps the finalizer.
pub(super) fn tally(
    job: &Job,
    pods: &[Arc<Pod>],
    with_finalizer: &HashSet<String>,
    seen: &Seen,
    end: Option<End>,
) -> Tally {
    let old = job.status.clone().unwrap_or_default();
    let mut lists = Lists::resume(&old, with_finalizer, indexes::is_indexed(job));
    let is_held = |pod: &Arc<Pod>| seen.held.values().any(|held| Arc::ptr_eq(held, pod));
    let may_go = |pod: &Arc<Pod>| {
        end.is_some() || phase(pod) == "Succeeded" || (has_failed(job, pod) && !is_held(pod))
    };
    let mut release: Vec<Arc<Pod>> = Vec::new();
    let mut going = pods.iter().filter(|pod| with_finalizer.contains(uid(&pod.metadata)) && may_go(pod));
    for pod in going.by_ref().take(LISTED) {
        lists.add(job, pod, end);
        release.push(pod.clone());
    }
    let is_full = going.next().is_some();
    let (listed, counted) = lists.statuses(job, seen);
    Tally { listed, counted, release, is_full }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::JobSpec;

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn each_pod_counts_once() {
        let all: Vec<Arc<Pod>> = [("a", "Succeeded"), ("b", "Failed"), ("c", "Running")]
            .into_iter()
            .map(|(name, phase)| Arc::new(pod(name, phase, "n", None)))
            .collect();
        let holding: HashSet<String> = all.iter().map(|pod| uid(&pod.metadata).to_string()).collect();
        let mut job = Job { spec: Some(JobSpec::default()), ..Default::default() };
        let counts =
            |job: &Job, holding: &HashSet<String>| tally(job, &all, holding, &look(job, &all, holding), None);
        let first = counts(&job, &holding);
        let listed = first.listed.uncounted_terminated_pods.clone().unwrap();
        assert_eq!(
            (listed.succeeded, listed.failed),
            (Some(vec!["uid-a".into()]), Some(vec!["uid-b".into()]))
        );
        assert_eq!((first.listed.succeeded, first.counted.succeeded), (None, Some(1)));
        assert_eq!((first.counted.failed, first.release.len()), (Some(1), 2));
        // A crash after the list was written: nothing changes, and all is counted at the end.
        job.status = Some(first.listed.clone());
        let again = counts(&job, &holding);
        assert_eq!((&again.listed, &again.counted), (&first.listed, &first.counted));
        // A crash after the pods were let go.
        let later = counts(&job, &HashSet::from(["uid-c".to_string()]));
        assert_eq!((later.counted.succeeded, later.counted.failed), (Some(1), Some(1)));
        job.status = Some(first.counted);
        let done = counts(&job, &HashSet::from(["uid-c".to_string()]));
        assert_eq!((done.counted.succeeded, done.release.len()), (Some(1), 0));
    }
}
