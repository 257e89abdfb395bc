//! The next step of a Job: start pods, end it, or wait.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_component::backoff::exponential;

use super::{
    indexes::{self, is_indexed},
    policy::{Failure, judge},
    track::{self, has_failed},
};
use crate::{
    conditions::{self, Condition},
    meta::{is_deleting, whole_seconds},
    pods::{self, is_active, is_terminating, phase},
};

/// Pods created or deleted by one sync at most.
const BURST: usize = 500;
const FAILURE_TARGET: &str = "FailureTarget";
const SUCCESS: &str = "SuccessCriteriaMet";

/// What is known of one Job.
pub(super) struct World<'a> {
    pub job: &'a Job,
    pub pods: &'a [Arc<Pod>],
    /// UIDs of pods that have our finalizer.
    pub with_finalizer: &'a HashSet<String>,
    pub now: Timestamp,
    /// Whether the informer shows all that was done before.
    pub may_create: bool,
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Indexes of pods to create; `None` for Jobs without.
    pub create: Vec<Option<i32>>,
    pub delete: Vec<Arc<Pod>>,
    /// Pods to let go, after `listed` was written.
    pub release: Vec<Arc<Pod>>,
    pub listed: JobStatus,
    pub status: JobStatus,
    /// Reason, text, and whether it is a warning.
    pub events: Vec<(&'static str, String, bool)>,
    pub requeue: Option<Duration>,
}

/// The condition with which a Job ended, and when.
fn end(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.is_true() && matches!(condition.kind(), "Complete" | "Failed"))
}

pub(super) fn is_finished(job: &Job) -> bool {
    end(job).is_some()
}

/// When a Job ended.
pub(crate) fn finished_at(job: &Job) -> Option<Timestamp> {
    end(job)?.last_transition_time.as_ref().map(|time| time.0)
}

/// Why a Job must end: condition, reason and message.
struct Verdict {
    kind: &'static str,
    reason: String,
    message: String,
}

impl Verdict {
    fn failed(reason: &str, message: impl Into<String>) -> Option<Self> {
        Some(Self { kind: FAILURE_TARGET, reason: reason.to_string(), message: message.into() })
    }
}

impl World<'_> {
    fn completions(&self) -> Option<i32> {
        self.job.spec.as_ref()?.completions
    }

    fn parallelism(&self) -> i32 {
        self.job.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(1).max(0)
    }

    fn is_suspended(&self) -> bool {
        self.job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false)
    }

    fn backoff_limit(&self) -> i32 {
        self.job.spec.as_ref().and_then(|spec| spec.backoff_limit).unwrap_or(6)
    }

    fn per_index_limit(&self) -> Option<i32> {
        self.job.spec.as_ref()?.backoff_limit_per_index
    }

    fn active(&self) -> Vec<Arc<Pod>> {
        self.pods.iter().filter(|pod| is_active(pod)).cloned().collect()
    }

    /// Restarts of containers count as failures when pods restart in place.
    fn restarts_exceed_limit(&self) -> bool {
        let template = self.job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let restarts = |pod: &Arc<Pod>| {
            let status = pod.status.clone().unwrap_or_default();
            let all = status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
            all.map(|status| status.restart_count).sum::<i32>()
        };
        let running = self.pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
        let total: i32 = running.map(restarts).sum();
        let limit = self.backoff_limit();
        if limit == 0 { total > 0 } else { total >= limit }
    }

    fn deadline_left(&self, started: Option<&Time>) -> Option<SignedDuration> {
        let seconds = self.job.spec.as_ref()?.active_deadline_seconds?;
        if self.is_suspended() {
            return None;
        }
        Some(SignedDuration::from_secs(seconds) - self.now.duration_since(started?.0))
    }

    /// Failures of pods of each index, as far as they count.
    fn failures_by_index(&self) -> HashMap<i32, i32> {
        let mut failures = HashMap::new();
        for pod in self.pods.iter().filter(|pod| has_failed(self.job, pod)) {
            if let Some(index) = indexes::index(pod)
                && judge(self.job, pod) != Failure::Ignored
            {
                *failures.entry(index).or_default() += 1;
            }
        }
        failures
    }

    /// Whether, and how, the Job ends now.
    fn verdict(&self, tally: &track::Tally, started: Option<&Time>, active: usize) -> Option<Verdict> {
        let old = self.job.status.as_ref().and_then(|status| status.conditions.as_ref());
        for kind in [FAILURE_TARGET, SUCCESS] {
            if let Some(known) = conditions::find(old, kind).filter(|condition| condition.is_true()) {
                let (reason, message) = (known.reason().to_string(), known.message().to_string());
                return Some(Verdict { kind, reason, message });
            }
        }
        let failing = self.pods.iter().filter(|pod| has_failed(self.job, pod));
        for pod in failing {
            if let Failure::FailsJob(why) = judge(self.job, pod) {
                return Verdict::failed("PodFailurePolicy", why);
            }
        }
        let failed = tally.counted.failed.unwrap_or_default();
        let newly_failed =
            failed > self.job.status.as_ref().and_then(|status| status.failed).unwrap_or_default();
        if (newly_failed && failed > self.backoff_limit()) || self.restarts_exceed_limit() {
            return Verdict::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if self.deadline_left(started).is_some_and(|left| left <= SignedDuration::ZERO) {
            return Verdict::failed("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        self.indexed_verdict(tally).or_else(|| self.success(tally, active))
    }

    fn indexed_verdict(&self, tally: &track::Tally) -> Option<Verdict> {
        if !is_indexed(self.job) {
            return None;
        }
        let spec = self.job.spec.as_ref()?;
        if let Some(rules) = spec.success_policy.as_ref().map(|policy| &policy.rules) {
            let met = |rule: &k8s_openapi::api::batch::v1::SuccessPolicyRule| {
                let wanted = rule
                    .succeeded_indexes
                    .as_deref()
                    .map(|text| indexes::parse(text, spec.completions.unwrap_or_default()));
                let done = match &wanted {
                    Some(wanted) => wanted.intersection(&tally.succeeded_indexes).count(),
                    None => tally.succeeded_indexes.len(),
                };
                match (rule.succeeded_count, wanted) {
                    (Some(count), _) => done as i32 >= count,
                    (None, Some(wanted)) => done == wanted.len(),
                    (None, None) => false,
                }
            };
            if let Some(number) = rules.iter().position(met) {
                return Some(Verdict {
                    kind: SUCCESS,
                    reason: "SuccessPolicy".to_string(),
                    message: format!("Matched rules at index {number}"),
                });
            }
        }
        let failed = tally.failed_indexes.len() as i32;
        if spec.max_failed_indexes.is_some_and(|max| failed > max) {
            return Verdict::failed(
                "MaxFailedIndexesExceeded",
                "Job has exceeded the specified maximal number of failed indexes",
            );
        }
        let ended = tally.succeeded_indexes.union(&tally.failed_indexes).count() as i32;
        if failed > 0 && ended >= spec.completions? {
            return Verdict::failed("FailedIndexes", "Job has failed indexes");
        }
        None
    }

    fn success(&self, tally: &track::Tally, active: usize) -> Option<Verdict> {
        let succeeded = tally.counted.succeeded.unwrap_or_default();
        let done = match self.completions() {
            // A work queue: the first success ends it, once all others have ended too.
            None => succeeded > 0 && active == 0,
            Some(completions) => succeeded >= completions,
        };
        done.then(|| Verdict {
            kind: SUCCESS,
            reason: "CompletionsReached".to_string(),
            message: "Reached expected number of succeeded pods".to_string(),
        })
    }

    /// Time until the next pod may be started after failures in a row: 10 s, 20 s, … 10 min.
    fn failure_pause(&self, pods: &[&Arc<Pod>]) -> Duration {
        let ended_at = |pod: &Pod| {
            let status = pod.status.clone().unwrap_or_default();
            let finished = status
                .container_statuses
                .into_iter()
                .flatten()
                .filter_map(|status| status.state?.terminated?.finished_at.map(|time| time.0));
            let deleted = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
            finished.max().or(deleted).unwrap_or_else(|| crate::meta::created(&pod.metadata))
        };
        let of = |keep: &dyn Fn(&Pod) -> bool| {
            pods.iter().filter(|pod| keep(pod)).map(|pod| ended_at(pod)).collect::<Vec<Timestamp>>()
        };
        let last_success = of(&|pod| phase(pod) == "Succeeded").into_iter().max();
        let failures: Vec<Timestamp> = of(&|pod| has_failed(self.job, pod))
            .into_iter()
            .filter(|at| last_success.is_none_or(|success| *at > success))
            .collect();
        let Some(last) = failures.iter().max() else { return Duration::ZERO };
        let pause =
            exponential(Duration::from_secs(10), Duration::from_secs(600), 2.0, failures.len() as u32 - 1);
        let passed = Duration::try_from(self.now.duration_since(*last)).unwrap_or_default();
        pause.saturating_sub(passed)
    }
}

/// Decides everything.
pub(super) fn plan(world: &World<'_>) -> Plan {
    let now = Time(whole_seconds(world.now));
    let mut tally = track::tally(world.job, world.pods, world.with_finalizer);
    if let Some(limit) = world.per_index_limit() {
        let failures = world.failures_by_index();
        let beyond = failures.into_iter().filter(|(_, count)| *count > limit).map(|(index, _)| index);
        tally.failed_indexes.extend(beyond);
        tally.failed_indexes = tally.failed_indexes.difference(&tally.succeeded_indexes).copied().collect();
    }
    if world.per_index_limit().is_some() {
        let text = Some(indexes::format(&tally.failed_indexes));
        tally.listed.failed_indexes.clone_from(&text);
        tally.counted.failed_indexes = text;
    }
    let mut plan = Plan { listed: tally.listed.clone(), ..Plan::default() };
    let mut status = tally.counted.clone();
    if status.start_time.is_none() && !world.is_suspended() {
        status.start_time = Some(now.clone());
    }
    let active = world.active();
    let verdict = world.verdict(&tally, status.start_time.as_ref(), active.len());
    let mut left = active.len();
    if verdict.is_some() {
        plan.delete = active.iter().take(BURST).cloned().collect();
        left = active.len() - plan.delete.len();
    } else if world.is_suspended() {
        plan.delete = active.iter().take(BURST).cloned().collect();
        left = active.len() - plan.delete.len();
        suspend(&mut status, &mut plan, &now, true);
    } else {
        suspend(&mut status, &mut plan, &now, false);
        if world.may_create && !is_deleting(&world.job.metadata) {
            manage(world, &tally, &active, &mut plan);
            left = active.len() - plan.delete.len() + plan.create.len();
        }
    }
    let deadline = world.deadline_left(status.start_time.as_ref());
    if let Some(wait) = deadline.filter(|_| verdict.is_none()).and_then(|left| Duration::try_from(left).ok())
    {
        plan.requeue = Some(plan.requeue.map_or(wait, |known| known.min(wait)));
    }
    status.active = Some(left as i32).filter(|count| *count != 0);
    // A pod that is being ended is not active any more, and so not ready either.
    let stays = |pod: &&Arc<Pod>| !plan.delete.iter().any(|ended| Arc::ptr_eq(ended, pod));
    status.ready = Some(active.iter().filter(stays).filter(|pod| pods::is_ready(pod)).count() as i32);
    let terminating = world.pods.iter().filter(|pod| is_terminating(pod)).count() + plan.delete.len();
    status.terminating = Some(terminating as i32);
    if let Some(verdict) = verdict {
        conclude(world, &mut status, &mut plan, &verdict, left + terminating == 0, &now);
    }
    plan.release = tally.release;
    plan.status = status;
    plan
}

/// Notes that the Job is suspended, or no longer.
fn suspend(status: &mut JobStatus, plan: &mut Plan, now: &Time, suspended: bool) {
    let known = conditions::find(status.conditions.as_ref(), "Suspended").map(Condition::is_true);
    let (state, reason, text) = match (suspended, known) {
        (true, Some(true)) | (false, Some(false) | None) => return,
        (true, _) => ("True", "JobSuspended", "Job suspended"),
        (false, _) => ("False", "JobResumed", "Job resumed"),
    };
    conditions::set(&mut status.conditions, JobCondition::new("Suspended", state, reason, text, now));
    // The deadline starts anew with the Job.
    status.start_time = if suspended { None } else { Some(now.clone()) };
    let event = if suspended { "Suspended" } else { "Resumed" };
    plan.events.push((event, text.to_string(), false));
}

/// Writes the end into the status: first that it will end, and when its pods have ended that it
/// has.
fn conclude(
    world: &World<'_>,
    status: &mut JobStatus,
    plan: &mut Plan,
    verdict: &Verdict,
    ended: bool,
    now: &Time,
) {
    let (reason, message) = (&verdict.reason, &verdict.message);
    conditions::set(&mut status.conditions, JobCondition::new(verdict.kind, "True", reason, message, now));
    if !ended {
        return;
    }
    let kind = if verdict.kind == SUCCESS { "Complete" } else { "Failed" };
    conditions::set(&mut status.conditions, JobCondition::new(kind, "True", reason, message, now));
    if verdict.kind == SUCCESS {
        status.completion_time = Some(now.clone());
        plan.events.push(("Completed", "Job completed".to_string(), false));
    } else {
        let known: [&'static str; 5] = [
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "PodFailurePolicy",
            "MaxFailedIndexesExceeded",
            "FailedIndexes",
        ];
        let event = known.into_iter().find(|known| known == reason).unwrap_or("JobFailed");
        plan.events.push((event, message.clone(), true));
    }
    if world.is_suspended() {
        status.start_time.clone_from(&world.job.status.as_ref().and_then(|status| status.start_time.clone()));
    }
}

/// Starts pods that are missing and ends those that are too many.
fn manage(world: &World<'_>, tally: &track::Tally, active: &[Arc<Pod>], plan: &mut Plan) {
    let succeeded = tally.counted.succeeded.unwrap_or_default();
    let wanted = match world.completions() {
        None if succeeded > 0 => active.len() as i32,
        None => world.parallelism(),
        Some(completions) => (completions - succeeded).clamp(0, world.parallelism()),
    } as usize;
    let useless = useless(world, tally, active);
    let kept = active.len() - useless.len();
    plan.delete = useless;
    if kept > wanted {
        let mut keep: Vec<Arc<Pod>> = active
            .iter()
            .filter(|pod| !plan.delete.iter().any(|doomed| Arc::ptr_eq(doomed, pod)))
            .cloned()
            .collect();
        keep.sort_by(|a, b| pods::deletion_order(a, b, &HashMap::new(), world.now));
        plan.delete.extend(keep.into_iter().take(kept - wanted));
    }
    plan.delete.truncate(BURST);
    let going = if track::replaces_failed_only(world.job) {
        world.pods.iter().filter(|pod| is_terminating(pod)).count()
    } else {
        0
    };
    let missing = wanted.saturating_sub(kept + going).min(BURST);
    if missing == 0 {
        return;
    }
    if is_indexed(world.job) {
        let (create, wait) = free_indexes(world, tally, active, missing);
        plan.create = create.into_iter().map(Some).collect();
        plan.requeue = wait;
        return;
    }
    let all: Vec<&Arc<Pod>> = world.pods.iter().collect();
    let pause = world.failure_pause(&all);
    if pause.is_zero() {
        plan.create = vec![None; missing];
    } else {
        plan.requeue = Some(pause);
    }
}

/// Active pods of an Indexed Job whose index is done, failed, taken twice or out of range.
fn useless(world: &World<'_>, tally: &track::Tally, active: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    if !is_indexed(world.job) {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let is_useful = |pod: &&Arc<Pod>| {
        let index = indexes::index(pod).filter(|index| *index < world.completions().unwrap_or_default());
        index.is_some_and(|index| {
            !tally.succeeded_indexes.contains(&index)
                && !tally.failed_indexes.contains(&index)
                && seen.insert(index)
        })
    };
    let useful: Vec<&Arc<Pod>> = active.iter().filter(is_useful).collect();
    active.iter().filter(|pod| !useful.iter().any(|useful| Arc::ptr_eq(useful, pod))).cloned().collect()
}

/// The lowest indexes without a pod, and when to look again at those that failed lately.
fn free_indexes(
    world: &World<'_>,
    tally: &track::Tally,
    active: &[Arc<Pod>],
    missing: usize,
) -> (Vec<i32>, Option<Duration>) {
    let mut taken: BTreeSet<i32> = active.iter().filter_map(|pod| indexes::index(pod)).collect();
    if track::replaces_failed_only(world.job) {
        taken.extend(
            world.pods.iter().filter(|pod| is_terminating(pod)).filter_map(|pod| indexes::index(pod)),
        );
    }
    let free = (0..world.completions().unwrap_or_default())
        .filter(|index| {
            !taken.contains(index)
                && !tally.succeeded_indexes.contains(index)
                && !tally.failed_indexes.contains(index)
        })
        .take(missing);
    if world.per_index_limit().is_none() {
        let all: Vec<&Arc<Pod>> = world.pods.iter().collect();
        let pause = world.failure_pause(&all);
        return if pause.is_zero() { (free.collect(), None) } else { (Vec::new(), Some(pause)) };
    }
    let (mut now, mut wait) = (Vec::new(), None);
    for index in free {
        let own: Vec<&Arc<Pod>> =
            world.pods.iter().filter(|pod| indexes::index(pod) == Some(index)).collect();
        let pause = world.failure_pause(&own);
        if pause.is_zero() {
            now.push(index);
        } else {
            wait = Some(wait.map_or(pause, |known: Duration| known.min(pause)));
        }
    }
    (now, wait)
}

#[cfg(test)]
mod tests;
