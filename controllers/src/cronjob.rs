//! CronJobs: a Job at each time of a schedule.

mod schedule;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use knarr_component::{
    events::Recorder,
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{DeleteParams, PostParams};

use crate::{
    conditions::{self},
    context::Context,
    control::message,
    meta::{
        controller_key, controller_reference, ignore_absent, is_code, is_deleting, is_namespace_terminating,
        name, namespace, uid, whole_seconds,
    },
    metrics,
};

use schedule::{Missed, Schedule};

/// Annotation of a Job with the time it was made for.
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed times from which the user is told.
const MANY: usize = 100;

struct Controller {
    context: Context,
    cron_jobs: Informer<CronJob>,
    jobs: Informer<Job>,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        cron_jobs: context.informers.get(),
        jobs: context.informers.get(),
        recorder: context.recorder("cronjob-controller"),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.cron_jobs.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let added = queue.clone();
    controller.jobs.on_change(move |change| {
        controller_key::<CronJob>(&change.object().metadata).into_iter().for_each(|key| added.add(key));
    });
    let synced = {
        let (cron_jobs, jobs) = (controller.cron_jobs.synced(), controller.jobs.synced());
        async {
            futures::join!(cron_jobs, jobs);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_cron_job_syncs;
    context
        .work("cronjob-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

/// The condition with which a Job ended.
fn ended(job: &Job) -> Option<&'static str> {
    let all = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    ["Complete", "Failed"].into_iter().find(|kind| conditions::is_true(all, kind))
}

/// Running Jobs that a list of active ones lacks.
fn unexpected<'a>(status: Option<&CronJobStatus>, children: &'a [Arc<Job>]) -> Vec<&'a Arc<Job>> {
    let active = status.and_then(|status| status.active.as_deref()).unwrap_or_default();
    let is_known = |job: &Job| active.iter().any(|known| known.uid == job.metadata.uid);
    children.iter().filter(|job| ended(job).is_none() && !is_known(job)).collect()
}

/// Brings the list of active Jobs up to date; returns the messages for the user.
fn settle(status: &mut CronJobStatus, children: &[Arc<Job>]) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    let active = status.active.take().unwrap_or_default();
    let (mut still, mut last) = (Vec::new(), status.last_successful_time.clone());
    for reference in active {
        match children.iter().find(|job| job.metadata.uid == reference.uid) {
            None => {
                let gone = reference.name.unwrap_or_default();
                told.push(("MissingJob", format!("Active job went missing: {gone}")));
            }
            Some(job) => match ended(job) {
                None => still.push(reference),
                Some(condition) => {
                    let text = format!("Saw completed job: {}, condition: {condition}", name(&job.metadata));
                    told.push(("SawCompletedJob", text));
                }
            },
        }
    }
    for job in children.iter().filter(|job| ended(job) == Some("Complete")) {
        let done = job.status.as_ref().and_then(|status| status.completion_time.clone());
        if done > last {
            last = done;
        }
    }
    status.last_successful_time = last;
    status.active = Some(still).filter(|still| !still.is_empty());
    told
}

/// Finished Jobs beyond the limits of history, oldest first.
fn surplus(cron_job: &CronJob, children: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = cron_job.spec.clone();
    let of = |condition: &str, limit: Option<i32>, default: i32| {
        let mut done: Vec<Arc<Job>> =
            children.iter().filter(|job| ended(job) == Some(condition)).cloned().collect();
        done.sort_by_key(|job| {
            let started = job.status.as_ref().and_then(|status| status.start_time.clone());
            (started, name(&job.metadata).to_string())
        });
        let surplus = done.len().saturating_sub(limit.unwrap_or(default).max(0) as usize);
        done.truncate(surplus);
        done
    };
    let mut all = of("Complete", spec.successful_jobs_history_limit, 3);
    all.extend(of("Failed", spec.failed_jobs_history_limit, 1));
    all
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(mut cron_job) = self.cron_jobs.get(&key) else { return Ok(None) };
        let children: Vec<Arc<Job>> = self.jobs.owned_by(uid(&cron_job.metadata));
        if !unexpected(cron_job.status.as_ref(), &children).is_empty() {
            // Mostly the informer of Jobs is the faster one.
            let live = self.context.api::<CronJob>(&key.namespace).get_opt(&key.name).await?;
            let live = live.filter(|live| live.metadata.uid == cron_job.metadata.uid);
            let Some(live) = live else { return Ok(None) };
            cron_job = Arc::new(live);
            for job in unexpected(cron_job.status.as_ref(), &children) {
                let text = "Saw a job that the controller did not create or forgot";
                self.recorder.warning(
                    &*cron_job,
                    "UnexpectedJob",
                    format!("{text}: {}", name(&job.metadata)),
                );
            }
        }
        let mut status = cron_job.status.clone().unwrap_or_default();
        for (reason, text) in settle(&mut status, &children) {
            self.recorder.normal(&*cron_job, reason, text);
        }
        for job in surplus(&cron_job, &children) {
            self.delete(&cron_job, &job).await?;
        }
        let result = self.start_if_due(&key, &cron_job, &children, &mut status).await;
        if cron_job.status.as_ref() != Some(&status) {
            let updated = CronJob { status: Some(status), ..(*cron_job).clone() };
            let api = self.context.api::<CronJob>(&key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &updated).await;
            ignore_absent(written).context("cannot update status")?;
        }
        result
    }

    async fn start_if_due(
        &self,
        key: &Key,
        cron_job: &CronJob,
        children: &[Arc<Job>],
        status: &mut CronJobStatus,
    ) -> SyncResult {
        let spec = cron_job.spec.clone();
        if is_deleting(&cron_job.metadata) || spec.suspend.unwrap_or(false) {
            return Ok(None);
        }
        let schedule = match Schedule::parse(&spec.schedule, spec.time_zone.as_deref()) {
            Ok(schedule) => schedule,
            Err(error) => {
                // The user has to correct it; a change of the object brings us back.
                self.recorder.warning(cron_job, error.reason(), error.to_string());
                return Ok(None);
            }
        };
        let now = Timestamp::now();
        let created = crate::meta::created(&cron_job.metadata);
        let from = status.last_schedule_time.as_ref().map_or(created, |time| time.0);
        let Some(next) = schedule.next(now) else {
            // The 31st of February, say; the original's words.
            let text = "time difference between two schedules is less than 1 second";
            let text = format!("invalid schedule: {} : {text}", spec.schedule);
            self.recorder.warning(cron_job, "InvalidSchedule", text);
            return Ok(None);
        };
        let pause = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        let next = Some(Requeue::After(pause + Duration::from_millis(100)));
        let Some(Missed { latest, count }) = schedule.missed(from, now, spec.starting_deadline_seconds)
        else {
            return Ok(next);
        };
        if count > MANY {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.recorder.warning(cron_job, "TooManyMissedTimes", text);
        }
        if schedule::is_too_late(latest, now, spec.starting_deadline_seconds) {
            let latest = latest.strftime("%a, %d %b %Y %H:%M:%S +0000");
            let text = format!("Missed scheduled time to start a job: {latest}");
            self.recorder.warning(cron_job, "MissSchedule", text);
            return Ok(next);
        }
        let active = status.active.clone().unwrap_or_default();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let text =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.recorder.normal(cron_job, "JobAlreadyActive", text);
                return Ok(next);
            }
            Some("Replace") => {
                for job in
                    children.iter().filter(|job| active.iter().any(|known| known.uid == job.metadata.uid))
                {
                    self.delete(cron_job, job).await?;
                }
                status.active = None;
            }
            _ => {}
        }
        if let Some(job) = self.create(key, cron_job, &schedule, latest).await? {
            let reference = ObjectReference {
                resource_version: job.metadata.resource_version.clone(),
                ..knarr_component::events::reference(&job)
            };
            if !active.iter().any(|known| known.uid == reference.uid) && ended(&job).is_none() {
                status.active.get_or_insert_default().push(reference);
            }
            status.last_schedule_time = Some(Time(whole_seconds(latest)));
        }
        Ok(next)
    }

    async fn create(
        &self,
        key: &Key,
        cron_job: &CronJob,
        schedule: &Schedule,
        time: Timestamp,
    ) -> anyhow::Result<Option<Job>> {
        let job = job(cron_job, schedule, time);
        let api = self.context.api::<Job>(&key.namespace);
        match api.create(&PostParams::default(), &job).await {
            Ok(created) => {
                let text = format!("Created job {}", name(&created.metadata));
                self.recorder.normal(cron_job, "SuccessfulCreate", text);
                let late = crate::meta::created(&created.metadata).duration_since(time).as_secs_f64();
                metrics::CRONJOB_SKEW.saw(&[], late.max(0.0));
                Ok(Some(created))
            }
            // Made before, and the status was not written.
            Err(error) if is_code(&error, 409) => {
                let existing = api.get_opt(name(&job.metadata)).await?;
                Ok(existing.filter(|existing| {
                    crate::meta::controller_of(&existing.metadata)
                        .is_some_and(|owner| owner.uid == uid(&cron_job.metadata))
                }))
            }
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                let text = format!("Error creating job: {}", message(&error));
                self.recorder.warning(cron_job, "FailedCreate", text);
                Err(error).context("cannot create Job")
            }
        }
    }

    async fn delete(&self, cron_job: &CronJob, job: &Job) -> anyhow::Result<()> {
        let job_name = name(&job.metadata);
        let api = self.context.api::<Job>(namespace(&job.metadata));
        match ignore_absent(api.delete(job_name, &DeleteParams::background()).await) {
            Ok(Some(_)) => {
                self.recorder.normal(cron_job, "SuccessfulDelete", format!("Deleted job {job_name}"));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                self.recorder.warning(cron_job, "FailedDelete", format!("Deleted job: {}", message(&error)));
                Err(error).context("cannot delete Job")
            }
        }
    }
}

/// The Job of a time; its name is the time in minutes, so that none is made twice.
fn job(cron_job: &CronJob, schedule: &Schedule, time: Timestamp) -> Job {
    let template = cron_job.spec.clone().job_template;
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.to_string(), schedule.local(time));
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", name(&cron_job.metadata), time.as_second().div_euclid(60))),
            namespace: cron_job.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron_job)]),
            ..Default::default()
        },
        spec: template.spec,
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::{CronJobSpec, JobCondition, JobStatus};

    use super::*;
    use crate::conditions::Condition;

    fn child(name: &str, condition: &str, started: i64) -> Arc<Job> {
        let time = Time(Timestamp::from_second(started).unwrap());
        let condition = (!condition.is_empty()).then(|| JobCondition::new(condition, "True", "", "", &time));
        Arc::new(Job {
            metadata: ObjectMeta { name: Some(name.into()), uid: Some(name.into()), ..Default::default() },
            status: Some(JobStatus {
                conditions: Some(condition.into_iter().collect()),
                completion_time: Some(time.clone()),
                start_time: Some(time),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    #[test]
    fn ended_and_missing_jobs_are_noticed() {
        let reference = |uid: &str| ObjectReference {
            uid: Some(uid.into()),
            name: Some(uid.into()),
            ..Default::default()
        };
        let mut status = CronJobStatus {
            active: Some(["a", "b", "c"].into_iter().map(reference).collect()),
            ..Default::default()
        };
        let told = settle(&mut status, &[child("a", "Complete", 5), child("b", "", 6)]);
        let reasons: Vec<&str> = told.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, ["SawCompletedJob", "MissingJob"]);
        assert_eq!(status.active.unwrap().len(), 1);
        assert_eq!(status.last_successful_time, Some(Time(Timestamp::from_second(5).unwrap())));
    }

    #[test]
    fn jobs_of_others_are_noticed() {
        let known = ObjectReference { uid: Some("a".into()), ..Default::default() };
        let status = CronJobStatus { active: Some(vec![known]), ..Default::default() };
        let children = [child("a", "", 1), child("b", "", 2), child("c", "Complete", 3)];
        let names = |status: Option<&CronJobStatus>| -> Vec<String> {
            unexpected(status, &children).iter().map(|job| name(&job.metadata).to_string()).collect()
        };
        assert_eq!(names(Some(&status)), ["b"]);
        assert_eq!(names(None), ["a", "b"]);
    }

    #[test]
    fn history_is_limited() {
        let spec = CronJobSpec { successful_jobs_history_limit: Some(1), ..Default::default() };
        let cron_job = CronJob { spec, ..Default::default() };
        let children = [
            child("c", "Complete", 3),
            child("a", "Complete", 1),
            child("f", "Failed", 1),
            child("r", "", 0),
        ];
        let gone: Vec<String> =
            surplus(&cron_job, &children).iter().map(|job| name(&job.metadata).to_string()).collect();
        assert_eq!(gone, ["a"]);
    }
}
