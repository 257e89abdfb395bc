//! Metrics in Prometheus' text form.

use axum::extract::State;
use axum::response::IntoResponse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::exposition::{Metric, TEXT};
use super::{Failure, Server, Shared, process};
use crate::labels;
use crate::metrics;
use crate::node::status::KUBELET_VERSION;
use crate::node::usage;
use crate::pod;
use crate::runtime::types::ContainerStats;
use crate::volumes::disk;

/// The kubelet's own metrics: what it has counted, and what is the case now.
pub async fn own(State(server): Shared) -> Result<impl IntoResponse, Failure> {
    let now = move || {
        let counted = metrics::own().exposition(|name| !name.starts_with("prober_"));
        counted + &gauges(&server) + &volumes(&server) + &process::exposition()
    };
    Ok((TEXT, tokio::task::spawn_blocking(now).await.map_err(Failure::internal)?))
}

/// Names, kinds of samples and their values.
fn gauge(name: &str, help: &str, samples: &[(&[(&str, &str)], f64)]) -> String {
    let mut metric = Metric::new(name, "gauge", help);
    for (labels, value) in samples {
        metric.sample(name, labels, *value);
    }
    metric.0
}

fn gauges(server: &Server) -> String {
    let pods = server.manager.pods();
    let running = pods.iter().filter(|pod| pod::phase(pod) == "Running").count();
    let count = |is_static: bool, active: bool| {
        let counts = |pod: &&Pod| pod::is_static(pod) == is_static && (!active || !pod::is_terminal(pod));
        pods.iter().filter(counts).count() as f64
    };
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let statuses = pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
    for state in statuses.filter_map(|status| status.state.as_ref()) {
        let state = if state.running.is_some() {
            "running"
        } else if state.terminated.is_some() {
            "exited"
        } else {
            "created"
        };
        *states.entry(state).or_default() += 1;
    }
    let mut containers =
        Metric::new("kubelet_running_containers", "gauge", "Number of containers currently running");
    for (state, count) in states {
        containers.sample("kubelet_running_containers", &[("container_state", state)], count as f64);
    }
    let node = server.manager.context().facts.name.as_str();
    let by_source: [&[(&str, &str)]; 2] = [&[("static", "")], &[("static", "true")]];
    let sources = |active| [(by_source[0], count(false, active)), (by_source[1], count(true, active))];
    let build = [("git_version", KUBELET_VERSION), ("major", "1"), ("minor", "36")];
    [
        gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox", &[(&[], running as f64)]),
        containers.0,
        gauge("kubelet_desired_pods", "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.", &sources(false)),
        gauge("kubelet_active_pods", "The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.", &sources(true)),
        gauge("kubelet_node_name", "The node's name. The count is always 1.", &[(&[("node", node)], 1.0)]),
        gauge("kubernetes_build_info", "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.", &[(&build, 1.0)]),
    ]
    .concat()
}

/// The space of claims' volumes.
fn volumes(server: &Server) -> String {
    const NAMES: [(&str, &str); 6] = [
        ("kubelet_volume_stats_available_bytes", "Number of available bytes in the volume"),
        ("kubelet_volume_stats_capacity_bytes", "Capacity in bytes of the volume"),
        ("kubelet_volume_stats_inodes", "Maximum number of inodes in the volume"),
        ("kubelet_volume_stats_inodes_free", "Number of free inodes in the volume"),
        ("kubelet_volume_stats_inodes_used", "Number of used inodes in the volume"),
        ("kubelet_volume_stats_used_bytes", "Number of used bytes in the volume"),
    ];
    let context = server.manager.context();
    let mut found: BTreeMap<(String, String), [f64; 6]> = BTreeMap::new();
    for pod in server.manager.pods().iter().filter(|pod| !pod::is_terminal(pod)) {
        for volume in pod::spec(pod).volumes.iter().flatten() {
            let Some(claim) = &volume.persistent_volume_claim else { continue };
            let path = disk::find(&context.pod_dir(pod::uid(pod)), &volume.name);
            let Some(stat) = path.and_then(|path| nix::sys::statvfs::statvfs(&path).ok()) else { continue };
            let bytes = |blocks: u64| (blocks * stat.fragment_size()) as f64;
            let (free, files) = (stat.files_free() as f64, stat.files() as f64);
            let used = bytes(stat.blocks().saturating_sub(stat.blocks_free()));
            let all = [bytes(stat.blocks_available()), bytes(stat.blocks()), files, free, files - free, used];
            found.insert((pod::namespace(pod).to_owned(), claim.claim_name.clone()), all);
        }
    }
    let mut out = String::new();
    for (index, (name, help)) in NAMES.iter().enumerate().filter(|_| !found.is_empty()) {
        let mut metric = Metric::new(name, "gauge", help);
        for ((namespace, claim), values) in &found {
            let labels = [("namespace", namespace.as_str()), ("persistentvolumeclaim", claim.as_str())];
            metric.sample(name, &labels, values[index]);
        }
        out += &metric.0;
    }
    out
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

/// Whether the checks of `/healthz` pass.
pub async fn slis(State(server): Shared) -> impl IntoResponse {
    let name = "kubernetes_healthcheck";
    let mut metric = Metric::new(name, "gauge", "This metric records the result of a single healthcheck.");
    for check in ["log", "ping", "syncloop"] {
        let passes = check != "syncloop" || server.is_in_step();
        metric.sample(name, &[("name", check), ("type", "healthz")], f64::from(u8::from(passes)));
    }
    (TEXT, metric.0)
}

/// What probes have found.
pub async fn probes() -> impl IntoResponse {
    (TEXT, metrics::own().exposition(|name| name.starts_with("prober_")))
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
