//! One round of a pod that should run: look, plan, act, report.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Phase, RESYNC, Worker};
use crate::observed::Observed;
use crate::plan::{self, Action, Plan, ProbeResults};
use crate::pod;
use crate::status::{Verdict, VerdictKind};
use crate::volumes;

/// Rounds in a row without a pause; a pod that needs more has to wait a moment between them.
const MAX_ROUNDS: usize = 20;
/// Pause after the runtime failed to answer.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);
/// Pause before a failed container is tried again when nothing else says when.
const START_RETRY: Duration = Duration::from_secs(10);

impl Worker {
    /// Brings the pod closer to what it should be; answers when to look again at the latest.
    pub(super) async fn sync(&mut self) -> Duration {
        if let Some(wait) = self.check_deadline() {
            return wait;
        }
        if !self.granted && !self.ask_for_grants().await {
            return Duration::ZERO;
        }
        let mut retry = RESYNC;
        for _ in 0..MAX_ROUNDS {
            let observed = match self.observe().await {
                Ok(observed) => observed,
                Err(error) => {
                    tracing::warn!(pod = pod::full_name(&self.pod), %error, "runtime does not answer");
                    return RUNTIME_RETRY;
                }
            };
            if !std::mem::replace(&mut self.adopted, true) {
                self.probes.adopt(&self.pod, &observed);
            }
            self.probes.reconcile(&self.pod, &observed, &self.pod_ip(&observed), &self.events);
            if self.resize(&observed).await {
                continue;
            }
            let probes = self.probes.results(&self.pod, &observed);
            let newest = self.pod_with_newest_status();
            let plan = plan::plan(&plan::Inputs {
                pod: &newest,
                observed: &observed,
                probes: &probes,
                backoff: &self.crashes,
                now: Timestamp::now(),
            });
            self.note_waiting(&plan, &observed);
            if plan.ended {
                let running = observed.running().next().is_some();
                self.report(&observed, &probes, !running, false);
                self.begin_termination();
                return Duration::ZERO;
            }
            self.report(&observed, &probes, false, false);
            retry = plan.retry_after.map_or(RESYNC, |after| after.min(RESYNC));
            if !self.prepare(&observed, &plan).await {
                let exponent = self.volumes_failed.min(8);
                return Duration::from_millis(500 << exponent).min(Duration::from_secs(122));
            }
            match self.act(&plan, &observed, &probes).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(after) => {
                    self.report_again(&probes).await;
                    return after;
                }
            }
        }
        retry.min(self.until_deadline())
    }

    async fn report_again(&mut self, probes: &ProbeResults) {
        if let Ok(observed) = self.observe().await {
            self.report(&observed, probes, false, false);
        }
    }

    /// Gets what the pod needs of the node's own, before anything of it is made. A pod that has begun has got it before.
    async fn ask_for_grants(&mut self) -> bool {
        let begun = self.pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if !begun && let Err(refusal) = self.context.grants.admit(&self.pod).await {
            tracing::info!(pod = pod::full_name(&self.pod), refusal.reason, refusal.message, "pod refused");
            self.events.warning(&refusal.reason, refusal.message.as_str());
            self.verdict = Some(Verdict::refusal(&refusal));
            self.begin_termination();
            return false;
        }
        self.granted = true;
        true
    }

    /// Ends a pod that has run longer than it may.
    fn check_deadline(&mut self) -> Option<Duration> {
        if !self.until_deadline().is_zero() {
            return None;
        }
        self.events
            .normal("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
        self.verdict = Some(Verdict {
            reason: "DeadlineExceeded".to_owned(),
            message: "Pod was active on the node longer than the specified deadline".to_owned(),
            kind: VerdictKind::Ended,
        });
        self.begin_termination();
        Some(Duration::ZERO)
    }

    fn until_deadline(&self) -> Duration {
        let Some(seconds) = pod::spec(&self.pod).active_deadline_seconds else { return Duration::MAX };
        let status = self.context.statuses.get(pod::uid(&self.pod)).or_else(|| self.pod.status.clone());
        let Some(start) = status.and_then(|status| status.start_time) else { return Duration::MAX };
        let passed = Timestamp::now().duration_since(start.0).as_secs();
        Duration::from_secs(u64::try_from(seconds - passed).unwrap_or(0))
    }

    /// Takes over why containers wait; a container that runs waits no more.
    fn note_waiting(&mut self, plan: &Plan, observed: &Observed) {
        for container in observed.running() {
            self.waiting.remove(&container.name);
        }
        for (name, waiting) in &plan.waiting {
            if self.waiting.get(name).map(|old| old.reason.as_str()) != Some(waiting.reason.as_str()) {
                let message =
                    format!("Back-off restarting failed container {name} in pod {}", pod::display(&self.pod));
                self.events.container_warning(name, "BackOff", message);
            }
            self.waiting.insert(name.clone(), waiting.clone());
        }
    }

    /// Makes directories, cgroup and volumes before they are needed, and refreshes volumes now and then.
    async fn prepare(&mut self, observed: &Observed, plan: &Plan) -> bool {
        let due = self.volumes.is_none() || self.refreshed.is_none_or(|last| last.elapsed() >= RESYNC);
        let needed = plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::CreateSandbox { .. } | Action::StartContainer { .. }));
        // Nothing is made for a pod that has just been adopted and needs nothing.
        if !due || (!needed && self.volumes.is_none() && observed.running().next().is_none()) {
            return true;
        }
        if let Err(error) = self.context.cgroups.create_pod(&self.pod) {
            tracing::warn!(pod = pod::full_name(&self.pod), %error, "cgroup not made");
        }
        let ips = observed.ready_sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let around = self.context.surroundings(&self.pod, &ips);
        let directory = self.context.pod_dir(pod::uid(&self.pod));
        if let Err(error) = tokio::fs::create_dir_all(directory.join("containers")).await {
            tracing::error!(path = %directory.display(), %error, "pod directory not made");
            return false;
        }
        let (csi, lookup) = (&self.context.csi, self.context.lookup.as_ref());
        let exclusive = &self.context.exclusive;
        match volumes::set_up(&directory, &self.pod, csi, lookup, exclusive, &around).await {
            Ok(paths) => {
                self.volumes = Some(paths);
                self.refreshed = Some(Instant::now());
                if needed && !self.prepare_claims().await {
                    return false;
                }
                self.volumes_failed = 0;
                true
            }
            Err(error) => {
                self.volumes_failed += 1;
                self.events.warning("FailedMount", error.to_string());
                self.refreshed = Some(Instant::now());
                // A running pod keeps what it has.
                self.volumes.is_some()
            }
        }
    }

    /// Lets drivers prepare the devices that the pod claims.
    async fn prepare_claims(&mut self) -> bool {
        if self.has_claims {
            return true;
        }
        match self.context.grants.dra.prepare(&self.pod, self.context.lookup.as_ref()).await {
            Ok(()) => self.has_claims = true,
            Err(error) => {
                self.volumes_failed += 1;
                // Volumes are looked at again before the next attempt.
                self.refreshed = None;
                let message = format!("Failed to prepare dynamic resources: {error}");
                self.events.warning("FailedPrepareDynamicResources", message);
            }
        }
        self.has_claims
    }

    /// Carries the plan out. Answers whether to look again at once; the error is a pause before that.
    async fn act(
        &mut self,
        plan: &Plan,
        observed: &Observed,
        probes: &ProbeResults,
    ) -> Result<bool, Duration> {
        let mut sandbox = observed.ready_sandbox().cloned();
        let mut failed = None;
        for action in &plan.actions {
            match action {
                Action::StopSandbox { id } => {
                    self.stop_sandbox(observed, id).await.map_err(|_| RUNTIME_RETRY)?;
                }
                Action::CreateSandbox { attempt } => {
                    self.create_sandbox(*attempt).await?;
                    self.clean_sandboxes(observed).await;
                    // Containers are planned anew, now that the sandbox has an address.
                    return Ok(true);
                }
                Action::StopContainer { id, name, message, grace } => {
                    self.stop_container(id, name, message, *grace).await;
                }
                Action::RemoveContainer { id } => {
                    self.remove_container(id, observed).await?;
                }
                Action::StartContainer { name } => {
                    let Some(sandbox) = &mut sandbox else { continue };
                    if let Err(after) = self.start_container(name, sandbox, observed).await {
                        failed = Some(failed.map_or(after, |old: Duration| old.min(after)));
                    }
                    self.report_again(probes).await;
                }
            }
        }
        self.is_beginning = false;
        match failed {
            Some(after) => Err(after.unwrap_or_start_retry()),
            None => Ok(!plan.actions.is_empty()),
        }
    }

    /// Removes a container, which is to run anew.
    async fn remove_container(&mut self, id: &str, observed: &Observed) -> Result<(), Duration> {
        if let Err(error) = self.context.runtime.remove_container(id).await {
            tracing::warn!(id, %error, "container not removed");
            return Err(RUNTIME_RETRY);
        }
        let Some(one) = observed.containers.iter().find(|one| one.id == id) else { return Ok(()) };
        if one.is_exited()
            && let Some(container) = pod::find_container(&self.pod, &one.name)
        {
            self.crashes.advance(&pod::crash_key(&container), one.finished, Timestamp::now());
        }
        // By the newest log it is known how often the container ran.
        if observed.latest(&one.name).is_some_and(|latest| latest.id != one.id) {
            let _ = tokio::fs::remove_file(&one.log_path).await;
        }
        Ok(())
    }

    /// Turns to stopping what runs.
    pub(super) fn begin_termination(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Terminating;
            self.probes.stop_all_but_readiness();
            self.set_stop_deadline();
        }
    }
}

/// Zero means that a failure did not say when to try again.
trait OrStartRetry {
    fn unwrap_or_start_retry(self) -> Duration;
}

impl OrStartRetry for Duration {
    fn unwrap_or_start_retry(self) -> Duration {
        if self.is_zero() { START_RETRY } else { self }
    }
}
