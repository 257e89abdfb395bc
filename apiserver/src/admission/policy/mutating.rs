//! MutatingAdmissionPolicy.
use super::super::metrics::{Check, INVALID, NO_ERROR};
use super::super::webhook::conditions::aggregate;
use super::super::webhook::mutate::back;
use super::super::{Attributes, Operation, Plugin};
use super::compiled::Source;
use super::{Due, World, is_exempt, patch};
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::cel::BUDGET;
use knarr_api::cel::admission::{Budget, Matched};
use knarr_api::status::Status;
use std::collections::BTreeSet;
use std::time::Instant;

/// The plugin.
pub struct Mutating {
    world: World,
    source: Source,
}

/// What is remembered from the first round of a write for the second.
#[derive(Clone, Debug, Default)]
pub struct Invoked {
    /// Policies carried out since the last change that ask to be carried out again after a change.
    eager: BTreeSet<String>,
    /// Those that a later change concerns.
    due: BTreeSet<String>,
    /// The object as the first round left it.
    output: Option<Value>,
}

impl Invoked {
    fn changed(&mut self) {
        self.due.append(&mut self.eager);
    }
}

impl Mutating {
    /// The plugin.
    pub fn new(world: World) -> Self {
        let source = Source::new(&world, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        Self { world, source }
    }
}

#[async_trait]
impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        // There is nothing to change in what is deleted.
        operation != Operation::Delete && !is_exempt(attributes)
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let policies = self.source.policies();
        if policies.is_empty() {
            return Ok(());
        }
        let again = attributes.reinvocation.is_second;
        if again && attributes.reinvocation.policies.output != attributes.object {
            attributes.reinvocation.policies.changed();
        }
        for policy in policies.iter() {
            if again && !attributes.reinvocation.policies.due.contains(&policy.name) {
                continue;
            }
            let (due, failures) = self.world.due(policy, attributes).await;
            if let Some(failure) = failures.iter().find(|failure| !failure.policy.ignores_failure) {
                let binding = failure.binding.map(|binding| binding.name.as_str()).unwrap_or_default();
                return Err(refuse(attributes, &policy.name, binding, &failure.text));
            }
            let count = due.len();
            for due in due {
                // What is due was decided before; each sees what the one before it made of the object.
                match self.world.facts(attributes, &due.invocation).await {
                    Ok(facts) => self.carry_out(attributes, &Due { facts, ..due }).await?,
                    Err(text) => failed(attributes, &due, &text)?,
                }
            }
            if policy.reinvoke && count > 0 {
                attributes.reinvocation.policies.eager.insert(policy.name.clone());
            }
        }
        attributes.reinvocation.policies.output = attributes.object.clone();
        Ok(())
    }
}

impl Mutating {
    async fn carry_out(&self, attributes: &mut Attributes<'_>, due: &Due<'_>) -> Result<(), Status> {
        let began = Instant::now();
        let outcome = mutated(attributes, due);
        self.world.metrics.evaluated(began.elapsed());
        self.world.metrics.mutated(&Check {
            policy: &due.policy.name,
            binding: &due.binding.name,
            error: if outcome.is_ok() { NO_ERROR } else { INVALID },
            took: began.elapsed(),
        });
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(object)) => {
                let object = back(attributes, &due.invocation, object).await?;
                if attributes.object.as_ref() != Some(&object) {
                    attributes.object = Some(object);
                    attributes.reinvocation.policies.changed();
                    attributes.reinvocation.wanted = true;
                }
                Ok(())
            }
            Err(text) => failed(attributes, due, &text),
        }
    }
}

/// What a policy's failure means: a refusal unless the policy ignores failures.
fn failed(attributes: &Attributes<'_>, due: &Due<'_>, text: &str) -> Result<(), Status> {
    if due.policy.ignores_failure {
        tracing::warn!(policy = due.policy.name, error = text, "admission policy failed and is ignored");
        return Ok(());
    }
    Err(refuse(attributes, &due.policy.name, &due.binding.name, text))
}

fn refuse(attributes: &Attributes<'_>, policy: &str, binding: &str, text: &str) -> Status {
    let with = if binding.is_empty() { String::new() } else { format!(" with binding '{binding}'") };
    attributes.refused(format!("policy '{policy}'{with} denied request: {text}"), "Invalid")
}

/// The object after all mutations of a policy, in the version that the policy sees; none where nothing changes.
fn mutated(attributes: &Attributes<'_>, due: &Due<'_>) -> Result<Option<Value>, String> {
    let Some(mut object) = due.facts.object.clone() else { return Ok(None) };
    match due.policy.conditions.evaluate(&due.variables()) {
        Matched::Yes => {}
        Matched::No(_) => return Ok(None),
        Matched::Unknown(faults) => return Err(aggregate(&faults)),
    }
    let mut budget = Budget::new(BUDGET);
    for mutation in &due.policy.mutations {
        let before = object;
        let mut input = due.facts.input(due.params.as_deref());
        input.object = Some(&before);
        let variables = due.policy.composition.over(input);
        let value = budget.evaluate(&mutation.program, &mutation.text, &variables);
        let value = value.map_err(|error| error.message)?;
        let after = patch::change(attributes, &due.invocation, mutation, &before, &value);
        object = after?;
    }
    Ok((due.facts.object.as_ref() != Some(&object)).then_some(object))
}
