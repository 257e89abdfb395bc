//! Counting ended pods exactly once.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{
    batch::v1::{Job, JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
};

use super::{
    indexes,
    policy::{Failure, judge},
};
use crate::{
    meta::{is_deleting, uid},
    pods::{is_finished, phase},
};

/// Finalizer of a pod that is not counted yet.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Pods listed at a time: the list is part of an object.
const LISTED: usize = 500;

/// What ended pods amount to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The status with all ended pods listed.
    pub listed: JobStatus,
    /// The status with all of them counted.
    pub counted: JobStatus,
    /// Pods to let go in between.
    pub release: Vec<Arc<Pod>>,
    /// Indexes done (of an Indexed Job).
    pub succeeded_indexes: BTreeSet<i32>,
    /// Indexes failed for good.
    pub failed_indexes: BTreeSet<i32>,
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

/// Lists, releases and counts. `with_finalizer` holds UIDs of pods that have not been let go.
pub(super) fn tally(job: &Job, pods: &[Arc<Pod>], with_finalizer: &HashSet<String>) -> Tally {
    let old = job.status.clone().unwrap_or_default();
    let completions = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or_default();
    let indexed = indexes::is_indexed(job);
    let uncounted = old.uncounted_terminated_pods.clone().unwrap_or_default();
    let mut succeeded = uncounted.succeeded.unwrap_or_default();
    let mut failed = uncounted.failed.unwrap_or_default();
    let mut tally = Tally {
        succeeded_indexes: indexes::parse(old.completed_indexes.as_deref().unwrap_or_default(), completions),
        failed_indexes: indexes::parse(old.failed_indexes.as_deref().unwrap_or_default(), completions),
        ..Tally::default()
    };
    let (mut counted_succeeded, mut counted_failed) =
        (old.succeeded.unwrap_or_default(), old.failed.unwrap_or_default());
    // Listed and let go: a former attempt came that far.
    let count = |list: &mut Vec<String>, counter: &mut i32| {
        let before = list.len();
        list.retain(|uid| with_finalizer.contains(uid));
        *counter += (before - list.len()) as i32;
    };
    if !indexed {
        count(&mut succeeded, &mut counted_succeeded);
    }
    count(&mut failed, &mut counted_failed);
    for pod in pods.iter().filter(|pod| with_finalizer.contains(uid(&pod.metadata))) {
        if tally.release.len() >= LISTED {
            break;
        }
        let id = uid(&pod.metadata).to_string();
        if phase(pod) == "Succeeded" {
            match indexes::index(pod) {
                Some(index) if indexed => drop(tally.succeeded_indexes.insert(index)),
                _ if indexed => {}
                _ if succeeded.contains(&id) => {}
                _ => succeeded.push(id),
            }
        } else if has_failed(job, pod) {
            let verdict = judge(job, pod);
            if verdict == Failure::FailsIndex {
                tally.failed_indexes.extend(indexes::index(pod));
            }
            if verdict != Failure::Ignored && !failed.contains(&id) {
                failed.push(id);
            }
        } else {
            continue;
        }
        // A pod that fails by being deleted keeps running until it has ended.
        if is_finished(pod) || is_deleting(&pod.metadata) {
            tally.release.push(pod.clone());
        }
    }
    let list = |succeeded: Vec<String>, failed: Vec<String>| {
        let list = |uids: Vec<String>| Some(uids).filter(|uids| !uids.is_empty());
        Some(UncountedTerminatedPods { succeeded: list(succeeded), failed: list(failed) })
    };
    let positive = |count: i32| Some(count).filter(|count| *count != 0);
    tally.listed = JobStatus {
        succeeded: positive(counted_succeeded),
        failed: positive(counted_failed),
        uncounted_terminated_pods: list(succeeded.clone(), failed.clone()),
        ..old.clone()
    };
    let mut counted = JobStatus {
        succeeded: positive(counted_succeeded + succeeded.len() as i32),
        failed: positive(counted_failed + failed.len() as i32),
        uncounted_terminated_pods: list(Vec::new(), Vec::new()),
        ..old
    };
    if indexed {
        let completed = Some(indexes::format(&tally.succeeded_indexes)).filter(|text| !text.is_empty());
        for status in [&mut tally.listed, &mut counted] {
            status.completed_indexes.clone_from(&completed);
            status.succeeded = positive(tally.succeeded_indexes.len() as i32);
        }
    }
    tally.counted = counted;
    tally
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
        let first = tally(&job, &all, &holding);
        let listed = first.listed.uncounted_terminated_pods.clone().unwrap();
        assert_eq!(
            (listed.succeeded, listed.failed),
            (Some(vec!["uid-a".into()]), Some(vec!["uid-b".into()]))
        );
        assert_eq!((first.listed.succeeded, first.counted.succeeded), (None, Some(1)));
        assert_eq!((first.counted.failed, first.release.len()), (Some(1), 2));
        // A crash after the list was written: nothing changes, and all is counted at the end.
        job.status = Some(first.listed.clone());
        let again = tally(&job, &all, &holding);
        assert_eq!((&again.listed, &again.counted), (&first.listed, &first.counted));
        // A crash after the pods were let go.
        let later = tally(&job, &all, &HashSet::from(["uid-c".to_string()]));
        assert_eq!((later.counted.succeeded, later.counted.failed), (Some(1), Some(1)));
        job.status = Some(first.counted);
        let done = tally(&job, &all, &HashSet::from(["uid-c".to_string()]));
        assert_eq!((done.counted.succeeded, done.release.len()), (Some(1), 0));
    }
}
