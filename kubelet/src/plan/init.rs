//! Init containers: one after the other; a sidecar only has to start before the next one may. A new sandbox begins with
//! the first: what they have set up, such as rules of the network, was in the old one.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Inputs, Plan, reason_to_kill, restart, start, stop};
use crate::observed::{self, Observed};
use crate::pod;

/// Plans init containers and sidecars; answers whether app containers may run.
pub fn plan(inputs: &Inputs<'_>, sandbox: &str, plan: &mut Plan) -> bool {
    let pod = inputs.pod;
    let latest = |container: &Container| inputs.observed.latest_in(sandbox, &container.name);
    let passed = passed(pod, |container| latest(container).is_some());
    for (index, container) in pod::init_containers(pod).iter().enumerate() {
        let go_on = if pod::is_sidecar(container) {
            sidecar(inputs, plan, container, latest(container)) || index < passed
        } else {
            index < passed || ordinary(inputs, plan, container, latest(container))
        };
        if !go_on {
            return false;
        }
    }
    true
}

/// How many init containers are known to be through, because something after them exists.
fn passed(pod: &Pod, exists: impl Fn(&Container) -> bool) -> usize {
    let init = pod::init_containers(pod);
    if pod::containers(pod).iter().any(&exists) {
        return init.len();
    }
    init.iter().rposition(exists).unwrap_or(0)
}

/// The first init container that has not succeeded, or `None` if all are through.
pub fn next_to_run<'a>(pod: &'a Pod, observed: &Observed) -> Option<&'a Container> {
    let passed = passed(pod, |container| observed.latest(&container.name).is_some());
    pod::init_containers(pod).iter().skip(passed).filter(|container| !pod::is_sidecar(container)).find(
        |container| {
            observed
                .latest(&container.name)
                .is_none_or(|status| !(status.is_exited() && status.exit_code == 0))
        },
    )
}

/// Keeps a sidecar running; answers whether the next container may start.
fn sidecar(
    inputs: &Inputs<'_>,
    plan: &mut Plan,
    container: &Container,
    status: Option<&observed::Container>,
) -> bool {
    match status {
        Some(status) if status.is_running() => match reason_to_kill(inputs, container, status) {
            Some((message, grace)) => {
                plan.actions.push(stop(status, message, grace));
                false
            }
            None => inputs.probes.started.contains(&status.id),
        },
        _ => {
            if inputs.pod.metadata.deletion_timestamp.is_none() {
                start(inputs, plan, container, status);
            }
            false
        }
    }
}

/// Runs an ordinary init container to its end, also where its image is changed meanwhile; answers whether it is through.
fn ordinary(
    inputs: &Inputs<'_>,
    plan: &mut Plan,
    container: &Container,
    status: Option<&observed::Container>,
) -> bool {
    match status {
        Some(status) if status.is_running() => false,
        Some(status) if status.is_exited() && status.exit_code == 0 => true,
        _ if restart::should_restart(inputs.pod, container, status) => {
            start(inputs, plan, container, status);
            false
        }
        _ => {
            // A failed init container that is not tried again fails the pod.
            plan.ended = true;
            false
        }
    }
}
