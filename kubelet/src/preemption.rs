//! Pods that go so that a critical one can run: which, decided as the original's `getPodsToPreempt` does. Those of
//! lower classes of quality of service go first, and as few requests as possible are lost with them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::admission::{Lack, requested};
use crate::pod::{self, Qos};
use crate::status::{Verdict, VerdictKind};

/// Event and reason of a pod that goes.
const REASON: &str = "Preempting";
const MESSAGE: &str = "Preempted in order to admit critical pod";
/// What the condition `DisruptionTarget` says of it.
pub const DISRUPTION: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";

/// How a pod goes.
pub fn verdict() -> Verdict {
    Verdict { reason: REASON.to_owned(), message: MESSAGE.to_owned(), kind: VerdictKind::Preempted }
}

/// The pods whose end frees what `critical` lacks.
///
/// # Errors
/// What all of them together do not free, in the original's words.
pub fn choose(critical: &Pod, others: &[Arc<Pod>], lacks: &[Lack]) -> Result<Vec<Arc<Pod>>, String> {
    let candidates: Vec<&Arc<Pod>> = others.iter().filter(|other| must_yield(other, critical)).collect();
    let of = |class: Qos| -> Vec<&Arc<Pod>> {
        candidates.iter().copied().filter(|candidate| pod::qos(candidate) == class).collect()
    };
    let (best_effort, burstable, guaranteed) = (of(Qos::BestEffort), of(Qos::Burstable), of(Qos::Guaranteed));
    let missing = without(lacks, candidates.iter().copied());
    if !missing.is_empty() {
        return Err(format!("no set of running pods found to reclaim resources: {}", text(&missing)));
    }
    let (lower, rest) = (best_effort.iter().chain(&burstable), guaranteed);
    let guaranteed = nearest(rest, without(lacks, lower.copied()));
    let lower = best_effort.iter().chain(&guaranteed);
    let burstable = nearest(burstable, without(lacks, lower.copied()));
    let best_effort = nearest(best_effort, without(lacks, burstable.iter().chain(&guaranteed).copied()));
    Ok(best_effort.into_iter().chain(burstable).chain(guaranteed).cloned().collect())
}

/// Whether a pod is worth less than a critical one.
fn must_yield(other: &Pod, critical: &Pod) -> bool {
    let priority = |pod: &Pod| pod::spec(pod).priority;
    !pod::is_critical(other)
        || priority(critical).zip(priority(other)).is_some_and(|(critical, other)| critical > other)
}

/// What a pod gives back of a resource.
fn freed(pod: &Pod, resource: &str) -> i64 {
    if resource == "pods" { 1 } else { requested(pod, resource) }
}

/// What still lacks when these pods are gone.
fn without<'a>(lacks: &[Lack], gone: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<Lack> {
    let gone: Vec<_> = gone.collect();
    let left = |lack: &Lack| {
        let freed: i64 = gone.iter().map(|pod| freed(pod, &lack.resource)).sum();
        Lack { missing: lack.missing - freed, ..lack.clone() }
    };
    lacks.iter().map(left).filter(|lack| lack.missing > 0).collect()
}

/// Takes those that come nearest to what lacks, one after the other; all if that is not enough.
fn nearest(mut pods: Vec<&Arc<Pod>>, mut lacks: Vec<Lack>) -> Vec<&Arc<Pod>> {
    let mut taken = Vec::new();
    while !lacks.is_empty() && !pods.is_empty() {
        let order = |(_, one): &(usize, &&Arc<Pod>), (_, other): &(usize, &&Arc<Pod>)| {
            distance(one, &lacks)
                .total_cmp(&distance(other, &lacks))
                .then_with(|| size(one).cmp(&size(other)))
        };
        let Some((index, _)) = pods.iter().enumerate().min_by(order) else { break };
        let best = pods.swap_remove(index);
        lacks = without(&lacks, std::iter::once(best));
        taken.push(best);
    }
    taken
}

/// How far a pod is from freeing what lacks: each resource counts alike, by the part that would still lack.
fn distance(pod: &Pod, lacks: &[Lack]) -> f64 {
    let part = |lack: &Lack| {
        let left = (lack.missing - freed(pod, &lack.resource)).max(0);
        (left as f64 / lack.missing as f64).powi(2)
    };
    lacks.iter().map(part).sum()
}

/// What makes one of two equally near pods the smaller loss.
fn size(pod: &Pod) -> (i64, i64) {
    (requested(pod, "memory"), requested(pod, "cpu"))
}

fn text(lacks: &[Lack]) -> String {
    let each = lacks.iter().map(|lack| format!("(res: {}, q: {}), ", lack.resource, lack.shown_missing()));
    format!("[{}]", each.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(all: &[(&str, &str)]) -> Vec<Arc<Pod>> {
        let pod = |(name, spec): &(&str, &str)| {
            Arc::new(pod::tests::pod(&format!("{{metadata: {{name: {name}}}, spec: {spec}}}")))
        };
        all.iter().map(pod).collect()
    }

    #[test]
    fn the_least_goes() {
        let critical = pod::tests::pod("{spec: {priority: 2000001000, containers: []}}");
        let (small, large, whole, high, none) = (
            "{priority: 0, containers: [{name: a, resources: {requests: {cpu: 100m, memory: 1Mi}}}]}",
            "{priority: 0, containers: [{name: a, resources: {requests: {cpu: 500m, memory: 9Mi}}}]}",
            "{priority: 0, containers: [{name: a, resources: {limits: {cpu: 500m, memory: 1Mi}}}]}",
            "{priority: 2000001000, containers: [{name: a, resources: {requests: {cpu: 2}}}]}",
            "{priority: 0, containers: [{name: a}]}",
        );
        let check = |others: &[(&str, &str)], lacks: &[(&str, i64)], expected: Result<&[&str], &str>| {
            let lacks: Vec<Lack> = lacks
                .iter()
                .map(|(resource, missing)| Lack {
                    resource: (*resource).to_owned(),
                    missing: *missing,
                    ..Lack::default()
                })
                .collect();
            let found = choose(&critical, &pods(others), &lacks);
            let names = found.map(|all| all.iter().map(|pod| pod::name(pod).to_owned()).collect::<Vec<_>>());
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(names, expected.map_err(str::to_owned), "{others:?} {lacks:?}");
        };
        check(&[("a", small), ("b", large)], &[("cpu", 400)], Ok(&["b"]));
        check(&[("a", small), ("b", large)], &[("cpu", 50)], Ok(&["a"]));
        check(&[("a", small), ("b", large)], &[("cpu", 550)], Ok(&["b", "a"]));
        check(&[("a", whole), ("b", large)], &[("cpu", 500)], Ok(&["b"]));
        check(&[("a", whole), ("b", small)], &[("cpu", 500)], Ok(&["a"]));
        check(&[("a", none), ("b", small)], &[("pods", 1)], Ok(&["a"]));
        check(
            &[("a", high), ("b", small)],
            &[("cpu", 500)],
            Err("no set of running pods found to reclaim resources: [(res: cpu, q: 400), ]"),
        );
        check(
            &[],
            &[("memory", 5000)],
            Err("no set of running pods found to reclaim resources: [(res: memory, q: 5), ]"),
        );
    }
}
