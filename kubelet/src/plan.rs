//! What to do next for a pod that should run: a pure function of spec and observation.
//!
//! It decides like the original's `computePodActions`: a working sandbox first, then init containers in
//! order (sidecars among them stay), then all app containers; containers that died are started again as
//! their restart policy says, after a back-off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::backoff::Backoff;
use crate::observed::{self, Observed};
use crate::pod;
use crate::runtime::types::ContainerState;

mod init;
pub mod restart;
pub mod stop;

/// One step for the executor.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Stop everything that is left in a sandbox that is not to be used again.
    StopSandbox {
        /// The sandbox.
        id: String,
    },
    /// Make a sandbox; later actions use it.
    CreateSandbox {
        /// How many were made before.
        attempt: u32,
    },
    /// Stop a container, pre-stop hook first.
    StopContainer {
        /// The runtime's id.
        id: String,
        /// Name within the pod.
        name: String,
        /// Text of the `Killing` event.
        message: String,
        /// Grace period of the probe that asks for it, in seconds.
        grace: Option<i64>,
    },
    /// Remove a container that was made but never ran, or that is to run as if it never had.
    RemoveContainer {
        /// The runtime's id.
        id: String,
    },
    /// Pull if needed, make and start a container.
    StartContainer {
        /// Which one.
        name: String,
    },
}

/// What the probes have found out, by container id.
#[derive(Debug, Clone, Default)]
pub struct ProbeResults {
    /// Containers whose liveness probe has failed for good.
    pub liveness_failed: BTreeSet<String>,
    /// Containers whose startup probe has failed for good.
    pub startup_failed: BTreeSet<String>,
    /// Containers that have started: they run and their startup probe, if any, has succeeded.
    pub started: BTreeSet<String>,
    /// Containers that are ready.
    pub ready: BTreeSet<String>,
}

/// What a plan is made from.
pub struct Inputs<'a> {
    /// The pod as it should be.
    pub pod: &'a Pod,
    /// The pod as it is.
    pub observed: &'a Observed,
    /// Findings of its probes.
    pub probes: &'a ProbeResults,
    /// Delays of its containers, keyed by container name.
    pub backoff: &'a Backoff,
    /// The present.
    pub now: Timestamp,
}

/// Why a container waits, in the words of `state.waiting`.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// CamelCase reason.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Steps in order.
    pub actions: Vec<Action>,
    /// Containers that have to wait before they are started again.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to plan again at the latest.
    pub retry_after: Option<Duration>,
    /// Nothing runs and nothing will: the pod has come to its end.
    pub ended: bool,
}

impl Plan {
    fn retry_in(&mut self, delay: Duration) {
        self.retry_after = Some(self.retry_after.map_or(delay, |old| old.min(delay)));
    }
}

/// Decides the next steps.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(sandbox) = usable_sandbox(inputs) else {
        plan_without_sandbox(inputs, &mut plan);
        return plan;
    };
    // A second working sandbox can only be a leftover of an interrupted attempt.
    for other in inputs.observed.sandboxes.iter().filter(|other| other.ready && other.id != sandbox.id) {
        plan.actions.push(Action::StopSandbox { id: other.id.clone() });
    }
    for container in pod::ephemeral_containers(inputs.pod) {
        if inputs.observed.latest(&container.name).is_none() {
            plan.actions.push(Action::StartContainer { name: container.name.clone() });
        }
    }
    if restart::restarts_all(inputs.pod, inputs.observed) {
        restart::plan_all(inputs, &mut plan);
        return plan;
    }
    let initialized = init::plan(inputs, &sandbox.id, &mut plan);
    if initialized && !plan.ended {
        plan_app_containers(inputs, &mut plan);
    }
    plan
}

/// The newest sandbox, if containers can run in it.
fn usable_sandbox<'a>(inputs: &Inputs<'a>) -> Option<&'a observed::Sandbox> {
    let sandbox = inputs.observed.ready_sandbox()?;
    let same_network = sandbox.host_network == pod::host_network(inputs.pod);
    let has_address = sandbox.host_network || !sandbox.ips.is_empty();
    (same_network && has_address).then_some(sandbox)
}

/// Decides whether a new sandbox is worth making: only if some container would run in it.
fn plan_without_sandbox(inputs: &Inputs<'_>, plan: &mut Plan) {
    let (pod, observed) = (inputs.pod, inputs.observed);
    let attempt = observed.sandboxes.first().map_or(0, |sandbox| sandbox.attempt + 1);
    let never = pod::restart_policy(pod) == "Never";
    let tried = attempt != 0 && !observed.containers.is_empty();
    let wanted = if never && tried && !restart::any_own_policy(pod) {
        false
    } else {
        let left = pod::containers(pod).iter().any(|container| match observed.latest(&container.name) {
            Some(status) if status.is_exited() && status.exit_code == 0 => {
                restart::policy(pod, container) == "Always"
            }
            _ => true,
        });
        left || init::next_to_run(pod, observed).is_some()
    };
    if !wanted {
        plan.ended = true;
        return;
    }
    for sandbox in &observed.sandboxes {
        let busy = observed.running().any(|container| container.sandbox == sandbox.id);
        if sandbox.ready || busy {
            plan.actions.push(Action::StopSandbox { id: sandbox.id.clone() });
        }
    }
    plan.actions.push(Action::CreateSandbox { attempt });
}

fn plan_app_containers(inputs: &Inputs<'_>, plan: &mut Plan) {
    let mut alive = 0;
    let before = plan.actions.len();
    let mut waiting = false;
    for container in pod::containers(inputs.pod) {
        let status = inputs.observed.latest(&container.name);
        match status {
            Some(status) if status.is_running() => match reason_to_kill(inputs, container, status) {
                None => alive += 1,
                Some((message, grace)) => {
                    plan.actions.push(stop(status, message, grace));
                    if status.hash != pod::container_hash(container) {
                        // Whatever the restart policy says: the new definition has not run yet.
                        plan.actions.push(Action::StartContainer { name: container.name.clone() });
                    }
                    alive += 1;
                }
            },
            _ if restart::should_restart(inputs.pod, container, status) => {
                waiting |= !start(inputs, plan, container, status);
            }
            _ => {}
        }
    }
    if alive == 0 && plan.actions.len() == before && !waiting {
        plan.ended = true;
        // Sidecars must not keep an ended pod alive.
        plan.actions.retain(|action| !matches!(action, Action::StartContainer { .. }));
    }
}

/// Why a running container must go, with the grace period of the probe that says so.
fn reason_to_kill(
    inputs: &Inputs<'_>,
    container: &Container,
    status: &observed::Container,
) -> Option<(String, Option<i64>)> {
    let name = &container.name;
    if status.hash != pod::container_hash(container) {
        let text = format!("Container {name} definition changed, will be restarted");
        return Some((text, None));
    }
    let again = if restart::after_kill(inputs.pod, container, status) { ", will be restarted" } else { "" };
    if inputs.probes.liveness_failed.contains(&status.id) {
        let grace = pod::probe_grace(container.liveness_probe.as_ref());
        return Some((format!("Container {name} failed liveness probe{again}"), grace));
    }
    if inputs.probes.startup_failed.contains(&status.id) {
        let grace = pod::probe_grace(container.startup_probe.as_ref());
        return Some((format!("Container {name} failed startup probe{again}"), grace));
    }
    None
}

fn stop(status: &observed::Container, message: String, grace: Option<i64>) -> Action {
    Action::StopContainer { id: status.id.clone(), name: status.name.clone(), message, grace }
}

/// Plans a start unless the container still has to wait; answers whether it was planned.
fn start(
    inputs: &Inputs<'_>,
    plan: &mut Plan,
    container: &Container,
    status: Option<&observed::Container>,
) -> bool {
    let name = &container.name;
    if let Some(status) = status {
        match status.state {
            ContainerState::Created => plan.actions.push(Action::RemoveContainer { id: status.id.clone() }),
            ContainerState::Unknown => plan.actions.push(stop(
                status,
                format!("Container {name} is in unknown state, try killing it before restart"),
                None,
            )),
            ContainerState::Exited => {
                if !may_start(inputs, plan, container, status) {
                    return false;
                }
            }
            ContainerState::Running => {}
        }
    }
    plan.actions.push(Action::StartContainer { name: name.clone() });
    true
}

/// Whether a container that has ended may run again by now; it waits otherwise.
fn may_start(
    inputs: &Inputs<'_>,
    plan: &mut Plan,
    container: &Container,
    status: &observed::Container,
) -> bool {
    let name = &container.name;
    let waits = inputs.backoff.remaining(&pod::crash_key(container), status.finished, inputs.now);
    let Some((left, whole)) = waits else { return true };
    let message = format!(
        "back-off {} restarting failed container={name} pod={}",
        duration_text(whole),
        pod::display(inputs.pod)
    );
    plan.waiting.insert(name.clone(), Waiting { reason: "CrashLoopBackOff".to_owned(), message });
    plan.retry_in(left);
    false
}

/// A duration as Go prints it, in whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests;
