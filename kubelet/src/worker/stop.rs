//! Stopping: single containers, and a whole pod in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Phase, Worker, hook};
use crate::observed::{self, Observed};
use crate::plan::stop::next_to_stop;
use crate::pod;
use crate::runtime::RuntimeError;
use crate::status::VerdictKind;

/// A container gets at least this long after its pre-stop hook.
const MIN_GRACE: Duration = Duration::from_secs(2);
/// How often a pod that stops is looked at, should a notification be lost.
const POLL: Duration = Duration::from_secs(2);

/// One container that is being stopped.
struct Stop {
    id: String,
    name: String,
    grace: Duration,
}

impl Worker {
    /// Stops one container and waits for it; used for restarts.
    pub(super) async fn stop_container(&self, id: &str, name: &str, message: &str, grace: Option<i64>) {
        let seconds =
            grace.unwrap_or_else(|| pod::spec(&self.pod).termination_grace_period_seconds.unwrap_or(30));
        let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        self.events.container_normal(name, "Killing", message);
        let stop = Stop { id: id.to_owned(), name: name.to_owned(), grace };
        self.stop_task(stop, None).await;
    }

    /// Runs the pre-stop hook within the grace period, waits while `later` has the container, which is to stop after
    /// others, then stops it with what is left of the period.
    fn stop_task(
        &self,
        stop: Stop,
        later: Option<watch::Receiver<HashSet<String>>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (context, events, owner) =
            (Arc::clone(&self.context), self.events.clone(), Arc::clone(&self.pod));
        let ip = self
            .context
            .statuses
            .get(pod::uid(&self.pod))
            .and_then(|status| status.pod_ip)
            .unwrap_or_default();
        async move {
            let begun = tokio::time::Instant::now();
            let left = || stop.grace.saturating_sub(begun.elapsed());
            let container = pod::find_container(&owner, &stop.name);
            let pre_stop = container.as_ref().and_then(|c| c.lifecycle.as_ref()?.pre_stop.as_ref());
            if let (false, Some(container), Some(pre_stop)) = (stop.grace.is_zero(), &container, pre_stop) {
                let work = hook::run(&context.runtime, &stop.id, container, pre_stop, &ip);
                match tokio::time::timeout(stop.grace, work).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(
                            pod = pod::full_name(&owner),
                            container = stop.name,
                            error,
                            "pre-stop hook"
                        );
                        events.container_warning(&stop.name, "FailedPreStopHook", "PreStopHook failed");
                    }
                    Err(_) => tracing::info!(
                        pod = pod::full_name(&owner),
                        container = stop.name,
                        "pre-stop hook did not end within the grace period"
                    ),
                }
            }
            if let Some(mut later) = later {
                let turn = later.wait_for(|later| !later.contains(&stop.id));
                // Who has had no turn by then stops all the same.
                let _ = tokio::time::timeout(left(), turn).await;
            }
            let grace = if stop.grace.is_zero() { Duration::ZERO } else { left().max(MIN_GRACE) };
            if let Err(error) = context.runtime.stop_container(&stop.id, grace).await {
                tracing::warn!(pod = pod::full_name(&owner), container = stop.name, %error, "container not stopped");
                let message = format!("error killing container: {error}");
                events.container_warning(&stop.name, "FailedKillPod", message);
            }
        }
    }

    /// Sets the time at which everything must have stopped.
    pub(super) fn set_stop_deadline(&mut self) {
        let seconds = match self.verdict.as_ref().map(|verdict| verdict.kind) {
            Some(VerdictKind::Evicted(seconds)) => seconds,
            _ => pod::grace_seconds(&self.pod),
        };
        self.deadline = Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).ok();
    }

    /// The grace period became shorter: what is being stopped is told again.
    pub(super) fn shorten_termination(&mut self) {
        self.set_stop_deadline();
        self.stop_interrupt.cancel();
        self.stop_interrupt = Default::default();
        self.stopping.clear();
    }

    fn remaining_grace(&self) -> Duration {
        let left = self.deadline.map(|deadline| deadline.duration_since(Timestamp::now()));
        left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default()
    }

    /// One round of a pod that terminates; answers when to look again at the latest.
    pub(super) async fn terminate(&mut self) -> Duration {
        let observed = match self.observe().await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(pod = pod::full_name(&self.pod), %error, "runtime does not answer");
                return POLL;
            }
        };
        let failed: Vec<String> = self.stopped.lock().drain().collect();
        for id in failed {
            self.stopping.remove(&id);
        }
        let probes = self.probes.results(&self.pod, &observed);
        if observed.running().next().is_none() {
            return self.stop_sandboxes(&observed).await;
        }
        self.report(&observed, &probes, false, false);
        let next: HashSet<&str> =
            next_to_stop(&self.pod, &observed).into_iter().map(|one| one.id.as_str()).collect();
        let later = observed.running().filter(|one| !next.contains(one.id.as_str()));
        self.stop_later.send_replace(later.map(|one| one.id.clone()).collect());
        // All pre-stop hooks run at once, as in the original.
        for container in observed.running() {
            if self.stopping.insert(container.id.clone()) {
                self.spawn_stop(container);
            }
        }
        POLL
    }

    fn spawn_stop(&self, container: &observed::Container) {
        let message = format!("Stopping container {}", container.name);
        self.events.container_normal(&container.name, "Killing", message);
        let grace = match pod::grace_seconds(&self.pod) {
            0 => Duration::ZERO,
            _ => self.remaining_grace().max(MIN_GRACE),
        };
        let stop = Stop { id: container.id.clone(), name: container.name.clone(), grace };
        let (id, stopped, wake) = (stop.id.clone(), Arc::clone(&self.stopped), Arc::clone(&self.inbox.wake));
        let task = self.stop_task(stop, Some(self.stop_later.subscribe()));
        let interrupt = self.stop_interrupt.clone();
        tokio::spawn(async move {
            interrupt.run_until_cancelled(task).await;
            // If it still runs it will be told again.
            stopped.lock().insert(id);
            wake.notify_one();
        });
    }

    async fn stop_sandboxes(&mut self, observed: &Observed) -> Duration {
        self.probes.stop();
        for sandbox in observed.sandboxes.iter().filter(|sandbox| sandbox.ready) {
            if let Err(error) = self.context.runtime.stop_pod_sandbox(&sandbox.id).await {
                tracing::warn!(pod = pod::full_name(&self.pod), %error, "sandbox not stopped");
                self.events.warning(
                    "FailedKillPod",
                    format!("error killing pod: failed to \"KillPodSandbox\": {error}"),
                );
                return POLL;
            }
        }
        self.phase = Phase::Ended;
        Duration::ZERO
    }

    /// Stops everything in a sandbox that is given up, and the sandbox.
    pub(super) async fn stop_sandbox(&self, observed: &Observed, id: &str) -> Result<(), RuntimeError> {
        let inside = observed.running().filter(|container| container.sandbox == id);
        let grace = Duration::from_secs(u64::try_from(pod::grace_seconds(&self.pod)).unwrap_or(0));
        let stops = inside.map(|container| {
            self.stop_task(Stop { id: container.id.clone(), name: container.name.clone(), grace }, None)
        });
        futures::future::join_all(stops).await;
        let result = self.context.runtime.stop_pod_sandbox(id).await;
        if let Err(error) = &result {
            tracing::warn!(pod = pod::full_name(&self.pod), %error, "sandbox not stopped");
        }
        result
    }
}
