//! Whether a container that ended is started again: restart policies of pod and container, and the
//! container's rules by exit code.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::observed;
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
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = rule.exit_codes.as_ref() else { continue };
        let listed = codes.values.iter().flatten().any(|value| *value == exit_code);
        let matches = if codes.operator == "NotIn" { !listed } else { listed };
        if matches && rule.action == "Restart" {
            return true;
        }
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
