//! ValidatingAdmissionPolicy.
use super::super::metrics::{AdmissionMetrics, Check, INVALID, NO_ERROR, OUT_OF_BUDGET};
use super::super::webhook::conditions::aggregate;
use super::super::{Attributes, Operation, Plugin};
use super::compiled::{Source, Validation};
use super::{Due, World, is_exempt};
use async_trait::async_trait;
use knarr_api::cel::admission::{Budget, Composed, Matched};
use knarr_api::cel::eval::EvalError;
use knarr_api::cel::{BUDGET, Val};
use knarr_api::status::Status;
use serde_json::json;
use std::time::{Duration, Instant};

/// The most bytes of a message and of an audit annotation.
const MESSAGE: usize = 5 * 1024;
const ANNOTATION: usize = 10 * 1024;
const FAILURE_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";

/// The plugin.
pub struct Validating {
    world: World,
    source: Source,
}

impl Validating {
    /// The plugin.
    pub fn new(world: World) -> Self {
        let source = Source::new(&world, "validatingadmissionpolicies", "validatingadmissionpolicybindings");
        Self { world, source }
    }
}

/// What a policy has against a write.
struct Objection {
    policy: String,
    binding: String,
    message: String,
    reason: Option<String>,
    /// `Deny`, `Warn`, `Audit`: what follows. A failure of the policy follows them too.
    actions: Vec<String>,
    /// Position of the expression; 0 for failures.
    index: usize,
    /// What kind of failure it is, of the metrics' names.
    error: &'static str,
    /// How long it took to find out.
    took: Duration,
}

#[async_trait]
impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, _: Operation, attributes: &Attributes<'_>) -> bool {
        !is_exempt(attributes)
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let policies = self.source.policies();
        let mut objections = Vec::new();
        for policy in policies.iter() {
            let (due, failures) = self.world.due(policy, attributes).await;
            for failure in failures.iter().filter(|failure| !failure.policy.ignores_failure) {
                objections.push(Objection {
                    policy: policy.name.clone(),
                    binding: failure.binding.map(|binding| binding.name.clone()).unwrap_or_default(),
                    message: failure.text.clone(),
                    reason: None,
                    actions: vec!["Deny".to_owned()],
                    index: 0,
                    error: INVALID,
                    took: Duration::ZERO,
                });
            }
            for due in &due {
                let began = Instant::now();
                objections.extend(judge(due, attributes, &self.world.metrics));
                self.world.metrics.evaluated(began.elapsed());
            }
        }
        settle(objections, attributes, &self.world.metrics)
    }
}

/// Evaluates one policy under one binding with one object of parameters.
fn judge(due: &Due<'_>, attributes: &Attributes<'_>, metrics: &AdmissionMetrics) -> Vec<Objection> {
    let policy = due.policy;
    let mut began = Instant::now();
    let objection = |message: String, error: &'static str, index: usize, took: Duration| Objection {
        policy: policy.name.clone(),
        binding: due.binding.name.clone(),
        message,
        reason: None,
        actions: due.binding.actions.clone(),
        index,
        error,
        took,
    };
    let ignored = |error: &'static str, took: Duration| {
        let check = Check { policy: &policy.name, binding: &due.binding.name, error, took };
        metrics.checked(&check, "allow");
    };
    let variables = due.variables();
    match policy.conditions.evaluate(&variables) {
        Matched::Yes => {}
        Matched::No(_) => return Vec::new(),
        Matched::Unknown(_) if policy.ignores_failure => return Vec::new(),
        Matched::Unknown(faults) => {
            return vec![objection(aggregate(&faults), INVALID, 0, began.elapsed())];
        }
    }
    let mut budget = Budget::new(BUDGET);
    let mut found = Vec::new();
    for (index, validation) in policy.validations.iter().enumerate() {
        began = Instant::now();
        match budget.evaluate(&validation.program, &validation.text, &variables) {
            Ok(Val::Bool(true)) => {}
            Ok(_) => {
                let message = message(validation, &mut budget, &variables);
                let reason = validation.reason.clone();
                found.push(Objection { reason, ..objection(message, NO_ERROR, index, began.elapsed()) });
            }
            // What is too expensive fails as a whole.
            Err(error) if error.cancelled => {
                if policy.ignores_failure {
                    ignored(OUT_OF_BUDGET, began.elapsed());
                    return Vec::new();
                }
                return vec![objection(error.message, OUT_OF_BUDGET, 0, began.elapsed())];
            }
            Err(_) if policy.ignores_failure => ignored(INVALID, began.elapsed()),
            Err(error) => found.push(objection(error.message, INVALID, index, began.elapsed())),
        }
    }
    let mut budget = Budget::new(BUDGET);
    for (key, text, program) in &policy.annotations {
        let value = budget.evaluate(program, text, &variables);
        annotate(due, attributes, key, value, &mut |message| {
            if !policy.ignores_failure {
                found.push(objection(message, INVALID, 0, Duration::ZERO));
            }
        });
    }
    found
}

fn annotate(
    due: &Due<'_>,
    attributes: &Attributes<'_>,
    key: &str,
    value: Result<Val<'_>, EvalError>,
    failed: &mut dyn FnMut(String),
) {
    match value {
        Ok(Val::String(text)) => {
            let mut value = text.trim().to_owned();
            if value.len() > ANNOTATION {
                let end = (0..=ANNOTATION).rev().find(|at| value.is_char_boundary(*at)).unwrap_or_default();
                value.truncate(end);
            }
            if !value.is_empty() {
                attributes.notes.annotate(format!("{}/{key}", due.policy.name), value);
            }
        }
        Ok(Val::Null) => {}
        Ok(other) => failed(format!(
            "valueExpression resulted in unsupported return type: {}. Return type must be either string or null.",
            other.type_name()
        )),
        Err(error) => failed(error.message),
    }
}

/// What a refusal says: what the message expression makes, the message, or the expression.
fn message<'a>(validation: &'a Validation, budget: &mut Budget, variables: &Composed<'a>) -> String {
    let made = validation.make_message.as_ref().and_then(|(program, text)| {
        match budget.evaluate(program, text, variables) {
            Ok(Val::String(made)) => Some(made.trim().to_owned())
                .filter(|made| !made.is_empty() && made.len() <= MESSAGE && !made.contains('\n')),
            _ => None,
        }
    });
    made.unwrap_or_else(|| match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.text.trim()),
        message => message.to_owned(),
    })
}

/// Carries out what follows from objections.
fn settle(
    objections: Vec<Objection>,
    attributes: &Attributes<'_>,
    metrics: &AdmissionMetrics,
) -> Result<(), Status> {
    let mut refusal = None;
    let mut audited = Vec::new();
    for objection in objections {
        let Objection { policy, binding, message, reason, actions, index, error, took } = objection;
        let check = Check { policy: &policy, binding: &binding, error, took };
        for action in &actions {
            match action.as_str() {
                "Deny" => metrics.checked(&check, "deny"),
                "Warn" => metrics.checked(&check, "warn"),
                "Audit" => metrics.checked(&check, "audit"),
                _ => {}
            }
            match action.as_str() {
                "Deny" if refusal.is_none() => {
                    let what = match binding.as_str() {
                        "" => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
                        binding => format!(
                            "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"
                        ),
                    };
                    refusal = Some(attributes.refused(what, reason.as_deref().unwrap_or("Invalid")));
                }
                "Warn" => attributes.notes.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                )),
                "Audit" => audited.push(json!({"message": message, "policy": policy, "binding": binding,
                    "expressionIndex": index, "validationActions": actions})),
                _ => {}
            }
        }
    }
    if !audited.is_empty() {
        let failures = json!(audited).to_string();
        attributes.notes.annotate(FAILURE_KEY, failures);
    }
    refusal.map_or(Ok(()), Err)
}
