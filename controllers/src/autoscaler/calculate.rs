//! From measured usage to a number of pods.
//!
//! Pods without a measurement and pods that are not ready dampen the result: they count with what
//! makes the change smaller, and where that turns its direction nothing is changed.
//!
//! Source: documentation page "Horizontal Pod Autoscaling", algorithm details.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use knarr_api::quantity;

use crate::{
    meta::{is_deleting, name},
    pods::{self, Container, Pod, condition, phase},
};

/// The usage of one pod.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// In thousandths.
    pub value: i64,
    pub at: Timestamp,
    /// Time over which it was measured, which ended at `at`.
    pub window: Duration,
}

/// Usage by name of the pod.
pub(super) type Samples = BTreeMap<String, Sample>;

/// By which ratios of usage to target nothing is changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What usage is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// Percent of what the pods request.
    Utilization(i32),
    /// Thousandths a pod.
    Average(i64),
}

/// Which resource is looked at, and in which container only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    /// Empty for a metric that is no resource.
    pub resource: &'a str,
    /// Empty for all containers.
    pub container: &'a str,
}

/// How long new pods are not believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Usage of the processor is that of starting for this long.
    pub initialization: Duration,
    /// A pod that is unready and changed within this time of its start was never ready.
    pub first_readiness: Duration,
}

/// What the usage of pods asks for.
#[derive(Debug, PartialEq, Clone)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// Percent of requests, for such a goal.
    pub utilization: Option<i32>,
    /// Average in thousandths.
    pub average: i64,
}

/// Thousandths of a quantity, rounded up; a malformed one is nothing.
pub(super) fn milli(quantity: &Quantity) -> i64 {
    quantity.0.parse::<quantity::Quantity>().map_or(0, |quantity| quantity.milli_value())
}

/// Pods by what can be said of them.
#[derive(Debug, Default, PartialEq)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

fn group(pods: &[Arc<Pod>], samples: &Samples, resource: &str, patience: Patience, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for pod in pods {
        let pod_name = name(&pod.metadata).to_string();
        if is_deleting(&pod.metadata) || phase(pod) == "Failed" {
            groups.ignored.insert(pod_name);
        } else if phase(pod) == "Pending" {
            groups.unready.insert(pod_name);
        } else if let Some(sample) = samples.get(&pod_name) {
            if resource == "cpu" && !is_believed(pod, sample, patience, now) {
                groups.unready.insert(pod_name);
            } else {
                groups.ready += 1;
            }
        } else {
            groups.missing.insert(pod_name);
        }
    }
    groups
}

/// Whether the use of the processor says something about the load.
fn is_believed(pod: &Pod, sample: &Sample, patience: Patience, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (condition(pod, "Ready"), started) else { return false };
    let changed = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let is_unready = ready.status == "False";
    if started.0 + patience.initialization > now {
        return !is_unready && sample.at >= changed + sample.window;
    }
    !(is_unready && started.0 + patience.first_readiness > changed)
}

/// What each pod requests of a resource, in thousandths.
fn requests(pods: &[Arc<Pod>], measured: Measured<'_>) -> Result<BTreeMap<String, i64>, String> {
    let mut requests = BTreeMap::new();
    for pod in pods {
        let Some(spec) = &pod.spec else { continue };
        let whole = spec.resources.as_ref().filter(|_| measured.container.is_empty());
        let sum = match whole.and_then(|whole| request(Some(whole), measured.resource)) {
            Some(whole) => whole,
            None => {
                let counted = |container: &&Container| {
                    measured.container.is_empty() || container.name == measured.container
                };
                let sidecars = spec.init_containers.iter().flatten();
                let sidecars = sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
                let mut sum = 0;
                for container in spec.containers.iter().chain(sidecars).filter(counted) {
                    sum += request(container.resources.as_deref(), measured.resource).ok_or_else(|| {
                        format!(
                            "missing request for {} in container {} of Pod {}",
                            measured.resource,
                            container.name,
                            name(&pod.metadata)
                        )
                    })?;
                }
                sum
            }
        };
        requests.insert(name(&pod.metadata).to_string(), sum);
    }
    Ok(requests)
}

fn request(resources: Option<&ResourceRequirements>, resource: &str) -> Option<i64> {
    resources?.requests.as_ref()?.get(resource).map(milli)
}

/// Usage in relation to the goal.
#[derive(Debug)]
struct Usage {
    ratio: f64,
    utilization: Option<i32>,
    average: i64,
}

fn usage(samples: &Samples, goal: Goal, requests: &BTreeMap<String, i64>) -> Result<Usage, String> {
    match goal {
        Goal::Average(target) => {
            let average =
                samples.values().map(|sample| sample.value).sum::<i64>() / (samples.len().max(1) as i64);
            Ok(Usage { ratio: average as f64 / target as f64, utilization: None, average })
        }
        Goal::Utilization(target) => {
            let (mut used, mut requested, mut count) = (0, 0, 0);
            for (sample, request) in
                samples.iter().filter_map(|(pod, sample)| Some((sample, requests.get(pod)?)))
            {
                used += sample.value;
                requested += request;
                count += 1;
            }
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_string());
            }
            let utilization = i32::try_from(used * 100 / requested).unwrap_or(i32::MAX);
            Ok(Usage {
                ratio: f64::from(utilization) / f64::from(target),
                utilization: Some(utilization),
                average: used / count,
            })
        }
    }
}

fn rounded_up(value: f64) -> i32 {
    value.ceil() as i32
}

/// What the usage of the pods asks for while there are `current` of them.
pub(super) fn by_pods(
    current: i32,
    goal: Goal,
    measured: Measured<'_>,
    pods: &[Arc<Pod>],
    mut samples: Samples,
    rules: (Tolerance, Patience),
    now: Timestamp,
) -> Result<Proposal, String> {
    if pods.is_empty() {
        return Err("No pods returned by selector while calculating replica count".to_string());
    }
    let (tolerance, patience) = rules;
    let groups = group(pods, &samples, measured.resource, patience, now);
    samples.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
    if samples.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_string());
    }
    let requests = match goal {
        Goal::Utilization(_) => requests(pods, measured)?,
        Goal::Average(_) => BTreeMap::new(),
    };
    let seen = usage(&samples, goal, &requests)?;
    let answer = |replicas| Ok(Proposal { replicas, utilization: seen.utilization, average: seen.average });
    let unready_count = !groups.unready.is_empty() && seen.ratio > 1.0;
    if !unready_count && groups.missing.is_empty() {
        return answer(match tolerance.covers(seen.ratio) {
            true => current,
            false => rounded_up(seen.ratio * groups.ready as f64),
        });
    }
    let assume = |value: i64| Sample { value, at: now, window: Duration::ZERO };
    for pod in groups.missing.iter().filter(|_| seen.ratio != 1.0) {
        let value = match goal {
            _ if seen.ratio > 1.0 => 0,
            Goal::Average(target) => target,
            Goal::Utilization(target) => {
                requests.get(pod).copied().unwrap_or_default() * i64::from(target.max(100)) / 100
            }
        };
        samples.insert(pod.clone(), assume(value));
    }
    if unready_count {
        samples.extend(groups.unready.iter().map(|pod| (pod.clone(), assume(0))));
    }
    let damped = usage(&samples, goal, &requests)?.ratio;
    let turned = |a: f64, b: f64| (a < 1.0 && b > 1.0) || (a > 1.0 && b < 1.0);
    if tolerance.covers(damped) || turned(seen.ratio, damped) {
        return answer(current);
    }
    let replicas = rounded_up(damped * samples.len() as f64);
    let opposite = (damped < 1.0 && replicas > current) || (damped > 1.0 && replicas < current);
    answer(if opposite { current } else { replicas })
}

/// What a value that belongs to all pods together asks for; the usage is in thousandths.
pub(super) fn by_value(
    current: i32,
    usage: i64,
    target: i64,
    pods: &[Arc<Pod>],
    tolerance: Tolerance,
) -> Result<i32, String> {
    let ratio = usage as f64 / target as f64;
    if current == 0 {
        return Ok(rounded_up(ratio));
    }
    if tolerance.covers(ratio) {
        return Ok(current);
    }
    if pods.is_empty() {
        let fault = "No pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {fault}"));
    }
    let ready = pods.iter().filter(|pod| phase(pod) == "Running" && pods::is_ready(pod)).count();
    Ok(rounded_up(ratio * ready as f64))
}

/// What a value that is divided among `current` pods asks for, and each pod's part of it.
pub(super) fn by_share(current: i32, usage: i64, target: i64, tolerance: Tolerance) -> (i32, i64) {
    let ratio = usage as f64 / (target as f64 * f64::from(current));
    let replicas = match tolerance.covers(ratio) {
        true => current,
        false => rounded_up(usage as f64 / target as f64),
    };
    (replicas, (usage as f64 / f64::from(current)).ceil() as i64)
}

#[cfg(test)]
mod tests;
