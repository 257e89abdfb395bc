//! A pod's status, computed from what is observed. Pure: the present is an argument.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::admission::Refusal;
use crate::allocation::Resize;
use crate::observed::Observed;
use crate::plan::{ProbeResults, Waiting};
use crate::pod;

pub mod conditions;
pub mod containers;
pub mod patch;
pub mod phase;
pub mod sender;
mod terminated;
pub mod write;

/// Why the kubelet itself ended a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// For example `Evicted`, `DeadlineExceeded`, `OutOfcpu`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What that means for the pod.
    pub kind: VerdictKind,
}

impl Verdict {
    /// The node does not take a pod.
    pub fn refusal(refusal: &Refusal) -> Self {
        let message = format!("Pod was rejected: {}", refusal.message);
        Self { reason: refusal.reason.clone(), message, kind: VerdictKind::Refused }
    }
}

/// How the kubelet ends a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    /// The node did not take it: nothing of it was ever made.
    Refused,
    /// It has run as long as it may.
    Ended,
    /// It goes for the good of the node, within so many seconds.
    Evicted(i64),
    /// It makes room for a critical pod.
    Preempted,
}

/// What a status is computed from.
pub struct Inputs<'a> {
    /// The pod with the status known before.
    pub pod: &'a Pod,
    /// The pod as it is.
    pub observed: &'a Observed,
    /// Findings of its probes.
    pub probes: &'a ProbeResults,
    /// Why containers that should run do not.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// How far it is from the resources that it asks for.
    pub resize: &'a Resize,
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// Why the kubelet ended the pod, if it did.
    pub verdict: Option<&'a Verdict>,
    /// Nothing of the pod runs or will run again.
    pub ended: bool,
    /// The runtime's name, which container ids begin with.
    pub runtime: &'a str,
    /// The present.
    pub now: Timestamp,
}

/// Computes the status.
pub fn compute(inputs: &Inputs<'_>) -> PodStatus {
    let pod = inputs.pod;
    let old = pod.status.clone().unwrap_or_default();
    if let Some(refusal) = inputs.verdict.filter(|verdict| verdict.kind == VerdictKind::Refused) {
        return refused(inputs, old, refusal);
    }
    let mut init = containers::of(inputs, pod::init_containers(pod), true);
    let mut app = containers::of(inputs, pod::containers(pod), false);
    let ephemeral: Vec<_> = pod::ephemeral_containers(pod).iter().map(pod::as_container).collect();
    let mut ephemeral = containers::of_ephemeral(inputs, &ephemeral);
    let mut phase = match inputs.verdict {
        Some(_) if inputs.ended => "Failed",
        _ => phase::of(pod, &init, &app, inputs.ended),
    };
    // An end is for good, whatever a restarted kubelet still finds.
    if pod::is_terminal(pod) {
        phase = pod::phase(pod);
    }
    let (reason, message) = match inputs.verdict {
        // Not before the containers are gone.
        Some(verdict) if inputs.ended => (Some(verdict.reason.clone()), Some(verdict.message.clone())),
        _ => (old.reason.clone(), old.message.clone()),
    };
    let sandbox_ips: Vec<String> =
        inputs.observed.ready_sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
    let ips = match (pod::host_network(pod), sandbox_ips.is_empty()) {
        (true, _) => inputs.host_ips.to_vec(),
        (false, false) => sandbox_ips,
        // The address stays on record when the sandbox is gone.
        (false, true) => old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    };
    let conditions = conditions::of(inputs, phase, &init, &app);
    if inputs.ended {
        terminated::settle(pod, &mut init, &mut app);
    }
    // As the original does: init containers by the spec, all others by name.
    app.sort_by(|a, b| a.name.cmp(&b.name));
    ephemeral.sort_by(|a, b| a.name.cmp(&b.name));
    let some = |list: Vec<ContainerStatus>| Some(list).filter(|list| !list.is_empty());
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        reason,
        message,
        host_ip: inputs.host_ips.first().cloned(),
        host_ips: Some(inputs.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>())
            .filter(|ips| !ips.is_empty()),
        start_time: Some(old.start_time.clone().unwrap_or(Time(inputs.now))),
        init_container_statuses: some(init),
        container_statuses: some(app),
        ephemeral_container_statuses: some(ephemeral),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| pod::qos(pod).as_str().to_owned())),
        observed_generation: pod.metadata.generation,
        ..old
    }
}

/// The status of a pod that the node did not take: of its containers there is nothing to say.
fn refused(inputs: &Inputs<'_>, old: PodStatus, refusal: &Verdict) -> PodStatus {
    let pod = inputs.pod;
    PodStatus {
        phase: Some("Failed".to_owned()),
        conditions: Some(conditions::of_refused(inputs)),
        reason: Some(refusal.reason.clone()),
        message: Some(refusal.message.clone()),
        start_time: Some(old.start_time.clone().unwrap_or(Time(inputs.now))),
        qos_class: Some(pod::qos(pod).as_str().to_owned()),
        observed_generation: pod.metadata.generation,
        ..old
    }
}

#[cfg(test)]
mod tests;
