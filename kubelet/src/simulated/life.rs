//! The life of one simulated pod, without I/O: what a kubelet would observe at a moment, decided by the kubelet's own
//! plans and told by its own statuses. Only the containers are made up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use rand::Rng;

use super::stages::{End, PodStage, end_of};
use crate::allocation::Resize;
use crate::backoff::Backoff;
use crate::observed::{Container, Observed, Sandbox};
use crate::plan::restart;
use crate::plan::{self, Action, ProbeResults, Waiting};
use crate::pod;
use crate::runtime::types::ContainerState;
use crate::status::{self, Verdict, VerdictKind};

/// What container ids begin with, and the runtime that nodes report.
pub const RUNTIME: &str = "simulated";
/// Exit code of a container that is told to stop and does not mind: SIGTERM's.
const TERMINATED: i32 = 143;
/// A pod needs at most so many rounds of planning at one moment; more would be an endless loop.
const MAX_ROUNDS: usize = 64;

/// What surrounds a pod at a moment.
pub struct Moment<'a> {
    /// The present.
    pub now: Timestamp,
    /// The pod's stage, if one matches.
    pub stage: Option<&'a PodStage>,
    /// Addresses of the node.
    pub host_ips: &'a [String],
}

/// A pod's state.
#[derive(Debug, Default)]
pub struct Life {
    observed: Observed,
    crashes: Backoff,
    runs: Vec<Run>,
    waiting: BTreeMap<String, Waiting>,
    /// When its sandbox will be there.
    begins: Option<Timestamp>,
    /// When what still runs will have stopped.
    stops: Option<Timestamp>,
    verdict: Option<Box<Verdict>>,
    over: bool,
}

/// What lies before a running container.
#[derive(Debug)]
struct Run {
    id: String,
    ready: Option<Timestamp>,
    end: Option<(Timestamp, Box<End>)>,
}

/// What a step came to.
#[derive(Debug)]
pub struct Step {
    /// The status now.
    pub status: PodStatus,
    /// Nothing of the pod is left: its object may go when it is marked for deletion.
    pub over: bool,
    /// When something happens by itself.
    pub wake: Option<Timestamp>,
}

impl Life {
    /// Takes a pod over whose status another process has written.
    pub fn adopt(pod: &Pod, moment: &Moment<'_>, random: &mut impl Rng) -> Self {
        let mut life = Self { over: pod::is_terminal(pod), ..Self::default() };
        let Some(status) = pod.status.as_ref().filter(|_| !life.over) else { return life };
        let ips: Vec<String> = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
        let lists = [&status.init_container_statuses, &status.container_statuses];
        let known = lists.into_iter().flatten().flatten().filter_map(|one| adopted(pod, one));
        life.observed.containers = known.collect();
        if ips.is_empty() || life.observed.containers.is_empty() {
            life.observed.containers.clear();
            return life;
        }
        let created = status.start_time.as_ref().map_or(moment.now, |time| time.0);
        life.observed.sandboxes.push(sandbox(pod, 0, ips, created));
        for (id, name, started) in life.running_ones() {
            life.expect(pod, moment, (id, &name), started, random);
        }
        life
    }

    /// The address that the pod has of its own.
    pub fn address(&self) -> Option<&str> {
        let sandbox = self.observed.sandboxes.first().filter(|sandbox| !sandbox.host_network)?;
        sandbox.ips.first().map(String::as_str)
    }

    /// Brings the pod to the present. `address` gives out an address, if there is one left.
    pub fn step(
        &mut self,
        pod: &Pod,
        moment: &Moment<'_>,
        mut address: impl FnMut() -> Option<String>,
        random: &mut impl Rng,
    ) -> Step {
        self.pass(moment.now);
        self.check_deletion(pod, moment, random);
        self.check_deadline(pod, moment.now);
        let mut retry = None;
        if self.stops.is_none() && !self.over {
            retry = self.go_on(pod, moment, &mut address, random);
        }
        self.stop(moment.now);
        let probes = self.probes(moment.now);
        let status = status::compute(&status::Inputs {
            pod,
            observed: &self.observed,
            probes: &probes,
            waiting: &self.waiting,
            resize: &Resize::default(),
            host_ips: moment.host_ips,
            verdict: self.verdict.as_deref(),
            ended: self.over,
            runtime: RUNTIME,
            now: moment.now,
        });
        let wake = self.wake(pod, &status, moment.now, retry);
        Step { status, over: self.over, wake }
    }

    /// Lets containers end whose time has come.
    fn pass(&mut self, now: Timestamp) {
        let (due, runs) = std::mem::take(&mut self.runs)
            .into_iter()
            .partition::<Vec<_>, _>(|run| run.end.as_ref().is_some_and(|(at, _)| *at <= now));
        self.runs = runs;
        for (id, (at, end)) in due.into_iter().filter_map(|run| Some((run.id, run.end?))) {
            self.exit(&id, at, end.exit_code, &end.reason, &end.message);
        }
    }

    fn exit(&mut self, id: &str, at: Timestamp, exit_code: i32, reason: &str, message: &str) {
        self.runs.retain(|run| run.id != id);
        for container in self.observed.containers.iter_mut().filter(|one| one.id == id && one.is_running()) {
            container.state = ContainerState::Exited;
            container.finished = at.max(container.started);
            container.exit_code = exit_code;
            reason.clone_into(&mut container.reason);
            message.clone_into(&mut container.message);
        }
    }

    fn check_deletion(&mut self, pod: &Pod, moment: &Moment<'_>, random: &mut impl Rng) {
        if pod.metadata.deletion_timestamp.is_none() || self.stops.is_some() || self.over {
            return;
        }
        let grace = Duration::from_secs(pod::grace_seconds(pod).unsigned_abs());
        let delay = moment.stage.map(|stage| stage.stop.draw(random)).unwrap_or_default().min(grace);
        self.stops = Some(later(moment.now, delay));
    }

    fn check_deadline(&mut self, pod: &Pod, now: Timestamp) {
        if self.stops.is_none()
            && !self.over
            && deadline(pod, pod.status.as_ref()).is_some_and(|at| at <= now)
        {
            self.verdict = Some(Box::new(Verdict {
                reason: "DeadlineExceeded".to_owned(),
                message: "Pod was active on the node longer than the specified deadline".to_owned(),
                kind: VerdictKind::Ended,
            }));
            self.stops = Some(now);
        }
    }

    /// Does what the kubelet would do; answers after which time it would look again.
    fn go_on(
        &mut self,
        pod: &Pod,
        moment: &Moment<'_>,
        address: &mut impl FnMut() -> Option<String>,
        random: &mut impl Rng,
    ) -> Option<Duration> {
        for _ in 0..MAX_ROUNDS {
            let probes = self.probes(moment.now);
            let plan = plan::plan(&plan::Inputs {
                pod,
                observed: &self.observed,
                probes: &probes,
                backoff: &self.crashes,
                now: moment.now,
            });
            self.waiting.clone_from(&plan.waiting);
            if plan.ended {
                self.stops = Some(moment.now);
                return None;
            }
            let mut acted = false;
            for action in &plan.actions {
                acted |= self.act(pod, moment, action, address, random);
            }
            if !acted {
                return plan.retry_after;
            }
        }
        tracing::warn!(pod = pod::full_name(pod), "plans without an end; looking again later");
        Some(Duration::from_secs(1))
    }

    /// Carries out one step of a plan; answers whether anything changed.
    fn act(
        &mut self,
        pod: &Pod,
        moment: &Moment<'_>,
        action: &Action,
        address: &mut impl FnMut() -> Option<String>,
        random: &mut impl Rng,
    ) -> bool {
        let now = moment.now;
        match action {
            Action::CreateSandbox { attempt } => {
                let mut delay = || moment.stage.map(|stage| stage.start.draw(random)).unwrap_or_default();
                let begins = *self.begins.get_or_insert_with(|| later(now, delay()));
                if begins > now {
                    return false;
                }
                let ips: Vec<String> = match pod::host_network(pod) {
                    true => Vec::new(),
                    false => address().into_iter().collect(),
                };
                if ips.is_empty() && !pod::host_network(pod) {
                    return false;
                }
                self.begins = None;
                self.observed.sandboxes = vec![sandbox(pod, *attempt, ips, now)];
            }
            Action::StopSandbox { id } => {
                let inside = self.observed.running().filter(|one| one.sandbox == *id);
                let inside: Vec<String> = inside.map(|one| one.id.clone()).collect();
                inside.iter().for_each(|id| self.exit(id, now, TERMINATED, "", ""));
                self.observed.sandboxes.retain(|sandbox| sandbox.id != *id);
            }
            Action::StopContainer { id, .. } => self.exit(id, now, TERMINATED, "", ""),
            Action::RemoveContainer { id } => self.observed.containers.retain(|one| one.id != *id),
            Action::StartContainer { name } => self.start(pod, moment, name, random),
        }
        true
    }

    fn start(&mut self, pod: &Pod, moment: &Moment<'_>, name: &str, random: &mut impl Rng) {
        let (Some(spec), Some(sandbox)) = (pod::find_container(pod, name), self.observed.ready_sandbox())
        else {
            return;
        };
        let sandbox = sandbox.id.clone();
        let latest = self.observed.latest(name);
        let restarts = latest.map_or(0, |latest| latest.restarts + 1);
        if let Some(finished) = latest.filter(|latest| latest.is_exited()).map(|latest| latest.finished) {
            self.crashes.advance(&pod::crash_key(&spec), finished, moment.now);
        }
        // The one before the newest is all that a status tells of.
        let mut older = 0;
        self.observed.containers.retain(|one| {
            older += usize::from(one.name == name);
            one.name != name || older <= 1
        });
        let id = format!("{:032x}", random.random::<u128>());
        let image = spec.image.clone().unwrap_or_default();
        let container = Container {
            id: id.clone(),
            sandbox,
            name: name.to_owned(),
            restarts,
            state: ContainerState::Running,
            created: moment.now,
            started: moment.now,
            finished: Timestamp::UNIX_EPOCH,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image_id: image.clone(),
            image,
            user: None,
            hash: pod::container_hash(&spec),
            log_path: String::new(),
            message_path: None,
            message_from_logs: false,
        };
        self.observed.containers.insert(0, container);
        self.expect(pod, moment, (id, name), moment.now, random);
    }

    /// Draws what lies before a container that runs since `started`.
    fn expect(
        &mut self,
        pod: &Pod,
        moment: &Moment<'_>,
        (id, name): (String, &str),
        started: Timestamp,
        random: &mut impl Rng,
    ) {
        let Some(spec) = pod::find_container(pod, name) else { return };
        let init = pod::init_containers(pod).iter().any(|one| one.name == name);
        let ordinary_init = init && !pod::is_sidecar(&spec);
        let expected_to_end = ordinary_init || restart::policy(pod, &spec) != "Always";
        let stage = moment.stage;
        let end = end_of(stage, name, expected_to_end, random).or_else(|| {
            // An init container that never ended would hold the pod up for good.
            ordinary_init.then(|| end_of(None, name, true, random)).flatten()
        });
        let ready = stage.map_or(Some(Duration::ZERO), |stage| stage.ready_after(random));
        self.runs.push(Run {
            id,
            ready: ready.map(|after| later(started, after)),
            end: end.map(|end| (later(started, end.after), Box::new(end))),
        });
    }

    /// Ends what runs once it has had its time.
    fn stop(&mut self, now: Timestamp) {
        if self.stops.is_none_or(|at| at > now) {
            return;
        }
        for (id, ..) in self.running_ones() {
            self.exit(&id, now, TERMINATED, "", "");
        }
        self.observed.sandboxes.iter_mut().for_each(|sandbox| sandbox.ready = false);
        self.waiting.clear();
        self.over = true;
    }

    fn running_ones(&self) -> Vec<(String, String, Timestamp)> {
        self.observed.running().map(|one| (one.id.clone(), one.name.clone(), one.started)).collect()
    }

    /// The findings of probes: all who run have started, and are ready when it is their time.
    fn probes(&self, now: Timestamp) -> ProbeResults {
        let ready = self.runs.iter().filter(|run| run.ready.is_some_and(|at| at <= now));
        ProbeResults {
            started: self.observed.running().map(|one| one.id.clone()).collect(),
            ready: ready.map(|run| run.id.clone()).collect(),
            ..Default::default()
        }
    }

    fn wake(
        &self,
        pod: &Pod,
        status: &PodStatus,
        now: Timestamp,
        retry: Option<Duration>,
    ) -> Option<Timestamp> {
        if self.over {
            return None;
        }
        let runs = self.runs.iter().flat_map(|run| [run.ready, run.end.as_ref().map(|(at, _)| *at)]);
        let others =
            [self.begins, self.stops, deadline(pod, Some(status)), retry.map(|wait| later(now, wait))];
        runs.chain(others).flatten().filter(|at| *at > now).min()
    }
}

fn later(time: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| time.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// When the pod has been active for too long.
fn deadline(pod: &Pod, status: Option<&PodStatus>) -> Option<Timestamp> {
    let seconds = pod::spec(pod).active_deadline_seconds?;
    let started = status?.start_time.as_ref()?.0;
    Some(later(started, Duration::from_secs(seconds.unsigned_abs())))
}

fn sandbox(pod: &Pod, attempt: u32, ips: Vec<String>, created: Timestamp) -> Sandbox {
    let host_network = pod::host_network(pod);
    Sandbox { id: format!("sandbox-{attempt}"), attempt, ready: true, ips, host_network, created }
}

/// A container as its status describes it; none of one that never ran.
fn adopted(pod: &Pod, status: &ContainerStatus) -> Option<Container> {
    let state = status.state.as_ref()?;
    let ended =
        state.terminated.as_ref().or(status.last_state.as_ref().and_then(|last| last.terminated.as_ref()));
    let running = state.running.as_ref();
    let started = running.map(|running| running.started_at.as_ref());
    let started = started.or(ended.map(|ended| ended.started_at.as_ref()))?;
    let started = started.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let ended = ended.filter(|_| running.is_none());
    let id = status.container_id.as_deref().or(ended.and_then(|ended| ended.container_id.as_deref()))?;
    Some(Container {
        id: id.rsplit('/').next().unwrap_or_default().to_owned(),
        sandbox: "sandbox-0".to_owned(),
        name: status.name.clone(),
        restarts: u32::try_from(status.restart_count).unwrap_or_default(),
        state: if running.is_some() { ContainerState::Running } else { ContainerState::Exited },
        created: started,
        started,
        finished: ended.and_then(|ended| ended.finished_at.as_ref()).map_or(started, |time| time.0),
        exit_code: ended.map_or(0, |ended| ended.exit_code),
        reason: ended.and_then(|ended| ended.reason.clone()).unwrap_or_default(),
        message: ended.and_then(|ended| ended.message.clone()).unwrap_or_default(),
        image: status.image.clone(),
        image_id: status.image_id.clone(),
        user: None,
        hash: pod::find_container(pod, &status.name)
            .map(|spec| pod::container_hash(&spec))
            .unwrap_or_default(),
        log_path: String::new(),
        message_path: None,
        message_from_logs: false,
    })
}

#[cfg(test)]
mod tests;
