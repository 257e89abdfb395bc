//! `apiserver_admission_…`: the original's names and labels.
use super::Operation;
use super::pod_security::PodSecurityMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    policy: String,
    policy_binding: String,
    error_type: &'static str,
    enforcement_action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MutationLabels {
    policy: String,
    policy_binding: String,
    error_type: &'static str,
}

/// The usual classes of times.
const EXPRESSION_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Nothing went wrong.
pub const NO_ERROR: &str = "no_error";
/// An expression failed.
pub const INVALID: &str = "invalid_error";
/// Expressions cost too much.
pub const OUT_OF_BUDGET: &str = "out_of_budget";

/// An evaluation of an expression of a policy.
pub struct Check<'a> {
    /// The policy.
    pub policy: &'a str,
    /// The binding; empty for failures of all.
    pub binding: &'a str,
    /// [`NO_ERROR`] and the like.
    pub error: &'static str,
    /// How long it took.
    pub took: Duration,
}

type Checks<L> = (Family<L, Counter>, Family<L, Histogram, fn() -> Histogram>);

/// Times of admission; clones count together.
#[derive(Clone)]
pub struct AdmissionMetrics {
    checks: Checks<CheckLabels>,
    mutations: Checks<MutationLabels>,
    controllers: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    steps: Family<StepLabels, Histogram, fn() -> Histogram>,
    compilations: Histogram,
    evaluations: Histogram,
    /// The Pod Security Standards.
    pub pod_security: PodSecurityMetrics,
}

impl Default for AdmissionMetrics {
    fn default() -> Self {
        fn checks() -> Histogram {
            Histogram::new([0.000_000_5, 0.001, 0.01, 0.1, 1.0])
        }
        Self {
            checks: (Family::default(), Family::new_with_constructor(checks)),
            mutations: (Family::default(), Family::new_with_constructor(checks)),
            controllers: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            steps: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            compilations: Histogram::new(EXPRESSION_SECONDS),
            evaluations: Histogram::new(EXPRESSION_SECONDS),
            pod_security: PodSecurityMetrics::default(),
        }
    }
}

fn told(rejected: bool) -> &'static str {
    if rejected { "true" } else { "false" }
}

impl AdmissionMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        self.register_policies(registry);
        self.pod_security.register(registry);
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
        registry.register(
            "apiserver_cel_compilation_duration_seconds",
            "Time that compiling the expressions of a policy took",
            self.compilations.clone(),
        );
        registry.register(
            "apiserver_cel_evaluation_duration_seconds",
            "Time that evaluating the expressions of a policy took",
            self.evaluations.clone(),
        );
    }

    /// The expressions of a policy were compiled.
    pub fn compiled(&self, took: Duration) {
        self.compilations.observe(took.as_secs_f64());
    }

    /// The expressions of a policy were evaluated for one write.
    pub fn evaluated(&self, took: Duration) {
        self.evaluations.observe(took.as_secs_f64());
    }

    fn register_policies(&self, registry: &mut Registry) {
        let text = "Checks by admission policies and what followed from them";
        let seconds = "Time that checks by admission policies took";
        registry.register("apiserver_validating_admission_policy_check", text, self.checks.0.clone());
        let name = "apiserver_validating_admission_policy_check_duration_seconds";
        registry.register(name, seconds, self.checks.1.clone());
        let text = "Changes by admission policies and how they ended";
        registry.register("apiserver_mutating_admission_policy_check", text, self.mutations.0.clone());
        let name = "apiserver_mutating_admission_policy_check_duration_seconds";
        registry.register(name, seconds, self.mutations.1.clone());
    }

    /// A validating policy decided: `deny`, `warn`, `audit`, or `allow` in spite of an error.
    pub fn checked(&self, check: &Check<'_>, action: &'static str) {
        let labels = CheckLabels {
            policy: check.policy.to_owned(),
            policy_binding: check.binding.to_owned(),
            error_type: check.error,
            enforcement_action: action,
        };
        self.checks.0.get_or_create(&labels).inc();
        self.checks.1.get_or_create(&labels).observe(check.took.as_secs_f64());
    }

    /// A mutating policy was carried out, or not.
    pub fn mutated(&self, check: &Check<'_>) {
        let labels = MutationLabels {
            policy: check.policy.to_owned(),
            policy_binding: check.binding.to_owned(),
            error_type: check.error,
        };
        self.mutations.0.get_or_create(&labels).inc();
        self.mutations.1.get_or_create(&labels).observe(check.took.as_secs_f64());
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
