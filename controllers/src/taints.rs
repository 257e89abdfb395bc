//! Taints of nodes and tolerations of pods.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
pub(crate) use knarr_component::placement::tolerates;

pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Set by whoever knows that a node is off and stays so.
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(crate) const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
pub(crate) const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
pub(crate) const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
pub(crate) const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";

pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
pub(crate) const NO_EXECUTE: &str = "NoExecute";

/// The taints of a node.
pub(crate) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// How long a pod may stay on a node with `NoExecute` taints.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Stay {
    Forever,
    For(Duration),
    /// Some taint is not tolerated.
    Not,
}

/// Decides how long a pod with these tolerations may stay.
pub(crate) fn stay(tolerations: &[Toleration], taints: &[Taint]) -> Stay {
    let mut shortest: Option<i64> = None;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let matching: Vec<&Toleration> =
            tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if matching.is_empty() {
            return Stay::Not;
        }
        for seconds in matching.iter().filter_map(|toleration| toleration.toleration_seconds) {
            shortest = Some(shortest.map_or(seconds, |shortest| shortest.min(seconds)));
        }
    }
    match shortest {
        None => Stay::Forever,
        Some(seconds) if seconds <= 0 => Stay::Not,
        Some(seconds) => Stay::For(Duration::from_secs(seconds.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_bound_the_stay() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            time_added: None,
        };
        let toleration = |key: &str, operator: &str, value: &str, seconds: Option<i64>| Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            effect: None,
            toleration_seconds: seconds,
        };
        let check = |tolerations: &[Toleration], expected: Stay| {
            let taints = [taint("k", "v", NO_EXECUTE), taint("other", "", NO_SCHEDULE)];
            assert_eq!(stay(tolerations, &taints), expected, "{tolerations:?}");
        };
        check(&[], Stay::Not);
        check(&[toleration("k", "Equal", "v", None)], Stay::Forever);
        check(&[toleration("k", "Equal", "w", None)], Stay::Not);
        check(&[toleration("", "Exists", "", Some(30))], Stay::For(Duration::from_secs(30)));
        check(&[toleration("k", "Exists", "", Some(0))], Stay::Not);
        check(
            &[toleration("k", "Exists", "", Some(30)), toleration("k", "Equal", "v", Some(9))],
            Stay::For(Duration::from_secs(9)),
        );
        check(&[toleration("", "Equal", "v", None)], Stay::Not);
    }
}
