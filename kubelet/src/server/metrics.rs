//! Metrics in Prometheus' text form.

use axum::extract::State;
use axum::response::IntoResponse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::exposition::{Metric, TEXT};
use super::{Failure, Server, Shared};
use crate::labels;
use crate::node::usage;
use crate::pod;
use crate::runtime::types::ContainerStats;

/// The kubelet's own metrics.
pub async fn own(State(server): Shared) -> impl IntoResponse {
    let pods = server.manager.pods();
    let running = pods.iter().filter(|pod| pod::phase(pod) == "Running").count();
    let name = "kubelet_running_pods";
    let mut metric = Metric::new(name, "gauge", "Number of pods that have a running pod sandbox");
    metric.sample(name, &[], running as f64);
    let name = "kubelet_node_name";
    let mut node = Metric::new(name, "gauge", "The node's name. The count is always 1.");
    node.sample(name, &[("node", &server.manager.context().facts.name)], 1.0);
    (TEXT, metric.0 + &node.0)
}

/// CPU and memory of containers, pods and node, as metrics servers ask for them.
pub async fn resource(State(server): Shared) -> Result<impl IntoResponse, Failure> {
    let stats = server.manager.context().runtime.list_container_stats().await.map_err(Failure::internal)?;
    // What has ended uses nothing.
    let used: Vec<Used> =
        stats.iter().filter(|stat| stat.cpu.is_some()).filter_map(|stat| used(&server, stat)).collect();
    let now = Timestamp::now().as_millisecond();
    Ok((TEXT, exposition(&used, &usage::read(), now)))
}

/// What one container used.
struct Used {
    container: String,
    namespace: String,
    pod: String,
    /// Seconds since the epoch.
    started: Option<f64>,
    cpu_seconds: f64,
    bytes: f64,
    /// Milliseconds since the epoch.
    at: i64,
}

fn used(server: &Server, stat: &ContainerStats) -> Option<Used> {
    let mut found = None;
    each(stat, |labels, cpu_seconds, bytes| {
        let text = |at: usize| labels[at].1.to_owned();
        let at = stat.cpu.as_ref().map_or(0, |cpu| cpu.timestamp / 1_000_000);
        found = Some(Used {
            container: text(0),
            namespace: text(1),
            pod: text(2),
            started: None,
            cpu_seconds,
            bytes,
            at,
        });
    });
    let mut used = found?;
    let of_pod = |pod: &&Pod| pod::name(pod) == used.pod && pod::namespace(pod) == used.namespace;
    let pods = server.manager.pods();
    let status = pods.iter().find(of_pod).and_then(|pod| pod.status.as_ref());
    let statuses = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let running = statuses
        .filter(|status| status.name == used.container)
        .find_map(|status| status.state.as_ref()?.running.as_ref()?.started_at.as_ref());
    used.started = running.map(|time| time.0.as_millisecond() as f64 / 1e3);
    Some(used)
}

/// The text of `/metrics/resource`.
fn exposition(used: &[Used], node: &usage::Usage, now: i64) -> String {
    type Value = fn(&Used) -> Option<f64>;
    const CONTAINERS: [(&str, &str, &str, Value); 3] = [
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the container in core-seconds",
            |used| Some(used.cpu_seconds),
        ),
        (
            "container_memory_working_set_bytes",
            "gauge",
            "Current working set of the container in bytes",
            |used| Some(used.bytes),
        ),
        (
            "container_start_time_seconds",
            "gauge",
            "Start time of the container since unix epoch in seconds",
            |used| used.started,
        ),
    ];
    let mut out = String::new();
    for (name, kind, help, value) in CONTAINERS {
        let mut metric = Metric::new(name, kind, help);
        for one in used {
            let labels = [("container", &*one.container), ("namespace", &*one.namespace), ("pod", &*one.pod)];
            if let Some(value) = value(one) {
                metric.sample_at(name, &labels, value, one.at);
            }
        }
        out += &metric.0;
    }
    let mut pods: BTreeMap<(&str, &str), (f64, f64)> = BTreeMap::new();
    for one in used {
        let sums = pods.entry((&one.namespace, &one.pod)).or_default();
        *sums = (sums.0 + one.cpu_seconds, sums.1 + one.bytes);
    }
    let (cpu, memory) = ("pod_cpu_usage_seconds_total", "pod_memory_working_set_bytes");
    let mut pod_cpu = Metric::new(cpu, "counter", "Cumulative cpu time consumed by the pod in core-seconds");
    let mut pod_memory = Metric::new(memory, "gauge", "Current working set of the pod in bytes");
    for ((namespace, pod), (seconds, bytes)) in pods {
        let labels = [("namespace", namespace), ("pod", pod)];
        pod_cpu.sample_at(cpu, &labels, seconds, now);
        pod_memory.sample_at(memory, &labels, bytes, now);
    }
    let (cpu, memory) = ("node_cpu_usage_seconds_total", "node_memory_working_set_bytes");
    let mut node_cpu =
        Metric::new(cpu, "counter", "Cumulative cpu time consumed by the node in core-seconds");
    node_cpu.sample_at(cpu, &[], node.cpu_nanoseconds as f64 / 1e9, now);
    let mut node_memory = Metric::new(memory, "gauge", "Current working set of the node in bytes");
    let working = node.memory_total.saturating_sub(node.memory_available);
    node_memory.sample_at(memory, &[], working as f64, now);
    let failed = "resource_scrape_error";
    let mut errors =
        Metric::new(failed, "gauge", "1 if there was an error while getting container metrics, 0 otherwise");
    errors.sample(failed, &[], 0.0);
    [out, pod_cpu.0, pod_memory.0, node_cpu.0, node_memory.0, errors.0].concat()
}

fn each(stat: &ContainerStats, mut with: impl FnMut(&[(&str, &str)], f64, f64)) {
    let Some(attributes) = &stat.attributes else { return };
    let label = |key: &str| attributes.labels.get(key).map(String::as_str).unwrap_or_default();
    let name = attributes.metadata.as_ref().map(|metadata| metadata.name.as_str()).unwrap_or_default();
    let labels =
        [("container", name), ("namespace", label(labels::POD_NAMESPACE)), ("pod", label(labels::POD_NAME))];
    let cpu = stat.cpu.as_ref().and_then(|cpu| cpu.usage_core_nano_seconds.as_ref());
    let memory = stat.memory.as_ref().and_then(|memory| memory.working_set_bytes.as_ref());
    let (cpu, memory) = (cpu.map_or(0, |value| value.value), memory.map_or(0, |value| value.value));
    with(&labels, cpu as f64 / 1e9, memory as f64);
}

/// Whether containers are ready, by pod.
pub async fn probes(State(server): Shared) -> impl IntoResponse {
    let name = "prober_probe_ready";
    let mut metric = Metric::new(name, "gauge", "Whether a container counts as ready.");
    for pod in server.manager.pods() {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        for status in statuses.into_iter().flatten() {
            let labels = [
                ("container", status.name.as_str()),
                ("namespace", pod::namespace(&pod)),
                ("pod", pod::name(&pod)),
            ];
            metric.sample(name, &labels, f64::from(u8::from(status.ready)));
        }
    }
    (TEXT, metric.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_told_with_its_time() {
        let used = |container: &str, cpu_seconds: f64| Used {
            container: container.into(),
            namespace: "n".into(),
            pod: "p".into(),
            started: (container == "a").then_some(5.5),
            cpu_seconds,
            bytes: 1024.0,
            at: 7,
        };
        let node = usage::Usage {
            cpu_nanoseconds: 2_500_000_000,
            memory_total: 10,
            memory_available: 4,
            ..Default::default()
        };
        let text = exposition(&[used("a", 1.5), used("b", 0.25)], &node, 9);
        for line in [
            "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 1.5 7",
            "container_memory_working_set_bytes{container=\"b\",namespace=\"n\",pod=\"p\"} 1024 7",
            "container_start_time_seconds{container=\"a\",namespace=\"n\",pod=\"p\"} 5.5 7",
            "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 1.75 9",
            "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 2048 9",
            "node_cpu_usage_seconds_total 2.5 9",
            "node_memory_working_set_bytes 6 9",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("container_start_time_seconds{container=\"b\""));
    }
}
