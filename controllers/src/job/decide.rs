//! The next step of a Job: start pods, end it, or wait.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::batch::v1::{Job, JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_component::backoff::exponential;

use super::{
    indexes::{self, Failures, Place, is_indexed},
    policy::{Failure, judge},
    track::{self, End, Seen, ended_at, has_failed},
};
use crate::{
    conditions::{self, Condition},
    meta::{is_deleting, uid, whole_seconds},
    pods::{self, Pod, is_active, is_terminating, phase},
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
    /// UIDs of pods that the controller itself took away, which is no failure.
    pub given_up: &'a HashSet<String>,
    pub now: Timestamp,
    /// Whether pods may be made and ended: only while the informer shows all that was done before.
    pub may_manage: bool,
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub create: Vec<Place>,
    pub delete: Vec<Arc<Pod>>,
    /// Whether the pods to delete lose the finalizer first, so that they are counted nowhere: they
    /// are not needed any more.
    pub uncounted: bool,
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

    /// Whether, and how, the Job ends now.
    fn verdict(&self, seen: &Seen, started: Option<&Time>, active: usize) -> Option<Verdict> {
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
        if seen.failed > self.backoff_limit() || self.restarts_exceed_limit() {
            return Verdict::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if self.deadline_left(started).is_some_and(|left| left <= SignedDuration::ZERO) {
            return Verdict::failed("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        self.indexed_verdict(seen).or_else(|| self.success(seen, active))
    }

    fn indexed_verdict(&self, seen: &Seen) -> Option<Verdict> {
        if !is_indexed(self.job) {
            return None;
        }
        let spec = self.job.spec.as_ref()?;
        let failed = seen.failed_indexes.len() as i32;
        if spec.max_failed_indexes.is_some_and(|max| failed > max) {
            return Verdict::failed(
                "MaxFailedIndexesExceeded",
                "Job has exceeded the specified maximal number of failed indexes",
            );
        }
        let ended = seen.succeeded_indexes.union(&seen.failed_indexes).count() as i32;
        if failed > 0 && ended >= spec.completions? {
            return Verdict::failed("FailedIndexes", "Job has failed indexes");
        }
        if let Some(rules) = spec.success_policy.as_ref().map(|policy| &policy.rules) {
            let met = |rule: &k8s_openapi::api::batch::v1::SuccessPolicyRule| {
                let wanted = rule
                    .succeeded_indexes
                    .as_deref()
                    .map(|text| indexes::parse(text, spec.completions.unwrap_or_default()));
                let done = match &wanted {
                    Some(wanted) => wanted.intersection(&seen.succeeded_indexes).count(),
                    None => seen.succeeded_indexes.len(),
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
        None
    }

    fn success(&self, seen: &Seen, active: usize) -> Option<Verdict> {
        let succeeded = seen.succeeded;
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

    /// Time until the next pod may be started after failures in a row.
    fn failure_pause(&self) -> Duration {
        let of = |keep: &dyn Fn(&Pod) -> bool| {
            self.pods.iter().filter(|pod| keep(pod)).map(|pod| ended_at(pod)).collect::<Vec<Timestamp>>()
        };
        let last_success = of(&|pod| phase(pod) == "Succeeded").into_iter().max();
        let fails = |pod: &Pod| has_failed(self.job, pod) && !self.given_up.contains(uid(&pod.metadata));
        let failures: Vec<Timestamp> =
            of(&fails).into_iter().filter(|at| last_success.is_none_or(|success| *at > success)).collect();
        let Some(last) = failures.iter().max() else { return Duration::ZERO };
        self.pause_after(failures.len(), *last)
    }

    /// What is left of the pause after a number of failures: 10 s, 20 s, … 10 min.
    fn pause_after(&self, failures: usize, last: Timestamp) -> Duration {
        let (first, longest) = (Duration::from_secs(10), Duration::from_secs(600));
        let pause = exponential(first, longest, 2.0, (failures as u32).saturating_sub(1));
        let passed = Duration::try_from(self.now.duration_since(last)).unwrap_or_default();
        pause.saturating_sub(passed)
    }
}

/// Decides everything.
pub(super) fn plan(world: &World<'_>) -> Plan {
    let now = Time(whole_seconds(world.now));
    let seen = track::look(world.job, world.pods, world.with_finalizer);
    let active = world.active();
    let known = world.job.status.as_ref().and_then(|status| status.start_time.clone());
    let started = known.or_else(|| (!world.is_suspended()).then(|| now.clone()));
    let verdict = world.verdict(&seen, started.as_ref(), active.len());
    let mut plan = Plan::default();
    let doomed = || active.iter().take(BURST).cloned().collect();
    plan.uncounted = verdict.as_ref().is_none_or(|verdict| verdict.kind == SUCCESS);
    let goes_on = world.may_manage && verdict.is_none() && !is_deleting(&world.job.metadata);
    if world.may_manage && verdict.is_some() {
        plan.delete = doomed();
    } else if goes_on {
        if world.is_suspended() {
            plan.delete = doomed();
        } else {
            manage(world, &seen, &active, &mut plan);
        }
    }
    let left = active.len() - plan.delete.len() + plan.create.len();
    // Nothing is final while there are pods that the informer does not show, or that still run.
    let verdict = verdict.filter(|_| world.may_manage && left == 0);
    let end =
        verdict.as_ref().map(|verdict| if verdict.kind == SUCCESS { End::Success } else { End::Failure });
    let tally = track::tally(world.job, world.pods, world.with_finalizer, &seen, end);
    (plan.listed, plan.release) = (tally.listed, tally.release);
    let mut status = JobStatus { start_time: started, ..tally.counted };
    if goes_on {
        suspend(&mut status, &mut plan, &now, world.is_suspended());
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
        conclude(world, &mut status, &mut plan, &verdict, terminating == 0 && !tally.is_full, &now);
    }
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
fn manage(world: &World<'_>, seen: &Seen, active: &[Arc<Pod>], plan: &mut Plan) {
    let succeeded = seen.succeeded;
    let wanted = match world.completions() {
        None if succeeded > 0 => active.len() as i32,
        None => world.parallelism(),
        Some(completions) => (completions - succeeded).clamp(0, world.parallelism()),
    } as usize;
    let useless = useless(world, seen, active);
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
        (plan.create, plan.requeue) = free_indexes(world, seen, active, missing);
        return;
    }
    let pause = world.failure_pause();
    if pause.is_zero() {
        plan.create = vec![Place::default(); missing];
    } else {
        plan.requeue = Some(pause);
    }
}

/// Active pods of an Indexed Job whose index is done, failed, taken twice or out of range.
fn useless(world: &World<'_>, seen: &Seen, active: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    if !is_indexed(world.job) {
        return Vec::new();
    }
    let mut taken = BTreeSet::new();
    let is_useful = |pod: &&Arc<Pod>| {
        let index = indexes::index(pod).filter(|index| *index < world.completions().unwrap_or_default());
        index.is_some_and(|index| {
            !seen.succeeded_indexes.contains(&index)
                && !seen.failed_indexes.contains(&index)
                && taken.insert(index)
        })
    };
    let useful: Vec<&Arc<Pod>> = active.iter().filter(is_useful).collect();
    active.iter().filter(|pod| !useful.iter().any(|useful| Arc::ptr_eq(useful, pod))).cloned().collect()
}

/// The lowest indexes without a pod, and when to look again at those that failed lately.
fn free_indexes(
    world: &World<'_>,
    seen: &Seen,
    active: &[Arc<Pod>],
    missing: usize,
) -> (Vec<Place>, Option<Duration>) {
    let mut taken: BTreeSet<i32> = active.iter().filter_map(|pod| indexes::index(pod)).collect();
    if track::replaces_failed_only(world.job) {
        taken.extend(
            world.pods.iter().filter(|pod| is_terminating(pod)).filter_map(|pod| indexes::index(pod)),
        );
    }
    let free = (0..world.completions().unwrap_or_default())
        .filter(|index| {
            !taken.contains(index)
                && !seen.succeeded_indexes.contains(index)
                && !seen.failed_indexes.contains(index)
        })
        .take(missing);
    if world.per_index_limit().is_none() {
        let pause = world.failure_pause();
        let places = free.map(|index| Place { index: Some(index), failures: None });
        return if pause.is_zero() { (places.collect(), None) } else { (Vec::new(), Some(pause)) };
    }
    let (mut now, mut wait) = (Vec::new(), None);
    for index in free {
        let failed = seen.held.get(&index);
        let failures = failed.map(|pod| Failures::after(world.job, pod)).unwrap_or_default();
        let pause =
            failed.map_or(Duration::ZERO, |pod| world.pause_after(failures.all() as usize, ended_at(pod)));
        if pause.is_zero() {
            now.push(Place { index: Some(index), failures: Some(failures) });
        } else {
            wait = Some(wait.map_or(pause, |known: Duration| known.min(pause)));
        }
    }
    (now, wait)
}

#[cfg(test)]
mod tests;
