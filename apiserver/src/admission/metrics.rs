//! `apiserver_admission_…`: the original's names and labels.
use super::Operation;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

const SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    name: &'static str,
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

/// Times of admission; clones count together.
#[derive(Clone)]
pub struct AdmissionMetrics {
    controllers: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    steps: Family<StepLabels, Histogram, fn() -> Histogram>,
}

impl Default for AdmissionMetrics {
    fn default() -> Self {
        Self {
            controllers: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            steps: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

fn told(rejected: bool) -> &'static str {
    if rejected { "true" } else { "false" }
}

impl AdmissionMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_admission_controller_admission_duration_seconds",
            "Time that a plugin took",
            self.controllers.clone(),
        );
        registry.register(
            "apiserver_admission_step_admission_duration_seconds",
            "Time that all plugins of a step took",
            self.steps.clone(),
        );
    }

    /// A plugin was asked.
    pub fn plugin(
        &self,
        name: &'static str,
        kind: &'static str,
        operation: Operation,
        rejected: bool,
        took: Duration,
    ) {
        let labels =
            ControllerLabels { name, operation: operation.as_str(), rejected: told(rejected), r#type: kind };
        self.controllers.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// All of them were.
    pub fn step(&self, kind: &'static str, operation: Operation, rejected: bool, took: Duration) {
        let labels = StepLabels { operation: operation.as_str(), rejected: told(rejected), r#type: kind };
        self.steps.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
