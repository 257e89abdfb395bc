//! `matchConditions`: CEL expressions that all must hold for a webhook to be called.
use super::super::Attributes;
use super::Caller;
use super::hooks::Hook;
use super::matching::Invocation;
use knarr_api::status::Status;

/// Do all conditions of a webhook hold? **Limit**: expressions are not evaluated yet, so a webhook with conditions fails
/// by its failure policy, as it does when an expression fails.
///
/// # Errors
/// 403 where they cannot be told and the webhook's failures count.
pub async fn hold(
    caller: &Caller,
    hook: &Hook,
    _invocation: &Invocation,
    attributes: &Attributes<'_>,
    phase: &'static str,
) -> Result<bool, Status> {
    let Some((name, _)) = hook.conditions.first() else { return Ok(true) };
    caller.metrics.condition_failed(&hook.name, phase, attributes.operation);
    if hook.ignores_failure {
        return Ok(false);
    }
    Err(attributes
        .forbidden(format!("match condition {name:?}: expressions are not evaluated by this server")))
}
