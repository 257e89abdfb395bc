//! Deletes finished Jobs when the time they are to be kept has passed.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use knarr_component::{
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};

use crate::{
    context::Context,
    job::finished_at,
    meta::{ignore_absent, is_deleting},
    metrics,
};

/// Time until a Job expires, zero when it has; `None` when it never does or has not ended.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let left = SignedDuration::from_secs(i64::from(ttl)) - now.duration_since(finished_at(job)?);
    Some(Duration::try_from(left).unwrap_or_default())
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let jobs: Informer<Job> = context.informers.get();
    let queue = Queue::new();
    let added = queue.clone();
    jobs.on_change(move |change| {
        let job = change.object();
        if !change.is_deletion() && left(job, Timestamp::now()).is_some() {
            added.add(Key::of(&job.metadata));
        }
    });
    let synced = jobs.synced();
    let this = context.clone();
    let workers = context.args.workers.concurrent_ttl_after_finished_syncs;
    context
        .work("ttl-after-finished-controller", synced, queue, workers, move |key| {
            let (context, jobs) = (this.clone(), jobs.clone());
            async move { sync(&context, jobs.get(&key), &key).await }
        })
        .await
}

async fn sync(context: &Context, job: Option<Arc<Job>>, key: &Key) -> SyncResult {
    let Some(job) = job.filter(|job| !is_deleting(&job.metadata)) else { return Ok(None) };
    match left(&job, Timestamp::now()) {
        None => return Ok(None),
        Some(left) if !left.is_zero() => return Ok(Some(Requeue::After(left))),
        Some(_) => {}
    }
    // The time to live may have been raised since; ask before it is too late.
    let api = context.api::<Job>(&key.namespace);
    let Some(fresh) = api.get_opt(&key.name).await? else { return Ok(None) };
    match left(&fresh, Timestamp::now()) {
        Some(left) if left.is_zero() => {
            let parameters = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                preconditions: Some(Preconditions {
                    uid: fresh.metadata.uid.clone(),
                    resource_version: None,
                }),
                ..Default::default()
            };
            ignore_absent(api.delete(&key.name, &parameters).await)?;
            let ttl =
                fresh.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished).unwrap_or_default();
            let late = finished_at(&fresh)
                .map(|end| Timestamp::now().duration_since(end).as_secs_f64() - f64::from(ttl));
            metrics::TTL_TIME.saw(&[], late.unwrap_or_default().max(0.0));
            Ok(None)
        }
        left => Ok(left.map(Requeue::After)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::batch::v1::{JobCondition, JobSpec, JobStatus},
        apimachinery::pkg::apis::meta::v1::Time,
    };

    use super::*;
    use crate::conditions::Condition;

    #[test]
    fn only_finished_jobs_expire() {
        let now = Timestamp::from_second(1000).unwrap();
        let check = |ttl, kind: &str, expected: Option<u64>| {
            let done = Time(Timestamp::from_second(990).unwrap());
            let job = Job {
                spec: Some(JobSpec { ttl_seconds_after_finished: ttl, ..Default::default() }),
                status: Some(JobStatus {
                    conditions: Some(vec![JobCondition::new(kind, "True", "", "", &done)]),
                    ..Default::default()
                }),
                ..Default::default()
            };
            assert_eq!(left(&job, now).map(|left| left.as_secs()), expected, "{ttl:?} {kind}");
        };
        check(Some(30), "Complete", Some(20));
        check(Some(5), "Failed", Some(0));
        check(Some(5), "Suspended", None);
        check(None, "Complete", None);
    }
}
