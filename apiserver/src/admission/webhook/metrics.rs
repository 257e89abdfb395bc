//! `apiserver_admission_webhook_…`: the original's names and labels.
//!
//! Some counters of the original lack the suffix `_total`, which the library adds to every counter: they are gauges here
//! that only grow.
use super::super::Operation;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

const SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    name: String,
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    name: String,
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    error_type: &'static str,
    name: String,
    operation: &'static str,
    rejection_code: u16,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    kind: &'static str,
    name: String,
    operation: &'static str,
    r#type: &'static str,
}

/// What is counted of webhooks; clones count together.
#[derive(Clone)]
pub struct WebhookMetrics {
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    requests: Family<RequestLabels, Counter>,
    rejections: Family<RejectionLabels, Gauge>,
    open: Family<OpenLabels, Gauge>,
    condition_errors: Family<ConditionLabels, Counter>,
    condition_exclusions: Family<ConditionLabels, Counter>,
}

impl Default for WebhookMetrics {
    fn default() -> Self {
        Self {
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            requests: Family::default(),
            rejections: Family::default(),
            open: Family::default(),
            condition_errors: Family::default(),
            condition_exclusions: Family::default(),
        }
    }
}

/// One call that ended.
pub struct Observed<'a> {
    /// The webhook.
    pub name: &'a str,
    /// `admit` or `validating`.
    pub kind: &'static str,
    /// Of the write.
    pub operation: Operation,
    /// HTTP status of the call, or of the refusal.
    pub code: u16,
    /// The write does not pass; why, and with which code a webhook refused it.
    pub rejected: Option<(&'static str, u16)>,
}

fn condition(name: &str, kind: &'static str, operation: Operation) -> ConditionLabels {
    ConditionLabels { kind: "webhook", name: name.to_owned(), operation: operation.as_str(), r#type: kind }
}

impl WebhookMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_admission_webhook_admission_duration_seconds",
            "Time that admission webhooks took",
            self.durations.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_request",
            "Calls of admission webhooks",
            self.requests.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_rejection_count",
            "Writes that a webhook refused or its failure stopped",
            self.rejections.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_fail_open_count",
            "Failures of webhooks that were ignored",
            self.open.clone(),
        );
        registry.register(
            "apiserver_admission_match_condition_evaluation_errors",
            "Match conditions that could not be told",
            self.condition_errors.clone(),
        );
        registry.register(
            "apiserver_admission_match_condition_exclusions",
            "Writes that match conditions kept from a webhook",
            self.condition_exclusions.clone(),
        );
    }

    /// Counts a call.
    pub fn observe(&self, observed: Observed<'_>, took: Duration) {
        let Observed { name, kind, operation, code, rejected } = observed;
        let (name, operation) = (name.to_owned(), operation.as_str());
        let is_rejected = if rejected.is_some() { "true" } else { "false" };
        let labels = DurationLabels { name: name.clone(), operation, rejected: is_rejected, r#type: kind };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        let labels =
            RequestLabels { code, name: name.clone(), operation, rejected: is_rejected, r#type: kind };
        self.requests.get_or_create(&labels).inc();
        if let Some((error_type, rejection_code)) = rejected {
            let labels = RejectionLabels { error_type, name, operation, rejection_code, r#type: kind };
            self.rejections.get_or_create(&labels).inc();
        }
    }

    /// Counts a failure that was ignored.
    pub fn failed_open(&self, name: &str, kind: &'static str) {
        self.open.get_or_create(&OpenLabels { name: name.to_owned(), r#type: kind }).inc();
    }

    /// Counts a match condition that could not be told.
    pub fn condition_failed(&self, name: &str, kind: &'static str, operation: Operation) {
        self.condition_errors.get_or_create(&condition(name, kind, operation)).inc();
    }

    /// Counts a write that a match condition kept from a webhook.
    pub fn condition_excluded(&self, name: &str, kind: &'static str, operation: Operation) {
        self.condition_exclusions.get_or_create(&condition(name, kind, operation)).inc();
    }
}
