//! `matchConditions`: CEL expressions that all must hold for a webhook to be called.
use super::super::Attributes;
use super::super::expressions::Facts;
use super::Caller;
use super::hooks::Hook;
use super::matching::Invocation;
use knarr_api::cel::admission::Matched;
use knarr_api::status::Status;

/// Do all conditions of a webhook hold?
///
/// # Errors
/// 403 where they cannot be told and the webhook's failures count.
pub async fn hold(
    caller: &Caller,
    hook: &Hook,
    invocation: &Invocation,
    attributes: &Attributes<'_>,
    phase: &'static str,
) -> Result<bool, Status> {
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    let facts = Facts::new(&*caller.objects, &caller.authorizer, attributes, invocation).await?;
    match hook.conditions.evaluate(&facts.input(None)) {
        Matched::Yes => Ok(true),
        Matched::No(_) => {
            caller.metrics.condition_excluded(&hook.name, phase, attributes.operation);
            Ok(false)
        }
        Matched::Unknown(faults) => {
            caller.metrics.condition_failed(&hook.name, phase, attributes.operation);
            if hook.ignores_failure { Ok(false) } else { Err(attributes.forbidden(aggregate(&faults))) }
        }
    }
}

/// Several faults as one text.
pub fn aggregate(faults: &[String]) -> String {
    match faults {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}
