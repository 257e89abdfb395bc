//! Probes: whether containers have started, live and are ready.
//!
//! One task per probe of a running container; it asks, feeds the answers to a [`machine::Machine`] and
//! tells the pod's worker when the verdict changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::events::PodEvents;
use crate::metrics::{self, Name};
use crate::observed::{self, Observed};
use crate::plan::ProbeResults;
use crate::pod;
use crate::runtime::SharedRuntime;

pub mod action;
pub mod http;
pub mod machine;

use action::{Outcome, Target};
use machine::{Kind, Machine, Verdict};

/// How often a question is put that cannot be.
const ATTEMPTS: usize = 3;

/// The probes of one pod.
pub struct Probes {
    runtime: SharedRuntime,
    wake: Arc<Notify>,
    running: HashMap<Key, Running>,
    verdicts: Arc<Mutex<HashMap<Key, Verdict>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    id: String,
    kind: Kind,
}

struct Running {
    _stop: DropGuard,
}

impl Probes {
    /// No probes yet; `wake` is notified when a verdict changes.
    pub fn new(runtime: SharedRuntime, wake: Arc<Notify>) -> Self {
        Self { runtime, wake, running: HashMap::new(), verdicts: Arc::default() }
    }

    /// Takes over what the API knows of containers that run already: a kubelet that was restarted must not
    /// take pods out of service until their probes have answered again.
    pub fn adopt(&mut self, pod: &Pod, observed: &Observed) {
        let Some(status) = &pod.status else { return };
        let known = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for known in known {
            let id = known.container_id.as_deref().and_then(|id| id.split_once("://")).map(|(_, id)| id);
            let Some(running) = observed.running().find(|container| Some(container.id.as_str()) == id) else {
                continue;
            };
            let mut verdicts = self.verdicts.lock();
            let mut note = |kind| verdicts.insert(Key { id: running.id.clone(), kind }, Verdict::Success);
            if known.started == Some(true) {
                note(Kind::Startup);
            }
            if known.ready {
                note(Kind::Readiness);
            }
        }
    }

    /// Starts and stops probes so that they fit the running containers.
    pub fn reconcile(&mut self, pod: &Arc<Pod>, observed: &Observed, ip: &str, events: &PodEvents) {
        let mut wanted = HashMap::new();
        for status in observed.running() {
            let Some(container) = pod::find_container(pod, &status.name) else { continue };
            for (kind, probe) in of_container(pod, &container) {
                let key = Key { id: status.id.clone(), kind };
                wanted.insert(key, (container.clone(), probe, status.clone()));
            }
        }
        self.running.retain(|key, _| wanted.contains_key(key));
        self.verdicts.lock().retain(|key, _| wanted.contains_key(key));
        for (key, (container, probe, status)) in wanted {
            let startup = Key { id: key.id.clone(), kind: Kind::Startup };
            let gated = key.kind != Kind::Startup
                && container.startup_probe.is_some()
                && self.verdicts.lock().get(&startup) != Some(&Verdict::Success);
            if gated || self.running.contains_key(&key) {
                continue;
            }
            if key.kind == Kind::Startup && self.verdicts.lock().get(&key) == Some(&Verdict::Success) {
                continue;
            }
            let running = self.spawn(pod, &key, &container, &probe, &status, ip, events);
            self.running.insert(key, running);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "all of it goes into one task")]
    fn spawn(
        &self,
        pod: &Arc<Pod>,
        key: &Key,
        container: &Container,
        probe: &Probe,
        status: &observed::Container,
        ip: &str,
        events: &PodEvents,
    ) -> Running {
        let stop = CancellationToken::new();
        let task = Task {
            target: Target {
                runtime: Arc::clone(&self.runtime),
                container_id: status.id.clone(),
                container: container.clone(),
                ip: ip.to_owned(),
            },
            probe: probe.clone(),
            started: status.started,
            known: self.verdicts.lock().get(key).copied(),
            key: key.clone(),
            verdicts: Arc::clone(&self.verdicts),
            wake: Arc::clone(&self.wake),
            events: events.clone(),
            pod: pod::display(pod),
            owner: Arc::clone(pod),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(task.run()));
        Running { _stop: stop.drop_guard() }
    }

    /// Ends all probes.
    pub fn stop(&mut self) {
        self.running.clear();
    }

    /// Ends liveness and startup probes: a terminating pod is only asked whether it is still ready.
    pub fn stop_all_but_readiness(&mut self) {
        self.running.retain(|key, _| key.kind == Kind::Readiness);
    }

    /// What is known of the running containers.
    pub fn results(&self, pod: &Pod, observed: &Observed) -> ProbeResults {
        let verdicts = self.verdicts.lock();
        let verdict = |id: &str, kind| verdicts.get(&Key { id: id.to_owned(), kind }).copied();
        let mut results = ProbeResults::default();
        for status in observed.running() {
            let Some(container) = pod::find_container(pod, &status.name) else { continue };
            let id = &status.id;
            if verdict(id, Kind::Liveness) == Some(Verdict::Failure) {
                results.liveness_failed.insert(id.clone());
            }
            let started = match (&container.startup_probe, verdict(id, Kind::Startup)) {
                (None, _) | (Some(_), Some(Verdict::Success)) => true,
                (Some(_), Some(Verdict::Failure)) => {
                    results.startup_failed.insert(id.clone());
                    false
                }
                (Some(_), None) => false,
            };
            if started {
                results.started.insert(id.clone());
                let answered = verdict(id, Kind::Readiness) == Some(Verdict::Success);
                if container.readiness_probe.is_none() || answered {
                    results.ready.insert(id.clone());
                }
            }
        }
        results
    }
}

/// The probes that a container has. Ordinary init containers have none.
fn of_container(pod: &Pod, container: &Container) -> Vec<(Kind, Probe)> {
    let init = pod::init_containers(pod).iter().any(|init| init.name == container.name);
    if init && !pod::is_sidecar(container) {
        return Vec::new();
    }
    let list = [
        (Kind::Startup, &container.startup_probe),
        (Kind::Liveness, &container.liveness_probe),
        (Kind::Readiness, &container.readiness_probe),
    ];
    list.into_iter().filter_map(|(kind, probe)| Some((kind, probe.clone()?))).collect()
}

struct Task {
    target: Target,
    probe: Probe,
    started: Timestamp,
    known: Option<Verdict>,
    key: Key,
    verdicts: Arc<Mutex<HashMap<Key, Verdict>>>,
    wake: Arc<Notify>,
    events: PodEvents,
    pod: String,
    owner: Arc<Pod>,
}

impl Task {
    async fn run(self) {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        let period = seconds(self.probe.period_seconds.filter(|value| *value > 0), 10);
        let timeout = seconds(self.probe.timeout_seconds.filter(|value| *value > 0), 1);
        let delay = seconds(self.probe.initial_delay_seconds, 0);
        let age = Duration::try_from(Timestamp::now().duration_since(self.started)).unwrap_or_default();
        tokio::time::sleep(delay.saturating_sub(age)).await;
        let mut machine = Machine::new(self.key.kind, &self.probe, self.known);
        let mut ticks = tokio::time::interval(period);
        // A late answer does not move the next question, and none is made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let begun = std::time::Instant::now();
            let outcome = self.ask(timeout).await;
            self.count(&outcome, begun.elapsed());
            self.note(&outcome);
            if let Some(verdict) = outcome.is_success().and_then(|success| machine.observe(success)) {
                self.verdicts.lock().insert(self.key.clone(), verdict);
                self.wake.notify_one();
                let done = match self.key.kind {
                    Kind::Startup => true,
                    // The container is killed; its successor gets a probe of its own.
                    Kind::Liveness => verdict == Verdict::Failure,
                    Kind::Readiness => false,
                };
                if done {
                    return;
                }
            }
        }
    }

    /// One answer; a question that could not be put is put again at once.
    async fn ask(&self, timeout: Duration) -> Outcome {
        let mut outcome = action::run(&self.target, &self.probe, timeout).await;
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Outcome::Error(_)) {
                break;
            }
            outcome = action::run(&self.target, &self.probe, timeout).await;
        }
        outcome
    }

    fn count(&self, outcome: &Outcome, time: Duration) {
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => "successful",
            Outcome::Failure(_) => "failed",
            Outcome::Error(_) => "unknown",
        };
        let (kind, container) = (self.key.kind.as_str(), self.target.container.name.as_str());
        let (namespace, name, uid) =
            (pod::namespace(&self.owner), pod::name(&self.owner), pod::uid(&self.owner));
        let labels = [
            ("container", container),
            ("namespace", namespace),
            ("pod", name),
            ("pod_uid", uid),
            ("probe_type", kind),
            ("result", result),
        ];
        metrics::count(Name::Probes, &labels);
        metrics::observe(Name::ProbeSeconds, &labels[..5], time);
    }

    fn note(&self, outcome: &Outcome) {
        let kind = self.key.kind.as_str();
        match outcome {
            Outcome::Success => {}
            Outcome::Warning(text) => {
                let message = format!("{kind} probe warning: {text}");
                self.events.container_warning(&self.target.container.name, "ProbeWarning", message);
            }
            Outcome::Failure(text) => {
                let message = format!("{kind} probe failed: {text}");
                tracing::debug!(pod = self.pod, container = self.target.container.name, message, "probe");
                self.events.container_warning(&self.target.container.name, "Unhealthy", message);
            }
            Outcome::Error(text) => {
                let message = format!("{kind} probe errored and resulted in unknown state: {text}");
                self.events.container_warning(&self.target.container.name, "Unhealthy", message);
            }
        }
    }
}
