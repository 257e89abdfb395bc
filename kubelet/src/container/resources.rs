//! Requests and limits as the kernel takes them.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pod::{self, Qos};
use crate::runtime::types::{HugepageLimit, LinuxContainerResources};

/// The smallest weight the kernel accepts.
pub const MIN_SHARES: i64 = 2;
/// The largest weight the kernel accepts.
pub const MAX_SHARES: i64 = 262_144;
/// Length of the accounting period of CPU quotas, in microseconds.
pub const CPU_PERIOD: i64 = 100_000;
/// The smallest quota the kernel accepts, in microseconds.
const MIN_QUOTA: i64 = 1000;

/// CPU weight of so many thousandths of a CPU.
pub fn cpu_shares(milli: i64) -> i64 {
    (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CPU time per period for so many thousandths of a CPU, in microseconds.
pub fn cpu_quota(milli: i64) -> i64 {
    (milli * CPU_PERIOD / 1000).max(MIN_QUOTA)
}

/// Limits of a container: its own, or those of the whole pod. `node_memory` in bytes decides how soon a burstable one dies.
pub fn container(pod: &Pod, container: &Container, node_memory: i64) -> LinuxContainerResources {
    let limit =
        |resource| pod::limit_milli(container, resource).or_else(|| pod::whole_limit_milli(pod, resource));
    let cpu_limit = limit("cpu");
    let memory_limit = limit("memory").map(|milli| milli / 1000);
    let mut resources = LinuxContainerResources {
        cpu_shares: cpu_shares(pod::request_milli(container, "cpu").unwrap_or_default()),
        memory_limit_in_bytes: memory_limit.unwrap_or_default(),
        oom_score_adj: oom_score_adj(pod, container, node_memory),
        ..Default::default()
    };
    if let Some(limit) = cpu_limit {
        resources.cpu_quota = cpu_quota(limit);
        resources.cpu_period = CPU_PERIOD;
    }
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    for (name, quantity) in limits.into_iter().flatten() {
        // The API writes `hugepages-2Mi`, the kernel `2MB`.
        if let Some(size) = name.strip_prefix("hugepages-") {
            let limit = u64::try_from(pod::value(quantity)).unwrap_or_default();
            resources
                .hugepage_limits
                .push(HugepageLimit { page_size: format!("{}B", size.trim_end_matches('i')), limit });
        }
    }
    resources
}

/// How readily the kernel kills the container when memory runs out, from -997 (last) to 1000 (first).
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i64 {
    // Critical pods are spared like guaranteed ones.
    if pod::has_system_priority(pod) {
        return -997;
    }
    match pod::qos(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = pod::request_milli(container, "memory").unwrap_or_default() / 1000;
            let share = i128::from(request) * 1000 / i128::from(node_memory.max(1));
            (1000 - i64::try_from(share).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let check = |resources: &str, expected: (i64, i64, i64, i64)| {
            let pod =
                pod::tests::pod(&format!("{{spec: {{containers: [{{name: a, resources: {resources}}}]}}}}"));
            let made = container(&pod, &pod::containers(&pod)[0], 1000 << 20);
            let got = (made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes, made.oom_score_adj);
            assert_eq!(got, expected, "{resources}");
        };
        check("{}", (2, 0, 0, 1000));
        check("{requests: {cpu: 250m, memory: 100Mi}}", (256, 0, 0, 900));
        check("{limits: {cpu: 500m, memory: 64Mi}}", (512, 50_000, 64 << 20, -997));
        check("{limits: {cpu: 1m}}", (2, 1000, 0, 999));
        check("{requests: {memory: 1000Mi}}", (2, 0, 0, 3));
    }
}
