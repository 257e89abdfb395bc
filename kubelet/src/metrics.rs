//! What the kubelet counts of its own work, under the original's names.
//!
//! Counters belong to the process: whoever does the work counts it here, and `server/metrics.rs` shows it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;

/// What kind of metric it is, with the bounds of a histogram in seconds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Histogram(&'static [f64]),
}

/// Bounds of Prometheus' clients.
const COMMON: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of calls to the runtime.
const CALLS: &[f64] = &[
    0.005,
    0.0125,
    0.03125,
    0.078125,
    0.1953125,
    0.48828125,
    1.220703125,
    3.0517578125,
    7.62939453125,
    19.073486328125,
    47.6837158203125,
    119.20928955078125,
    298.0232238769531,
    745.0580596923828,
];
/// Bounds of the starts of pods.
const STARTS: &[f64] = &[
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

/// Counters of the whole process. The variant names the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Evictions,
    HttpRequests,
    HttpRequestSeconds,
    ImageVolumeErrors,
    ImageVolumesMounted,
    ImageVolumesRequested,
    PlegRelistSeconds,
    PodStartSeconds,
    PodWorkerSeconds,
    Preemptions,
    ProbeSeconds,
    Probes,
    RuntimeErrors,
    RuntimeOperations,
    RuntimeSeconds,
    StartedContainerErrors,
    StartedContainers,
    StartedPodErrors,
    StartedPods,
    StartedUserNamespacedPodErrors,
    StartedUserNamespacedPods,
}

/// Counters without labels, which are there from the beginning.
const UNLABELLED: [Name; 7] = [
    Name::ImageVolumeErrors,
    Name::ImageVolumesMounted,
    Name::ImageVolumesRequested,
    Name::StartedPodErrors,
    Name::StartedPods,
    Name::StartedUserNamespacedPodErrors,
    Name::StartedUserNamespacedPods,
];

impl Name {
    fn describe(self) -> (&'static str, Kind, &'static str) {
        use Kind::{Counter, Histogram};
        match self {
            Self::Evictions => {
                ("kubelet_evictions", Counter, "Cumulative number of pod evictions by eviction signal")
            }
            Self::HttpRequests => (
                "kubelet_http_requests_total",
                Counter,
                "Number of the http requests received since the server started",
            ),
            Self::HttpRequestSeconds => (
                "kubelet_http_requests_duration_seconds",
                Histogram(COMMON),
                "Duration in seconds to serve http requests",
            ),
            Self::ImageVolumeErrors => (
                "kubelet_image_volume_mounted_errors_total",
                Counter,
                "Number of failed image volume mounts.",
            ),
            Self::ImageVolumesMounted => (
                "kubelet_image_volume_mounted_succeed_total",
                Counter,
                "Number of successful image volume mounts.",
            ),
            Self::ImageVolumesRequested => {
                ("kubelet_image_volume_requested_total", Counter, "Number of requested image volumes.")
            }
            Self::PlegRelistSeconds => (
                "kubelet_pleg_relist_duration_seconds",
                Histogram(COMMON),
                "Duration in seconds for relisting pods in PLEG.",
            ),
            Self::PodStartSeconds => (
                "kubelet_pod_start_duration_seconds",
                Histogram(STARTS),
                "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
            ),
            Self::PodWorkerSeconds => (
                "kubelet_pod_worker_duration_seconds",
                Histogram(COMMON),
                "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync",
            ),
            Self::Preemptions => (
                "kubelet_preemptions",
                Counter,
                "Cumulative number of pod preemptions by preemption resource",
            ),
            Self::ProbeSeconds => (
                "prober_probe_duration_seconds",
                Histogram(COMMON),
                "Duration in seconds for a probe response.",
            ),
            Self::Probes => (
                "prober_probe_total",
                Counter,
                "Cumulative number of a liveness, readiness or startup probe for a container by result.",
            ),
            Self::RuntimeErrors => (
                "kubelet_runtime_operations_errors_total",
                Counter,
                "Cumulative number of runtime operation errors by operation type.",
            ),
            Self::RuntimeOperations => (
                "kubelet_runtime_operations_total",
                Counter,
                "Cumulative number of runtime operations by operation type.",
            ),
            Self::RuntimeSeconds => (
                "kubelet_runtime_operations_duration_seconds",
                Histogram(CALLS),
                "Duration in seconds of runtime operations. Broken down by operation type.",
            ),
            Self::StartedContainerErrors => (
                "kubelet_started_containers_errors_total",
                Counter,
                "Cumulative number of errors when starting containers",
            ),
            Self::StartedContainers => {
                ("kubelet_started_containers_total", Counter, "Cumulative number of containers started")
            }
            Self::StartedPodErrors => (
                "kubelet_started_pods_errors_total",
                Counter,
                "Cumulative number of errors when starting pods",
            ),
            Self::StartedPods => ("kubelet_started_pods_total", Counter, "Cumulative number of pods started"),
            Self::StartedUserNamespacedPodErrors => (
                "kubelet_started_user_namespaced_pods_errors_total",
                Counter,
                "Cumulative number of errors when starting pods with user namespaces.",
            ),
            Self::StartedUserNamespacedPods => (
                "kubelet_started_user_namespaced_pods_total",
                Counter,
                "Cumulative number of pods with user namespaces started.",
            ),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Series {
    count: f64,
    sum: f64,
    buckets: Vec<u64>,
}

/// Label names and values, as they are written.
type Labels = String;

/// Metrics with their series.
#[derive(Debug)]
pub struct Metrics(Mutex<BTreeMap<Name, BTreeMap<Labels, Series>>>);

impl Default for Metrics {
    fn default() -> Self {
        let zero = || BTreeMap::from([(Labels::new(), Series::default())]);
        Self(Mutex::new(UNLABELLED.into_iter().map(|name| (name, zero())).collect()))
    }
}

static OWN: LazyLock<Metrics> = LazyLock::new(Metrics::default);

/// Those of this process.
pub fn own() -> &'static Metrics {
    &OWN
}

/// Counts something that has happened.
pub fn count(name: Name, labels: &[(&str, &str)]) {
    OWN.count(name, labels);
}

/// Forgets what was counted of a pod.
pub fn forget(uid: &str) {
    OWN.forget(uid);
}

/// Notes how long something took.
pub fn observe(name: Name, labels: &[(&str, &str)], time: Duration) {
    OWN.observe(name, labels, time);
}

fn written(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
}

impl Metrics {
    fn count(&self, name: Name, labels: &[(&str, &str)]) {
        self.0.lock().entry(name).or_default().entry(written(labels)).or_default().count += 1.0;
    }

    fn observe(&self, name: Name, labels: &[(&str, &str)], time: Duration) {
        let (_, Kind::Histogram(bounds), _) = name.describe() else { return };
        let mut all = self.0.lock();
        let series = all.entry(name).or_default().entry(written(labels)).or_default();
        series.buckets.resize(bounds.len(), 0);
        let seconds = time.as_secs_f64();
        (series.count, series.sum) = (series.count + 1.0, series.sum + seconds);
        for (bucket, _) in series.buckets.iter_mut().zip(bounds).filter(|(_, bound)| seconds <= **bound) {
            *bucket += 1;
        }
    }

    fn forget(&self, uid: &str) {
        let own = written(&[("pod_uid", uid)]);
        for series in self.0.lock().values_mut() {
            series.retain(|labels, _| !labels.contains(&own));
        }
    }

    /// The text of those metrics that are wanted.
    pub fn exposition(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut out = String::new();
        for (name, all) in self.0.lock().iter() {
            let (name, kind, help) = name.describe();
            if !wanted(name) {
                continue;
            }
            let word = if matches!(kind, Kind::Counter) { "counter" } else { "histogram" };
            out += &format!("# HELP {name} {help}\n# TYPE {name} {word}\n");
            for (labels, series) in all {
                out += &text(name, kind, labels, series);
            }
        }
        out
    }
}

fn text(name: &str, kind: Kind, labels: &str, series: &Series) -> String {
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let Kind::Histogram(bounds) = kind else { return format!("{name}{braces} {}\n", series.count) };
    let comma = if labels.is_empty() { "" } else { "," };
    let mut out = String::new();
    for (bound, count) in bounds.iter().zip(&series.buckets) {
        out += &format!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}\n");
    }
    out += &format!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}\n", series.count);
    out + &format!("{name}_sum{braces} {}\n{name}_count{braces} {}\n", series.sum, series.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_histograms() {
        let metrics = Metrics::default();
        metrics.count(Name::StartedPods, &[]);
        metrics.count(Name::StartedPods, &[]);
        metrics.observe(Name::RuntimeSeconds, &[("operation_type", "version")], Duration::from_millis(10));
        metrics.observe(Name::RuntimeSeconds, &[("operation_type", "version")], Duration::from_secs(1000));
        let text = metrics.exposition(|_| true);
        for line in [
            "kubelet_started_user_namespaced_pods_errors_total 0",
            "# TYPE kubelet_started_pods_total counter",
            "kubelet_started_pods_total 2",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"version\",le=\"0.005\"} 0",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"version\",le=\"0.0125\"} 1",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"version\",le=\"+Inf\"} 2",
            "kubelet_runtime_operations_duration_seconds_sum{operation_type=\"version\"} 1000.01",
            "kubelet_runtime_operations_duration_seconds_count{operation_type=\"version\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert_eq!(metrics.exposition(|name| name.starts_with("prober")), "");
        metrics.count(Name::Probes, &[("container", "c"), ("pod_uid", "u")]);
        assert!(metrics.exposition(|_| true).contains("pod_uid=\"u\""));
        metrics.forget("u");
        assert!(!metrics.exposition(|_| true).contains("pod_uid=\"u\""));
    }
}
