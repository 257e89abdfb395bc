//! Init containers: one after the other; a sidecar only has to start before the next one may.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Inputs, Plan, reason_to_kill, restart, start, stop};
use crate::observed::Observed;
use crate::pod;

/// Plans init containers and sidecars; answers whether app containers may run.
pub fn plan(inputs: &Inputs<'_>, plan: &mut Plan) -> bool {
    let (pod, observed) = (inputs.pod, inputs.observed);
    let passed = passed(pod, observed);
    for (index, container) in pod::init_containers(pod).iter().enumerate() {
        let go_on = if pod::is_sidecar(container) {
            sidecar(inputs, plan, container) || index < passed
        } else {
            index < passed || ordinary(inputs, plan, container)
        };
        if !go_on {
            return false;
        }
    }
    true
}

/// How many init containers are known to be through, because something after them exists.
fn passed(pod: &Pod, observed: &Observed) -> usize {
    let init = pod::init_containers(pod);
    if pod::containers(pod).iter().any(|container| observed.latest(&container.name).is_some()) {
        return init.len();
    }
    init.iter().rposition(|container| observed.latest(&container.name).is_some()).unwrap_or(0)
}

/// The first init container that has not succeeded, or `None` if all are through.
pub fn next_to_run<'a>(pod: &'a Pod, observed: &Observed) -> Option<&'a Container> {
    let passed = passed(pod, observed);
    pod::init_containers(pod).iter().skip(passed).filter(|container| !pod::is_sidecar(container)).find(
        |container| {
            observed
                .latest(&container.name)
                .is_none_or(|status| !(status.is_exited() && status.exit_code == 0))
        },
    )
}

/// Keeps a sidecar running; answers whether the next container may start.
fn sidecar(inputs: &Inputs<'_>, plan: &mut Plan, container: &Container) -> bool {
    let status = inputs.observed.latest(&container.name);
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

/// Runs an ordinary init container to its end; answers whether it is through.
fn ordinary(inputs: &Inputs<'_>, plan: &mut Plan, container: &Container) -> bool {
    let status = inputs.observed.latest(&container.name);
    match status {
        Some(status) if status.is_running() => {
            if status.hash != pod::container_hash(container)
                && let Some((message, grace)) = reason_to_kill(inputs, container, status)
            {
                plan.actions.push(stop(status, message, grace));
            }
            false
        }
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
