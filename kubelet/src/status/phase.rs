//! The phase of a pod, from the statuses of its containers.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::plan::restart;
use crate::pod;

/// `Pending`, `Running`, `Succeeded` or `Failed`. `ended` says that nothing runs or will run again.
pub fn of(pod: &Pod, init: &[ContainerStatus], app: &[ContainerStatus], ended: bool) -> &'static str {
    let mut initializing = false;
    for (container, status) in pod::init_containers(pod).iter().zip(init) {
        let exit = exit_code(status);
        if pod::is_sidecar(container) {
            initializing |= status.started != Some(true) && exit.is_none();
        } else if exit.is_some_and(|code| code != 0) {
            let container_again = exit.is_some_and(|code| restart::after_exit(pod, container, code));
            if !container_again {
                return "Failed";
            }
            initializing = true;
        } else {
            initializing |= exit.is_none();
        }
    }
    let (mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0);
    let mut comes_back = false;
    for (container, status) in pod::containers(pod).iter().zip(app) {
        let state = status.state.as_ref();
        if state.is_some_and(|state| state.running.is_some()) {
            running += 1;
        } else if let Some(code) = exit_code(status) {
            stopped += 1;
            succeeded += i32::from(code == 0);
            comes_back |= restart::after_exit(pod, container, code);
        } else {
            waiting += 1;
        }
    }
    let begun = running + stopped > 0;
    if ended {
        // A pod that was ended before all of its containers ran has not done its work.
        return if waiting == 0 && stopped > 0 && stopped == succeeded { "Succeeded" } else { "Failed" };
    }
    if (initializing && !begun) || waiting > 0 {
        "Pending"
    } else if running > 0 || comes_back {
        "Running"
    } else if stopped > 0 {
        // All have ended for good; sidecars may still be stopping.
        "Running"
    } else {
        "Pending"
    }
}

/// Exit code of a container that ended, also of one that waits to be started again.
fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    if let Some(terminated) = &state.terminated {
        return Some(terminated.exit_code);
    }
    state.waiting.as_ref()?;
    Some(status.last_state.as_ref()?.terminated.as_ref()?.exit_code)
}
