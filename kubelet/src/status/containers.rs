//! Statuses of single containers.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Inputs;
use super::terminated::LOST;
use crate::observed;
use crate::plan::restart;
use crate::pod;
use crate::runtime::types;

/// Last words of all containers of a pod together, in bytes.
const MAX_MESSAGES: usize = 12 << 10;

/// Statuses of all given containers, in the order of the spec.
pub fn of(inputs: &Inputs<'_>, list: &[Container], init: bool) -> Vec<ContainerStatus> {
    let limit = MAX_MESSAGES / pod::count_containers(inputs.pod).max(1);
    let status = |container| {
        let mut status = one(inputs, container, init);
        for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
            cut_message(state, limit);
        }
        status
    };
    list.iter().map(status).collect()
}

/// Keeps the beginning of a container's last words.
fn cut_message(state: &mut ContainerState, limit: usize) {
    if let Some(message) = state.terminated.as_mut().and_then(|terminated| terminated.message.as_mut()) {
        message.truncate(message.floor_char_boundary(limit));
    }
}

/// Statuses of ephemeral containers: nobody asks whether those are ready.
pub fn of_ephemeral(inputs: &Inputs<'_>, list: &[Container]) -> Vec<ContainerStatus> {
    let mut statuses = of(inputs, list, false);
    for status in &mut statuses {
        (status.ready, status.started) = (false, None);
    }
    statuses
}

fn one(inputs: &Inputs<'_>, container: &Container, init: bool) -> ContainerStatus {
    let name = &container.name;
    let old = old_status(inputs, name);
    let Some(seen) = inputs.observed.latest(name) else { return unseen(inputs, container, old, init) };
    let waiting = inputs.waiting.get(name).filter(|_| !seen.is_running());
    let sidecar = init && pod::is_sidecar(container);
    let probed = !init || sidecar;
    let started = seen.is_running() && inputs.probes.started.contains(&seen.id) && probed;
    let ready = if probed {
        seen.is_running() && inputs.probes.ready.contains(&seen.id)
    } else {
        seen.is_exited() && seen.exit_code == 0
    };
    let mut status = ContainerStatus {
        name: name.clone(),
        image: Some(seen.image.clone())
            .filter(|image| !image.is_empty())
            .or_else(|| container.image.clone())
            .unwrap_or_default(),
        image_id: seen.image_id.clone(),
        container_id: Some(format!("{}://{}", inputs.runtime, seen.id)),
        restart_count: i32::try_from(seen.restarts).unwrap_or(i32::MAX),
        ready,
        started: Some(started),
        state: Some(state(inputs, seen)),
        volume_mounts: mounts(container),
        user: seen.user.as_ref().map(user),
        ..Default::default()
    };
    let resources = container.resources.clone().unwrap_or_default();
    status.allocated_resources = resources.requests.clone().filter(|requests| !requests.is_empty());
    status.resources = Some(resources);
    let previous = inputs.observed.previous(name).filter(|previous| previous.is_exited());
    status.last_state = previous
        .map(|previous| state(inputs, previous))
        .or_else(|| old.and_then(|old| old.last_state.clone()).filter(|state| state.terminated.is_some()));
    if let Some(waiting) = waiting
        && (!seen.is_exited() || restart::should_restart(inputs.pod, container, Some(seen)))
    {
        if seen.is_exited() {
            status.last_state = status.state.take();
        }
        status.state = Some(waiting_state(&waiting.reason, Some(&waiting.message)));
    }
    status
}

/// Status of a container that the runtime knows nothing of.
fn unseen(
    inputs: &Inputs<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
    init: bool,
) -> ContainerStatus {
    let old_state = old.and_then(|old| old.state.as_ref());
    if !inputs.ended && (restart::all_have_begun(inputs.pod) || old_state.is_some_and(is_running_again)) {
        return running_again(container, old);
    }
    if let Some(old) = old {
        let terminated = old_state.is_some_and(|state| state.terminated.is_some());
        let restarts = restart::policy(inputs.pod, container) == "Always" && !init;
        // What ended stays ended, even after its remains were cleared away.
        if terminated && (inputs.ended || pod::is_terminal(inputs.pod) || !restarts) {
            return old.clone();
        }
    }
    let default =
        if pod::init_containers(inputs.pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        restart_count: old.map(|old| old.restart_count).unwrap_or_default(),
        last_state: old.and_then(|old| old.last_state.clone()),
        volume_mounts: mounts(container),
        ..Default::default()
    };
    let lost = old_state.is_some_and(|state| state.running.is_some());
    let state = match inputs.waiting.get(&container.name) {
        Some(waiting) => waiting_state(&waiting.reason, Some(&waiting.message)),
        None if inputs.ended && lost => unknown_end(LOST, old.and_then(|old| old.container_id.clone())),
        None => waiting_state(default, None),
    };
    if lost && !inputs.ended {
        let text =
            "The container could not be located when the pod was deleted.  The container used to be Running";
        status.last_state = Some(unknown_end(text, old.and_then(|old| old.container_id.clone())));
    }
    status.state = Some(state);
    status
}

/// Why containers wait that all run again.
const RUN_AGAIN: &str = "RestartingAllContainers";

/// Status of a container that was removed to run again with all others.
fn running_again(container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let old_state = old.and_then(|old| old.state.as_ref());
    let last_state = match old_state {
        Some(state) if state.terminated.is_some() => Some(state.clone()),
        Some(state) if state.running.is_some() => {
            let id = old.and_then(|old| old.container_id.clone());
            Some(end(RUN_AGAIN, "The container was ended to run again with all others", id))
        }
        _ => old.and_then(|old| old.last_state.clone()),
    };
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        restart_count: old.map(|old| old.restart_count).unwrap_or_default(),
        state: Some(waiting_state(RUN_AGAIN, Some("The container was removed to run again with all others"))),
        last_state,
        volume_mounts: mounts(container),
        ..Default::default()
    }
}

/// Whether a container waits for others to end, so that all run again.
fn is_running_again(state: &ContainerState) -> bool {
    state.waiting.as_ref().is_some_and(|waiting| waiting.reason.as_deref() == Some(RUN_AGAIN))
}

/// The end of a container that nobody saw.
pub fn unknown_end(message: &str, container_id: Option<String>) -> ContainerState {
    end("ContainerStatusUnknown", message, container_id)
}

fn end(reason: &str, message: &str, container_id: Option<String>) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            container_id,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn old_status<'a>(inputs: &Inputs<'a>, name: &str) -> Option<&'a ContainerStatus> {
    let status = inputs.pod.status.as_ref()?;
    let lists =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flat_map(|list| list.iter().flatten()).find(|status| status.name == name)
}

fn waiting_state(reason: &str, message: Option<&str>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: message.filter(|message| !message.is_empty()).map(str::to_owned),
        }),
        ..Default::default()
    }
}

fn state(inputs: &Inputs<'_>, seen: &observed::Container) -> ContainerState {
    match seen.state {
        types::ContainerState::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(seen.started)) }),
            ..Default::default()
        },
        types::ContainerState::Created => {
            let init = !pod::init_containers(inputs.pod).is_empty();
            waiting_state(if init { "PodInitializing" } else { "ContainerCreating" }, None)
        }
        types::ContainerState::Exited | types::ContainerState::Unknown => {
            let unknown = seen.state == types::ContainerState::Unknown;
            let reason = match seen.reason.as_str() {
                "" if unknown => "ContainerStatusUnknown",
                "" if seen.exit_code == 0 => "Completed",
                "" => "Error",
                reason => reason,
            };
            ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: seen.exit_code,
                    reason: Some(reason.to_owned()),
                    message: Some(seen.message.clone()).filter(|message| !message.is_empty()),
                    started_at: Some(Time(seen.started)),
                    finished_at: Some(Time(seen.finished)),
                    container_id: Some(format!("{}://{}", inputs.runtime, seen.id)),
                    ..Default::default()
                }),
                ..Default::default()
            }
        }
    }
}

fn user(user: &types::LinuxContainerUser) -> ContainerUser {
    let linux = LinuxContainerUser {
        uid: user.uid,
        gid: user.gid,
        supplemental_groups: Some(user.supplemental_groups.clone()).filter(|groups| !groups.is_empty()),
    };
    ContainerUser { linux: Some(linux) }
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    Some(
        mounts
            .iter()
            .map(|mount| VolumeMountStatus {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: mount.read_only.filter(|read_only| *read_only),
                // A container that should have it and cannot is not made.
                recursive_read_only: (mount.read_only == Some(true)).then(|| {
                    let mode = mount.recursive_read_only.as_deref().filter(|mode| *mode == "Enabled");
                    mode.unwrap_or("Disabled").to_owned()
                }),
                ..Default::default()
            })
            .collect(),
    )
}
