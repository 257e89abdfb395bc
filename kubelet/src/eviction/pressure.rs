//! A node that runs short: which of its conditions that is, and which pod goes.
//!
//! Source: Kubernetes documentation, "Node-pressure eviction".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::thresholds::{Short, Signal};
use crate::pod;

/// A condition of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Pid,
}

impl Pressure {
    /// The condition's type.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        }
    }

    /// Reason and message of the condition.
    pub fn words(self, is_present: bool) -> (&'static str, &'static str) {
        match (self, is_present) {
            (Self::Memory, true) => {
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
            }
            (Self::Memory, false) => {
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available")
            }
            (Self::Disk, true) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            (Self::Disk, false) => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (Self::Pid, true) => ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            (Self::Pid, false) => ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        }
    }

    fn of(signal: Signal) -> Self {
        match signal {
            Signal::MemoryAvailable => Self::Memory,
            Signal::PidAvailable => Self::Pid,
            _ => Self::Disk,
        }
    }
}

/// When the node was short of what last.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<Pressure, Instant>);

impl Memory {
    /// It is now.
    pub fn note(&mut self, signals: impl Iterator<Item = Signal>, now: Instant) {
        self.0.extend(signals.map(|signal| (Pressure::of(signal), now)));
    }

    /// What it is, or has been within `span`.
    pub fn present(&self, now: Instant, span: Duration) -> BTreeSet<Pressure> {
        let recent = self.0.iter().filter(|(_, last)| now.duration_since(**last) < span);
        recent.map(|(pressure, _)| *pressure).collect()
    }
}

/// A pod with what it uses of what runs short.
#[derive(Clone, Debug)]
pub struct Ranked<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Bytes.
    pub used: u64,
}

impl Ranked<'_> {
    fn requested(&self, signal: Signal) -> u64 {
        let containers = pod::containers(self.pod).iter();
        let milli = containers.filter_map(|container| pod::request_milli(container, signal.resource()));
        u64::try_from(milli.sum::<i64>() / 1000).unwrap_or(0)
    }
}

/// The pod that goes first: one that uses more than it asked for, of the lowest priority, that uses most beyond what
/// it asked for.
pub fn worst<'a>(pods: impl Iterator<Item = Ranked<'a>>, signal: Signal) -> Option<Ranked<'a>> {
    pods.max_by_key(|ranked| {
        let beyond = i128::from(ranked.used) - i128::from(ranked.requested(signal));
        (beyond > 0, std::cmp::Reverse(pod::spec(ranked.pod).priority.unwrap_or(0)), beyond)
    })
}

/// What the pod's status says.
pub fn message(ranked: &Ranked<'_>, short: &Short) -> String {
    let resource = short.signal.resource();
    let amount = |bytes: u64| match short.signal {
        Signal::MemoryAvailable => format!("{}Ki", bytes / 1024),
        _ => bytes.to_string(),
    };
    let mut message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        amount(short.threshold),
        amount(short.available)
    );
    let requested = ranked.requested(short.signal);
    if ranked.used > requested
        && let [container] = pod::containers(ranked.pod)
    {
        message.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
            container.name,
            amount(ranked.used),
            if requested == 0 { "0".to_owned() } else { amount(requested) }
        ));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_goes_first() {
        let pod = |name: &str, priority: i32, request: &str| {
            pod::tests::pod(&format!(
                "{{metadata: {{name: {name}}}, spec: {{priority: {priority}, containers: \
                 [{{name: c, resources: {{requests: {{memory: {request}}}}}}}]}}}}"
            ))
        };
        let frugal = pod("frugal", 0, "100");
        let greedy = pod("greedy", 0, "10");
        let greedier = pod("greedier", 0, "0");
        let important = pod("important", 5, "0");
        let check = |pods: &[(&Pod, u64)], expected: &str| {
            let ranked = pods.iter().map(|(pod, used)| Ranked { pod, used: *used });
            let found = worst(ranked, Signal::MemoryAvailable).map(|ranked| pod::name(ranked.pod).to_owned());
            assert_eq!(found.as_deref(), Some(expected));
        };
        check(&[(&frugal, 90), (&greedy, 20)], "greedy");
        check(&[(&greedy, 20), (&greedier, 30)], "greedier");
        check(&[(&greedy, 20), (&important, 90)], "greedy");
        check(&[(&frugal, 90), (&important, 90)], "important");
    }

    #[test]
    fn messages() {
        let pod = pod::tests::pod("{spec: {containers: [{name: c}]}}");
        let short = Short { signal: Signal::MemoryAvailable, threshold: 102_400 * 1024, available: 2048 };
        assert_eq!(
            message(&Ranked { pod: &pod, used: 4096 }, &short),
            "The node was low on resource: memory. Threshold quantity: 102400Ki, available: 2Ki. \
             Container c was using 4Ki, request is 0, has larger consumption of memory. "
        );
    }

    #[test]
    fn conditions_stay_a_while() {
        let mut memory = Memory::default();
        let (start, span) = (Instant::now(), Duration::from_secs(300));
        memory.note([Signal::NodefsInodesFree].into_iter(), start);
        assert_eq!(memory.present(start, span), [Pressure::Disk].into());
        assert_eq!(memory.present(start + span, span), [].into());
    }
}
