//! One call of one webhook.
use super::super::Attributes;
use super::Caller;
use super::hooks::Hook;
use super::matching::Invocation;
use super::metrics::Observed;
use super::review::{self, Fault, Seen, Verdict};
use crate::outbound::{Post, internal};
use knarr_api::Value;
use knarr_api::status::Status;
use std::time::Instant;

/// The largest answer of a webhook, in bytes: several times the largest object, for a patch is encoded twice.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why a write does not pass a webhook.
#[derive(Debug)]
pub enum Failure {
    /// The webhook could not be asked or made no sense: its failure policy decides.
    Call {
        /// What failed, with the webhook's name.
        text: String,
        /// HTTP status of the call, for the metrics.
        code: u16,
    },
    /// It said no.
    Refused(Status),
    /// The write cannot be brought before it, or its change not carried out.
    Other(Status),
}

impl Failure {
    pub(super) fn call(hook: &Hook, why: impl std::fmt::Display, code: u16) -> Self {
        Self::Call { text: format!("failed calling webhook {:?}: {why}", hook.name), code }
    }

    /// As the client sees it.
    pub fn into_status(self) -> Status {
        match self {
            Self::Call { text, .. } => internal(&text),
            Self::Refused(status) | Self::Other(status) => status,
        }
    }
}

/// Asks a webhook; returns what it decided and the objects it saw.
///
/// # Errors
/// Its refusal, or its failure.
pub async fn call(
    caller: &Caller,
    attributes: &Attributes<'_>,
    hook: &Hook,
    invocation: &Invocation,
    mutating: bool,
) -> Result<(Verdict, Seen), Failure> {
    let started = Instant::now();
    let outcome = ask(caller, attributes, hook, invocation, mutating).await;
    let (code, rejected) = match &outcome {
        Ok(_) => (200, None),
        Err(Failure::Call { code, .. }) if hook.ignores_failure => (*code, None),
        Err(Failure::Call { code, .. }) => (*code, Some(("calling_webhook_error", 0))),
        Err(Failure::Refused(status)) => (200, Some(("no_error", status.code))),
        Err(Failure::Other(status)) => (status.code, Some(("apiserver_internal_error", 500))),
    };
    let kind = if mutating { "admit" } else { "validating" };
    let observed = Observed { name: &hook.name, kind, operation: attributes.operation, code, rejected };
    caller.metrics.observe(observed, started.elapsed());
    outcome
}

async fn ask(
    caller: &Caller,
    attributes: &Attributes<'_>,
    hook: &Hook,
    invocation: &Invocation,
    mutating: bool,
) -> Result<(Verdict, Seen), Failure> {
    if attributes.dry_run && !hook.allows_dry_run {
        let text = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Failure::Other(Status::bad_request(text)));
    }
    let seen = Seen {
        object: converted(attributes, invocation, attributes.object.as_ref()).await?,
        old: converted(attributes, invocation, attributes.old.as_ref()).await?,
    };
    let version = hook.review_version.ok_or_else(|| {
        let text = "could not create admission objects: webhook does not accept known AdmissionReview versions \
                    (v1, v1beta1)";
        Failure::call(hook, text, 400)
    })?;
    let endpoint = hook.endpoint.as_ref();
    let endpoint = endpoint
        .map_err(|text| Failure::call(hook, format_args!("could not get REST client: {text}"), 400))?;
    let shown = caller.credentials.of(endpoint);
    let uid = uuid::Uuid::new_v4().to_string();
    let authorization = shown.and_then(|shown| shown.authorization.as_ref()).map(|header| header.get());
    let post = Post {
        body: review::request(version, &uid, attributes, invocation, &seen),
        timeout: hook.timeout,
        limit: MAX_ANSWER,
        agent: "kube-apiserver-admission",
        tell_timeout: true,
        authorization: authorization.as_deref(),
    };
    let answer = match shown.and_then(|shown| shown.outbound.as_ref()) {
        Some(outbound) => {
            let mut endpoint = endpoint.clone();
            endpoint.trust.identified = true;
            outbound.post(&endpoint, post).await
        }
        None => caller.outbound.post(endpoint, post).await,
    };
    let answer = answer.map_err(|error| {
        Failure::call(hook, format_args!("failed to call webhook: {error}"), error.code.unwrap_or(503))
    })?;
    let verdict = review::verify(version, &uid, mutating, &answer).map_err(|fault| match fault {
        Fault::Unreadable(text) => Failure::call(hook, format_args!("failed to call webhook: {text}"), 503),
        Fault::Invalid(text) => {
            Failure::call(hook, format_args!("received invalid webhook response: {text}"), 503)
        }
        Fault::PatchType(text) => Failure::call(hook, text, 400),
        Fault::Patch(text) => Failure::Other(internal(&text)),
    })?;
    for (key, value) in &verdict.annotations {
        attributes.notes.annotate(format!("{}/{key}", hook.name), value);
    }
    verdict.warnings.iter().for_each(|text| attributes.notes.warn(text));
    if verdict.allowed {
        Ok((verdict, seen))
    } else {
        Err(Failure::Refused(review::refusal(&hook.name, &verdict.status)))
    }
}

/// An object in the version the webhook asked for.
pub async fn converted(
    attributes: &Attributes<'_>,
    invocation: &Invocation,
    object: Option<&Value>,
) -> Result<Option<Value>, Failure> {
    let Some(object) = object else { return Ok(None) };
    match (&invocation.row, &attributes.siblings) {
        (Some(row), Some(siblings)) => {
            let converted = siblings.to_version(object.clone(), row).await;
            converted.map(Some).map_err(|status| Failure::Other(internal(&status.message)))
        }
        _ => Ok(Some(object.clone())),
    }
}
