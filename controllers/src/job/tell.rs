//! What is counted of Jobs and their pods.

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use knarr_component::informer::Change;

use super::{FINALIZER, decide::Plan, indexes::is_indexed};
use crate::{conditions::Condition, meta::has_finalizer, metrics, pods::Pod, pods::is_finished};

/// How completions are counted.
pub(super) fn mode(job: &Job) -> &'static str {
    if is_indexed(job) { "Indexed" } else { "NonIndexed" }
}

/// What a look at a Job did.
pub(super) fn action(plan: &Plan) -> &'static str {
    match (plan.create.is_empty(), plan.delete.is_empty(), plan.release.is_empty()) {
        (false, ..) => "pods_created",
        (_, false, _) => "pods_deleted",
        (.., false) => "tracking",
        _ => "reconciling",
    }
}

/// Pods were made, or could not be.
pub(super) fn created(job: &Job, plan: &Plan, succeeded: bool) {
    let status = job.status.clone().unwrap_or_default();
    let failed = status.failed.unwrap_or_default() > 0;
    let terminating = status.terminating.unwrap_or_default() > 0;
    let waits = job.spec.as_ref().and_then(|spec| spec.pod_replacement_policy.as_deref()) == Some("Failed");
    let reason = match waits {
        true if failed => "recreate_failed",
        false if failed || terminating => "recreate_terminating_or_failed",
        _ => "new",
    };
    let labels = [reason, if succeeded { "succeeded" } else { "failed" }];
    metrics::JOB_PODS_CREATED.many(&labels, u64::try_from(plan.create.len()).unwrap_or_default());
}

/// A status was written: more pods are counted, or the Job has ended.
pub(super) fn counted(job: &Job, new: &JobStatus) {
    let (mode, old) = (mode(job), job.status.clone().unwrap_or_default());
    let more = |old: Option<i32>, new: Option<i32>| {
        u64::try_from(new.unwrap_or_default() - old.unwrap_or_default()).unwrap_or_default()
    };
    metrics::JOB_PODS_FINISHED.many(&[mode, "succeeded"], more(old.succeeded, new.succeeded));
    metrics::JOB_PODS_FINISHED.many(&[mode, "failed"], more(old.failed, new.failed));
    let end = |status: &JobStatus| {
        let conditions = status.conditions.clone().unwrap_or_default();
        conditions.into_iter().find(|c| c.is_true() && matches!(c.kind(), "Complete" | "Failed"))
    };
    if let (None, Some(end)) = (end(&old), end(new)) {
        let result = if end.kind() == "Complete" { "succeeded" } else { "failed" };
        metrics::JOBS_FINISHED.one(&[mode, result, end.reason.as_deref().unwrap_or_default()]);
    }
}

/// A pod that has ended got, or lost, the finalizer.
pub(super) fn tracked(change: &Change<'_, Pod>) {
    let is_tracked = |pod: &Pod| is_finished(pod) && has_finalizer(&pod.metadata, FINALIZER);
    let event = match change {
        Change::Added(pod) if is_tracked(pod) => "add",
        Change::Updated { old, new } if !is_tracked(old) && is_tracked(new) => "add",
        Change::Updated { old, new } if is_tracked(old) && !is_tracked(new) => "delete",
        Change::Deleted(pod) if is_tracked(pod) => "delete",
        _ => return,
    };
    metrics::JOB_PODS_TRACKED.one(&[event]);
}
