//! The conditions of a pod that the kubelet keeps.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Inputs, VerdictKind};
use crate::plan::restart::{self, ALL_RESTARTING};
use crate::pod;
use crate::preemption;

/// The conditions that the kubelet keeps; all others are somebody else's.
const OWN: [&str; 8] = [
    PENDING,
    IN_PROGRESS,
    ALL_RESTARTING,
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];
/// The pod waits for resources that it asks for; absent if it does not.
const PENDING: &str = "PodResizePending";
/// Its limits are being changed; absent if they are not.
const IN_PROGRESS: &str = "PodResizeInProgress";

/// Whether the kubelet keeps a condition.
pub fn is_own(condition: &PodCondition) -> bool {
    OWN.contains(&condition.type_.as_str())
}

/// Takes over the conditions that are not the kubelet's.
pub fn adopt(ours: &mut PodStatus, theirs: Option<&PodStatus>) {
    let conditions = ours.conditions.get_or_insert_default();
    conditions.retain(is_own);
    let others = theirs.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    conditions.extend(others.filter(|condition| !is_own(condition)).cloned());
}

/// The kubelet's conditions, in the original's order, then those that others have set.
pub fn of(
    inputs: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(inputs, phase, init, app);
    let list = [
        sandbox_ready(inputs, phase),
        initialized(inputs, phase, init, app),
        ready(inputs, phase, &containers_ready),
        containers_ready,
        condition("PodScheduled", true, "", String::new()),
    ];
    let mut all = with_others(inputs, list);
    if let Some(restarting) = restarting(inputs, phase) {
        all.retain(|one| one.type_ != ALL_RESTARTING);
        all.push(settle(inputs, restarting));
    }
    all
}

/// Whether all containers end, to run again; absent where no rule says that they could.
fn restarting(inputs: &Inputs<'_>, phase: &str) -> Option<PodCondition> {
    let no = |reason| condition(ALL_RESTARTING, false, reason, String::new());
    restart::may_restart_all(inputs.pod).then(|| match phase {
        "Succeeded" => no("PodCompleted"),
        "Failed" => no("PodFailed"),
        _ if restart::restarts_all(inputs.pod, inputs.observed) => {
            let message = "container exited with restart policy rule".to_owned();
            condition(ALL_RESTARTING, true, "RestartAllContainersStarted", message)
        }
        _ => no(""),
    })
}

/// The conditions of a pod that the node did not take.
pub fn of_refused(inputs: &Inputs<'_>) -> Vec<PodCondition> {
    let failed = |kind| condition(kind, false, "PodFailed", String::new());
    let scheduled = condition("PodScheduled", true, "", String::new());
    with_others(inputs, [failed("Ready"), failed("ContainersReady"), scheduled])
}

/// Ours, and those that others have set.
fn with_others<const N: usize>(inputs: &Inputs<'_>, list: [PodCondition; N]) -> Vec<PodCondition> {
    let why = inputs.verdict.and_then(|verdict| match verdict.kind {
        VerdictKind::Evicted(_) => Some(verdict.message.clone()),
        VerdictKind::Preempted => Some(preemption::DISRUPTION.to_owned()),
        VerdictKind::Refused | VerdictKind::Ended => None,
    });
    let evicted = why.map(|why| condition("DisruptionTarget", true, "TerminationByKubelet", why));
    let ours = resize(inputs).into_iter().chain(list).chain(evicted);
    let mut all: Vec<PodCondition> = ours.map(|condition| settle(inputs, condition)).collect();
    let others = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    for other in others.into_iter().flatten() {
        let over = [PENDING, IN_PROGRESS].contains(&other.type_.as_str());
        if !over && !all.iter().any(|own| own.type_ == other.type_) {
            all.push(other.clone());
        }
    }
    all
}

/// How a resize stands.
fn resize(inputs: &Inputs<'_>) -> Vec<PodCondition> {
    let pending = inputs.resize.pending.as_ref();
    let pending = pending.map(|pending| condition(PENDING, true, pending.reason, pending.message.clone()));
    let progress = inputs.resize.progress.as_ref().map(|error| match error {
        Some(error) => condition(IN_PROGRESS, true, "Error", error.clone()),
        None => condition(IN_PROGRESS, true, "", String::new()),
    });
    pending.into_iter().chain(progress).collect()
}

/// Keeps the time of the last change, if there was none.
fn settle(inputs: &Inputs<'_>, mut condition: PodCondition) -> PodCondition {
    let old = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let old = old.into_iter().flatten().find(|old| old.type_ == condition.type_);
    let same = old.filter(|old| old.status == condition.status);
    condition.last_transition_time =
        same.and_then(|old| old.last_transition_time.clone()).or(Some(Time(inputs.now)));
    condition.observed_generation = inputs.pod.metadata.generation;
    condition
}

fn condition(kind: &str, status: bool, reason: &str, message: String) -> PodCondition {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    PodCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: some(reason.to_owned()),
        message: some(message),
        ..Default::default()
    }
}

fn sandbox_ready(inputs: &Inputs<'_>, phase: &str) -> PodCondition {
    let over = matches!(phase, "Succeeded" | "Failed");
    let ready = inputs
        .observed
        .ready_sandbox()
        .is_some_and(|sandbox| sandbox.host_network || !sandbox.ips.is_empty());
    condition("PodReadyToStartContainers", ready && !over, "", String::new())
}

fn initialized(
    inputs: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> PodCondition {
    if phase == "Succeeded" {
        return condition("Initialized", true, "PodCompleted", String::new());
    }
    let begun = app.iter().any(|status| status.container_id.is_some());
    let incomplete: Vec<&str> = pod::init_containers(inputs.pod)
        .iter()
        .zip(init)
        .filter(|(container, status)| match pod::is_sidecar(container) {
            true => status.started != Some(true),
            false => !status.ready,
        })
        .map(|(container, _)| container.name.as_str())
        .collect();
    if incomplete.is_empty() || begun {
        return condition("Initialized", true, "", String::new());
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    condition("Initialized", false, "ContainersNotInitialized", message)
}

fn containers_ready(
    inputs: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> PodCondition {
    match phase {
        "Succeeded" => return condition("ContainersReady", false, "PodCompleted", String::new()),
        "Failed" => return condition("ContainersReady", false, "PodFailed", String::new()),
        _ => {}
    }
    let sidecars = pod::init_containers(inputs.pod)
        .iter()
        .zip(init)
        .filter(|(container, _)| pod::is_sidecar(container))
        .map(|(_, status)| status);
    let unready: Vec<&str> =
        sidecars.chain(app).filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return condition("ContainersReady", true, "", String::new());
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    condition("ContainersReady", false, "ContainersNotReady", message)
}

/// Ready means: containers are ready and so are the gates that others keep.
fn ready(inputs: &Inputs<'_>, phase: &str, containers: &PodCondition) -> PodCondition {
    if containers.status != "True" || matches!(phase, "Succeeded" | "Failed") {
        return PodCondition { type_: "Ready".to_owned(), ..containers.clone() };
    }
    let conditions = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut messages = Vec::new();
    for gate in pod::spec(inputs.pod).readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match conditions.into_iter().flatten().find(|condition| condition.type_ == *kind) {
            None => messages
                .push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(condition) if condition.status != "True" => messages.push(format!(
                "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        condition("Ready", true, "", String::new())
    } else {
        condition("Ready", false, "ReadinessGatesNotReady", messages.join(", "))
    }
}
