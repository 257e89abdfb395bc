//! What the scheduler tells of itself, by the original's names, labels and buckets.
//!
//! Source: the page "Kubernetes Metrics Reference" of v1.36.
use knarr_component::metrics::Buckets;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

type Histograms<L> = Family<L, Histogram, Buckets>;

const ATTEMPT: Buckets = Buckets::exponential(0.001, 2.0, 15);
const WHOLE: Buckets = Buckets::exponential(0.01, 2.0, 20);
const TRIES: Buckets = Buckets::exponential(1.0, 2.0, 5);
const VICTIMS: Buckets = Buckets::exponential(1.0, 2.0, 7);
const POINT: Buckets = Buckets::exponential(0.0001, 2.0, 12);
const PLUGIN: Buckets = Buckets::exponential(0.00001, 1.5, 20);

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pod was bound.
    Scheduled,
    /// No node fits.
    Unschedulable,
    /// Something went wrong.
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    profile: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Incoming {
    event: &'static str,
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    attempts: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Point {
    extension_point: &'static str,
    profile: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    extension_point: &'static str,
    plugin: &'static str,
    status: &'static str,
}

/// How long a part of an attempt took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// The extension point, such as `Filter`.
    pub point: &'static str,
    /// The plugin, where it was one alone.
    pub plugin: Option<&'static str>,
    /// What came of it: `Success`, `Skip`, `Unschedulable`, `UnschedulableAndUnresolvable`, `Error`.
    pub status: &'static str,
    /// How long it took.
    pub time: Duration,
}

struct Families {
    attempts: Family<Attempt, Counter>,
    attempt: Histograms<Attempt>,
    algorithm: Histogram,
    incoming: Family<Incoming, Counter>,
    whole: Histograms<Attempts>,
    tries: Histogram,
    points: Histograms<Point>,
    plugins: Histograms<Plugin>,
    preemptions: Counter,
    victims: Histogram,
}

/// The figures of a scheduler; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Families {
            attempts: Family::default(),
            attempt: Family::new_with_constructor(ATTEMPT),
            algorithm: ATTEMPT.new_metric(),
            incoming: Family::default(),
            whole: Family::new_with_constructor(WHOLE),
            tries: TRIES.new_metric(),
            points: Family::new_with_constructor(POINT),
            plugins: Family::new_with_constructor(PLUGIN),
            preemptions: Counter::default(),
            victims: VICTIMS.new_metric(),
        }))
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let all = &*self.0;
        let text = "Number of attempts to schedule pods, by the result";
        registry.register("scheduler_schedule_attempts", text, all.attempts.clone());
        let text = "Scheduling attempt latency in seconds (scheduling algorithm + binding)";
        registry.register("scheduler_scheduling_attempt_duration_seconds", text, all.attempt.clone());
        let text = "Scheduling algorithm latency in seconds";
        registry.register("scheduler_scheduling_algorithm_duration_seconds", text, all.algorithm.clone());
        let text = "Number of pods added to scheduling queues by event and queue type";
        registry.register("scheduler_queue_incoming_pods", text, all.incoming.clone());
        let text = "E2e latency for a pod being scheduled, from its first entry into the queue";
        registry.register("scheduler_pod_scheduling_sli_duration_seconds", text, all.whole.clone());
        let text = "Number of attempts to successfully schedule a pod";
        registry.register("scheduler_pod_scheduling_attempts", text, all.tries.clone());
        let text = "Latency for running all plugins of a specific extension point";
        registry.register("scheduler_framework_extension_point_duration_seconds", text, all.points.clone());
        let text = "Duration for running a plugin at a specific extension point";
        registry.register("scheduler_plugin_execution_duration_seconds", text, all.plugins.clone());
        let text = "Total preemption attempts in the cluster till now";
        registry.register("scheduler_preemption_attempts", text, all.preemptions.clone());
        registry.register(
            "scheduler_preemption_victims",
            "Number of selected preemption victims",
            all.victims.clone(),
        );
    }

    /// An attempt for a pod of this profile has ended.
    pub fn attempted(&self, profile: &str, outcome: Outcome, took: Duration) {
        let labels = Attempt { profile: profile.to_owned(), result: outcome.label() };
        self.0.attempts.get_or_create(&labels).inc();
        self.0.attempt.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A pod was bound after so many tries and this time in the queue.
    pub fn placed(&self, tries: u32, waited: Duration) {
        self.0.tries.observe(f64::from(tries));
        let attempts = if tries >= 15 { "15+".to_owned() } else { tries.to_string() };
        self.0.whole.get_or_create(&Attempts { attempts }).observe(waited.as_secs_f64());
    }

    /// A pod came into a queue because of an event.
    pub fn incoming(&self, event: &'static str, queue: &'static str) {
        self.0.incoming.get_or_create(&Incoming { event, queue }).inc();
    }

    /// A node was looked for, which took so long in all, with these parts.
    pub fn decided(&self, profile: &str, took: Duration, parts: &[Took]) {
        self.0.algorithm.observe(took.as_secs_f64());
        parts.iter().for_each(|part| self.took(profile, *part));
    }

    /// A part of an attempt took its time.
    pub fn took(&self, profile: &str, Took { point, plugin, status, time }: Took) {
        let histogram = match plugin {
            Some(plugin) => {
                self.0.plugins.get_or_create_owned(&Plugin { extension_point: point, plugin, status })
            }
            None => {
                let profile = profile.to_owned();
                self.0.points.get_or_create_owned(&Point { extension_point: point, profile, status })
            }
        };
        histogram.observe(time.as_secs_f64());
    }

    /// Room was looked for, and found by these many victims.
    pub fn preempted(&self, victims: Option<usize>) {
        self.0.preemptions.inc();
        if let Some(victims) = victims {
            // No list of pods comes near the limit.
            self.0.victims.observe(victims as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_the_originals_names() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let second = Duration::from_secs(1);
        metrics.attempted("default-scheduler", Outcome::Unschedulable, second);
        metrics.placed(20, second);
        metrics.incoming("UnschedulablePodAdd", "active");
        let part = Took { point: "Filter", plugin: Some("NodeName"), status: "Success", time: second };
        metrics.decided("p", second, &[part, Took { plugin: None, ..part }]);
        metrics.preempted(Some(3));
        metrics.preempted(None);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"scheduler_schedule_attempts_total{profile="default-scheduler",result="unschedulable"} 1"#,
            r#"scheduler_pod_scheduling_sli_duration_seconds_count{attempts="15+"} 1"#,
            r#"scheduler_pod_scheduling_attempts_bucket{le="16.0"} 0"#,
            r#"scheduler_queue_incoming_pods_total{event="UnschedulablePodAdd",queue="active"} 1"#,
            r#"scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",profile="p",status="Success"} 1"#,
            r#"scheduler_plugin_execution_duration_seconds_count{extension_point="Filter",plugin="NodeName",status="Success"} 1"#,
            "scheduler_preemption_attempts_total 2",
            "scheduler_preemption_victims_sum 3.0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
}
