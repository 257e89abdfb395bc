//! Admission webhooks: servers of the user's that change or refuse writes (`MutatingWebhookConfiguration`,
//! `ValidatingWebhookConfiguration`).
//!
//! Source: the page "Dynamic Admission Control"; order, texts and codes are the original's. Changing webhooks are called
//! one after the other in the order of their configurations' names, checking ones all at once.
//!
//! **What no webhook sees**: webhook configurations and admission policies, so that a broken one can always be removed,
//! as in the original; and what this server writes by itself (its bootstrap, and the removal of objects whose
//! definition is deleted), so that a dead webhook never keeps a cluster from starting.
pub(super) mod call;
pub(super) mod conditions;
pub(super) mod credentials;
pub(super) mod hooks;
pub(super) mod matching;
mod metrics;
pub(super) mod mutate;
pub(super) mod review;

pub use metrics::WebhookMetrics;

use super::{Attributes, Operation, Plugin};
use crate::authz::Authorizer;
use crate::objects::Objects;
use crate::outbound::Outbound;
use async_trait::async_trait;
use call::Failure;
use credentials::Credentials;
use futures::future::join_all;
use hooks::{Hook, Source};
use knarr_api::Value;
use knarr_api::status::Status;
use matching::Invocation;
use std::collections::BTreeSet;
use std::sync::Arc;

const GROUP: &str = "admissionregistration.k8s.io";

/// What both plugins call webhooks with.
#[derive(Clone)]
pub struct Caller {
    /// Where configurations, namespaces and Services are looked up.
    pub objects: Arc<dyn Objects>,
    /// Makes the connections.
    pub outbound: Arc<Outbound>,
    /// Counts and times.
    pub metrics: WebhookMetrics,
    /// Answers what match conditions ask of it.
    pub authorizer: Authorizer,
    /// What webhooks are shown.
    pub credentials: Arc<Credentials>,
}

/// What is remembered from the first round of a write for the second.
#[derive(Clone, Debug, Default)]
pub struct Invoked {
    /// Webhooks called since the last change that ask to be called again after a change.
    eager: BTreeSet<Arc<str>>,
    /// Those that a later change concerns.
    due: BTreeSet<Arc<str>>,
    /// The object as the first round left it.
    output: Option<Value>,
}

impl Invoked {
    /// The object was changed: whoever saw it before and asked for it sees it again.
    fn changed(&mut self) {
        self.due.append(&mut self.eager);
    }
}

/// Kinds that are never sent to a webhook.
fn is_exempt(attributes: &Attributes<'_>) -> bool {
    let kind = &attributes.kind.gvk;
    &*kind.group == GROUP
        && matches!(
            &*kind.kind,
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
        || attributes.is_own
}

/// MutatingAdmissionWebhook.
pub struct Mutating {
    caller: Caller,
    source: Source,
}

/// ValidatingAdmissionWebhook.
pub struct Validating {
    caller: Caller,
    source: Source,
}

impl Mutating {
    /// The plugin.
    pub fn new(caller: Caller) -> Self {
        Self { source: Source::new(caller.objects.clone(), "mutatingwebhookconfigurations"), caller }
    }

    /// Calls one webhook of a round and notes what follows for the others.
    async fn invoke(
        &self,
        attributes: &mut Attributes<'_>,
        hook: &Hook,
        invocation: &Invocation,
    ) -> Result<(), Status> {
        let outcome = mutate::call(&self.caller, attributes, hook, invocation).await;
        if let Ok(true) = outcome {
            attributes.reinvocation.webhooks.changed();
            attributes.reinvocation.wanted = true;
        }
        if hook.reinvoke {
            attributes.reinvocation.webhooks.eager.insert(hook.uid.clone());
        }
        match outcome {
            Ok(_) => Ok(()),
            Err(Failure::Call { text, .. }) if hook.ignores_failure => {
                tracing::warn!(webhook = hook.name, error = text, "webhook failed and is ignored");
                let round = usize::from(attributes.reinvocation.is_second);
                let place = format!(
                    "failed-open.mutation.webhook.admission.k8s.io/round_{round}_index_{}",
                    hook.index
                );
                attributes.notes.annotate(place, &*hook.name);
                self.caller.metrics.failed_open(&hook.name, "admit");
                Ok(())
            }
            Err(failure) => Err(failure.into_status()),
        }
    }
}

#[async_trait]
impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn handles(&self, _: Operation, attributes: &Attributes<'_>) -> bool {
        !is_exempt(attributes)
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let hooks = self.source.hooks();
        if hooks.is_empty() {
            return Ok(());
        }
        let again = attributes.reinvocation.is_second;
        if again && attributes.reinvocation.webhooks.output != attributes.object {
            // A plugin of the server changed it in between.
            attributes.reinvocation.webhooks.changed();
        }
        for hook in hooks.iter() {
            let Some(invocation) = matching::invocation(&*self.caller.objects, &hook.criteria, attributes)?
            else {
                continue;
            };
            if !conditions::hold(&self.caller, hook, &invocation, attributes, "admit").await? {
                continue;
            }
            // What was not called in the first round is not called in the second.
            if again && !attributes.reinvocation.webhooks.due.contains(&hook.uid) {
                continue;
            }
            self.invoke(attributes, hook, &invocation).await?;
        }
        if !again {
            attributes.reinvocation.webhooks.output = attributes.object.clone();
        }
        Ok(())
    }
}

impl Validating {
    /// The plugin.
    pub fn new(caller: Caller) -> Self {
        Self { source: Source::new(caller.objects.clone(), "validatingwebhookconfigurations"), caller }
    }
}

#[async_trait]
impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, _: Operation, attributes: &Attributes<'_>) -> bool {
        !is_exempt(attributes)
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let hooks = self.source.hooks();
        let mut relevant = Vec::new();
        for hook in hooks.iter() {
            let Some(invocation) = matching::invocation(&*self.caller.objects, &hook.criteria, attributes)?
            else {
                continue;
            };
            if conditions::hold(&self.caller, hook, &invocation, attributes, "validating").await? {
                relevant.push((hook, invocation));
            }
        }
        let calls = relevant.iter().map(|(hook, invocation)| self.check(attributes, hook, invocation));
        join_all(calls).await.into_iter().collect()
    }
}

impl Validating {
    async fn check(
        &self,
        attributes: &Attributes<'_>,
        hook: &Hook,
        invocation: &Invocation,
    ) -> Result<(), Status> {
        match call::call(&self.caller, attributes, hook, invocation, false).await {
            Ok(_) => Ok(()),
            Err(Failure::Call { text, .. }) if hook.ignores_failure => {
                tracing::warn!(webhook = hook.name, error = text, "webhook failed and is ignored");
                let key =
                    format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{}", hook.index);
                attributes.notes.annotate(key, &*hook.name);
                self.caller.metrics.failed_open(&hook.name, "validating");
                Ok(())
            }
            Err(failure) => Err(failure.into_status()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_calls_those_that_came_before() {
        let mut invoked = Invoked::default();
        invoked.changed();
        assert!(invoked.due.is_empty());
        invoked.eager.insert("a".into());
        invoked.changed();
        invoked.eager.insert("b".into());
        assert!(invoked.due.contains("a") && !invoked.due.contains("b"));
    }
}
