//! From what Docker tells to what the kubelet is told, without I/O.

use bollard::models::{
    ContainerInspectResponse, ContainerState as DockerState, ContainerStateStatusEnum as Phase,
    ContainerSummary, ContainerSummaryStateEnum as ListedPhase,
};

use super::note::{ContainerNote, SandboxNote};
use crate::runtime::types::{
    Container, ContainerMetadata, ContainerState, ContainerStatus, ImageSpec, Mount, PodIp, PodSandbox,
    PodSandboxMetadata, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus,
};

/// Exit code of a container that could not be started, as containerd has it.
const START_ERROR: i32 = 128;

/// Nanoseconds since the epoch; Docker writes the year 1 where something has not happened.
fn nanoseconds(time: Option<&str>) -> i64 {
    let time = time.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(|time| time.as_nanosecond());
    time.and_then(|time| i64::try_from(time).ok()).map_or(0, |time| time.max(0))
}

/// Whether it runs.
pub fn is_running(inspected: &ContainerInspectResponse) -> bool {
    inspected.state.as_ref().and_then(|state| state.running) == Some(true)
}

/// Id of its first process on the host, while it runs.
pub fn process(inspected: &ContainerInspectResponse) -> Option<i64> {
    inspected.state.as_ref().and_then(|state| state.pid).filter(|pid| *pid > 0)
}

/// A container as it is listed.
pub fn listed(summary: &ContainerSummary, note: ContainerNote) -> Container {
    let state = match summary.state {
        Some(ListedPhase::CREATED) => ContainerState::Created,
        Some(ListedPhase::RUNNING | ListedPhase::PAUSED | ListedPhase::RESTARTING) => ContainerState::Running,
        Some(ListedPhase::EXITED | ListedPhase::DEAD | ListedPhase::REMOVING) => ContainerState::Exited,
        _ => ContainerState::Unknown,
    };
    Container {
        id: summary.id.clone().unwrap_or_default(),
        pod_sandbox_id: note.sandbox,
        metadata: Some(ContainerMetadata { name: note.name, attempt: note.attempt }),
        image: Some(ImageSpec { image: note.image }),
        image_ref: note.image_ref,
        state: state as i32,
        created_at: summary.created.unwrap_or_default() * 1_000_000_000,
        labels: note.labels,
        annotations: note.annotations,
        image_id: summary.image_id.clone().unwrap_or_default(),
    }
}

/// State, reason and exit code. A container that could not be started stays `created` with an error.
fn ended(state: &DockerState) -> (ContainerState, &'static str, i32) {
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    let failed = code != 0 || state.error.as_ref().is_some_and(|error| !error.is_empty());
    match state.status {
        Some(Phase::CREATED) if failed => (ContainerState::Exited, "StartError", START_ERROR),
        Some(Phase::CREATED) => (ContainerState::Created, "", 0),
        Some(Phase::RUNNING | Phase::PAUSED | Phase::RESTARTING) => (ContainerState::Running, "", 0),
        Some(Phase::EXITED | Phase::DEAD | Phase::REMOVING) if state.oom_killed == Some(true) => {
            (ContainerState::Exited, "OOMKilled", code)
        }
        Some(Phase::EXITED | Phase::DEAD | Phase::REMOVING) if code == 0 => {
            (ContainerState::Exited, "Completed", code)
        }
        Some(Phase::EXITED | Phase::DEAD | Phase::REMOVING) => (ContainerState::Exited, "Error", code),
        _ => (ContainerState::Unknown, "", code),
    }
}

/// A container in detail.
pub fn container(inspected: &ContainerInspectResponse, note: ContainerNote) -> ContainerStatus {
    let state = inspected.state.clone().unwrap_or_default();
    let (kind, reason, exit_code) = ended(&state);
    let created_at = nanoseconds(inspected.created.as_deref());
    let finished_at = match nanoseconds(state.finished_at.as_deref()) {
        0 if kind == ContainerState::Exited => created_at,
        time => time,
    };
    let mounts = inspected.mounts.iter().flatten().map(|mount| Mount {
        container_path: mount.destination.clone().unwrap_or_default(),
        host_path: mount.source.clone().unwrap_or_default(),
        readonly: mount.rw == Some(false),
        ..Mount::default()
    });
    ContainerStatus {
        id: inspected.id.clone().unwrap_or_default(),
        metadata: Some(ContainerMetadata { name: note.name, attempt: note.attempt }),
        state: kind as i32,
        created_at,
        started_at: nanoseconds(state.started_at.as_deref()),
        // A container that was started again still has the former end.
        finished_at: if kind == ContainerState::Exited { finished_at } else { 0 },
        exit_code,
        image: Some(ImageSpec {
            image: if note.image_name.is_empty() { note.image } else { note.image_name },
        }),
        image_ref: note.image_ref,
        reason: reason.to_owned(),
        message: state.error.filter(|_| kind == ContainerState::Exited).unwrap_or_default(),
        labels: note.labels,
        annotations: note.annotations,
        mounts: mounts.collect(),
        log_path: note.log_path,
        image_id: inspected.image.clone().unwrap_or_default(),
        // The engine tells what was asked for, not who the process became.
        user: None,
    }
}

fn state_of(ready: bool) -> i32 {
    if ready { PodSandboxState::Ready as i32 } else { PodSandboxState::NotReady as i32 }
}

fn metadata(note: &SandboxNote) -> PodSandboxMetadata {
    PodSandboxMetadata {
        name: note.name.clone(),
        uid: note.uid.clone(),
        namespace: note.namespace.clone(),
        attempt: note.attempt,
    }
}

/// Whether a listed sandbox runs.
pub fn runs(summary: &ContainerSummary) -> bool {
    summary.state == Some(ListedPhase::RUNNING)
}

/// A sandbox as it is listed.
pub fn listed_sandbox(summary: &ContainerSummary, note: SandboxNote, ready: bool) -> PodSandbox {
    PodSandbox {
        id: summary.id.clone().unwrap_or_default(),
        metadata: Some(metadata(&note)),
        state: state_of(ready),
        created_at: summary.created.unwrap_or_default() * 1_000_000_000,
        labels: note.labels,
        annotations: note.annotations,
        runtime_handler: note.handler,
    }
}

/// A sandbox in detail.
pub fn sandbox(
    inspected: &ContainerInspectResponse,
    note: SandboxNote,
    ready: bool,
    addresses: &[std::net::IpAddr],
) -> PodSandboxStatus {
    let mut addresses = addresses.iter().map(ToString::to_string);
    PodSandboxStatus {
        id: inspected.id.clone().unwrap_or_default(),
        metadata: Some(metadata(&note)),
        state: state_of(ready),
        created_at: nanoseconds(inspected.created.as_deref()),
        network: Some(PodSandboxNetworkStatus {
            ip: addresses.next().unwrap_or_default(),
            additional_ips: addresses.map(|ip| PodIp { ip }).collect(),
        }),
        labels: note.labels,
        annotations: note.annotations,
        runtime_handler: note.handler,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let check = |status: Phase, code: i64, error: &str, oom: bool, expected| {
            let state = DockerState {
                status: Some(status),
                exit_code: Some(code),
                error: Some(error.to_owned()),
                oom_killed: Some(oom),
                ..DockerState::default()
            };
            assert_eq!(ended(&state), expected, "{status} {code} {error} {oom}");
        };
        check(Phase::CREATED, 0, "", false, (ContainerState::Created, "", 0));
        check(Phase::CREATED, 127, "no such file", false, (ContainerState::Exited, "StartError", 128));
        check(Phase::RUNNING, 0, "", false, (ContainerState::Running, "", 0));
        check(Phase::EXITED, 0, "", false, (ContainerState::Exited, "Completed", 0));
        check(Phase::EXITED, 3, "", false, (ContainerState::Exited, "Error", 3));
        check(Phase::EXITED, 137, "", true, (ContainerState::Exited, "OOMKilled", 137));
        check(Phase::DEAD, 1, "", false, (ContainerState::Exited, "Error", 1));
        check(Phase::EMPTY, 0, "", false, (ContainerState::Unknown, "", 0));
    }

    #[test]
    fn times() {
        assert_eq!(nanoseconds(Some("0001-01-01T00:00:00Z")), 0);
        assert_eq!(nanoseconds(Some("1970-01-01T00:00:01.5Z")), 1_500_000_000);
        assert_eq!(nanoseconds(None), 0);
    }
}
