//! Metrics in Prometheus' text form.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::{Failure, Shared};
use crate::labels;
use crate::node::usage;
use crate::pod;
use crate::runtime::types::ContainerStats;

/// The answer's type.
const TEXT: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// One metric with its help, kind and samples.
struct Metric(String);

impl Metric {
    fn new(name: &str, kind: &str, help: &str) -> Self {
        Self(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"))
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

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

/// CPU and memory of containers, pods and node, for the metrics API.
pub async fn resource(State(server): Shared) -> Result<impl IntoResponse, Failure> {
    let stats = server.manager.context().runtime.list_container_stats().await.map_err(Failure::internal)?;
    let mut cpu = Metric::new(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut memory = Metric::new(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
    );
    for stat in &stats {
        each(stat, |labels, seconds, bytes| {
            cpu.sample("container_cpu_usage_seconds_total", labels, seconds);
            memory.sample("container_memory_working_set_bytes", labels, bytes);
        });
    }
    let node = usage::read();
    let name = "node_cpu_usage_seconds_total";
    let mut node_cpu =
        Metric::new(name, "counter", "Cumulative cpu time consumed by the node in core-seconds");
    node_cpu.sample(name, &[], node.cpu_nanoseconds as f64 / 1e9);
    let name = "node_memory_working_set_bytes";
    let mut node_memory = Metric::new(name, "gauge", "Current working set of the node in bytes");
    node_memory.sample(name, &[], node.memory_total.saturating_sub(node.memory_available) as f64);
    Ok((TEXT, [cpu.0, memory.0, node_cpu.0, node_memory.0].concat()))
}

/// Usage of containers under the names that cAdvisor gives it.
pub async fn cadvisor(State(server): Shared) -> Result<impl IntoResponse, Failure> {
    let stats = server.manager.context().runtime.list_container_stats().await.map_err(Failure::internal)?;
    let name = "container_cpu_usage_seconds_total";
    let mut cpu = Metric::new(name, "counter", "Cumulative cpu time consumed in seconds.");
    let name_memory = "container_memory_working_set_bytes";
    let mut memory = Metric::new(name_memory, "gauge", "Current working set in bytes.");
    for stat in &stats {
        each(stat, |labels, seconds, bytes| {
            cpu.sample(name, labels, seconds);
            memory.sample(name_memory, labels, bytes);
        });
    }
    Ok((TEXT, cpu.0 + &memory.0))
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
