//! Whether a container that ended is started again: restart policies of pod and container, and the
//! container's rules by exit code.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, Pod};

use super::{Action, Inputs, Plan};
use crate::observed::{self, Observed};
use crate::pod;
use crate::runtime::types::ContainerState;

/// The policy that counts for a container: its own, else the pod's.
pub fn policy<'a>(pod: &'a Pod, container: &'a Container) -> &'a str {
    container.restart_policy.as_deref().unwrap_or(pod::restart_policy(pod))
}

/// Whether some container has a policy or rules of its own.
pub fn any_own_policy(pod: &Pod) -> bool {
    pod::init_containers(pod)
        .iter()
        .chain(pod::containers(pod))
        .any(|c| c.restart_policy.is_some() || c.restart_policy_rules.as_ref().is_some_and(|r| !r.is_empty()))
}

/// Whether a container is to be (re)started, seen its newest status.
pub fn should_restart(pod: &Pod, container: &Container, status: Option<&observed::Container>) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Some(status) = status else { return true };
    match status.state {
        ContainerState::Running => false,
        ContainerState::Created | ContainerState::Unknown => true,
        ContainerState::Exited => after_exit(pod, container, status.exit_code),
    }
}

/// Whether a container that exited with this code is started again.
pub fn after_exit(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    if rule(container, exit_code).is_some_and(|action| ["Restart", ALL].contains(&action)) {
        return true;
    }
    match policy(pod, container) {
        "Always" => true,
        "OnFailure" => exit_code != 0,
        _ => false,
    }
}

/// Whether a container that is killed because of a probe or a changed spec comes back.
pub fn after_kill(pod: &Pod, container: &Container, status: &observed::Container) -> bool {
    status.hash != pod::container_hash(container) || policy(pod, container) != "Never"
}

/// What the first of a container's rules that fits an exit code says is to be done.
fn rule(container: &Container, exit_code: i32) -> Option<&str> {
    let fits = |rule: &&ContainerRestartRule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|value| *value == exit_code);
            if codes.operator == "NotIn" { !listed } else { listed }
        })
    };
    container.restart_policy_rules.iter().flatten().find(fits).map(|rule| rule.action.as_str())
}

/// The action that runs a whole pod again.
const ALL: &str = "RestartAllContainers";
/// The condition of a pod whose containers all end, to run again.
pub const ALL_RESTARTING: &str = "AllContainersRestarting";

/// Containers that can run again: not those that were added for debugging.
fn lasting(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod::init_containers(pod).iter().chain(pod::containers(pod))
}

/// Whether some rule may run the whole pod again.
pub fn may_restart_all(pod: &Pod) -> bool {
    lasting(pod)
        .any(|container| container.restart_policy_rules.iter().flatten().any(|rule| rule.action == ALL))
}

/// The containers whose end makes all of the pod's containers run again.
pub fn sources<'a>(pod: &'a Pod, observed: &'a Observed) -> Vec<(&'a Container, &'a observed::Container)> {
    let latest = lasting(pod).filter_map(|container| Some((container, observed.latest(&container.name)?)));
    latest
        .filter(|(container, last)| last.is_exited() && rule(container, last.exit_code) == Some(ALL))
        .collect()
}

/// Whether the pod's status says that its containers end, to run again.
pub fn all_have_begun(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == ALL_RESTARTING && one.status == "True")
}

/// Whether all containers of a pod are to end, to run again; the pod with its newest status.
pub fn restarts_all(pod: &Pod, observed: &Observed) -> bool {
    may_restart_all(pod)
        && pod.metadata.deletion_timestamp.is_none()
        && observed.containers.iter().any(|one| lasting(pod).any(|container| container.name == one.name))
        && (all_have_begun(pod) || !sources(pod, observed).is_empty())
}

/// Plans the end of all containers, without hooks and grace, those last that it was for: as long as they are there it
/// is known what goes on.
pub fn plan_all(inputs: &Inputs<'_>, plan: &mut Plan) {
    let (pod, observed) = (inputs.pod, inputs.observed);
    let sources = sources(pod, observed);
    for (container, last) in &sources {
        if !super::may_start(inputs, plan, container, last) {
            return;
        }
    }
    let of_pod = |one: &&observed::Container| lasting(pod).any(|container| container.name == one.name);
    let is_source = |one: &&observed::Container| sources.iter().any(|(_, last)| last.id == one.id);
    let (last, first): (Vec<_>, Vec<_>) = observed.containers.iter().filter(of_pod).partition(is_source);
    for one in first.iter().filter(|one| one.is_running()) {
        plan.actions.push(super::stop(one, format!("Stopping container {}", one.name), Some(0)));
    }
    plan.actions.extend(first.iter().chain(&last).map(|one| Action::RemoveContainer { id: one.id.clone() }));
}
