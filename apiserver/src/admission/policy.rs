//! Admission policies: CEL expressions that check writes (`ValidatingAdmissionPolicy`) or change them
//! (`MutatingAdmissionPolicy`), put into force by bindings.
//!
//! Source: the pages "Validating Admission Policy" and "Mutating Admission Policy". Policies are compiled once a change
//! of any of them; what does not compile is a failure of the policy, which its `failurePolicy` decides.
mod compiled;
mod mutating;
mod params;
mod patch;
mod validating;

pub use mutating::{Invoked, Mutating};
pub use validating::Validating;

use super::expressions::Facts;
use super::webhook::matching::{self, Invocation};
use super::{AdmissionMetrics, Attributes};
use crate::authz::Authorizer;
use crate::objects::Objects;
use compiled::{Binding, Policy};
use knarr_api::Value;
use knarr_api::cel::admission::Composed;
use std::sync::Arc;

const GROUP: &str = "admissionregistration.k8s.io";
/// Policies and bindings, and questions about rights, are no business of policies.
const EXEMPT: [(&str, &str); 10] = [
    (GROUP, "validatingadmissionpolicies"),
    (GROUP, "validatingadmissionpolicybindings"),
    (GROUP, "mutatingadmissionpolicies"),
    (GROUP, "mutatingadmissionpolicybindings"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

fn is_exempt(attributes: &Attributes<'_>) -> bool {
    let (group, plural) = (&*attributes.kind.gvk.group, &*attributes.kind.plural);
    EXEMPT.contains(&(group, plural)) || attributes.is_own
}

/// What both plugins look things up in.
#[derive(Clone)]
pub struct World {
    /// Where policies, bindings, parameters and namespaces are looked up.
    pub objects: Arc<dyn Objects>,
    /// Answers what expressions ask of it.
    pub authorizer: Authorizer,
    /// Where checks are counted.
    pub metrics: AdmissionMetrics,
}

/// One evaluation that is due: a policy under a binding with one object of parameters.
struct Due<'p> {
    policy: &'p Policy,
    binding: &'p Binding,
    facts: Arc<Facts>,
    invocation: Arc<Invocation>,
    params: Option<Arc<Value>>,
}

/// What a policy could not do under a binding (none: under all).
struct Failure<'p> {
    policy: &'p Policy,
    binding: Option<&'p Binding>,
    text: String,
}

impl Due<'_> {
    /// The variables of the policy's expressions.
    fn variables(&self) -> Composed<'_> {
        self.policy.composition.over(self.facts.input(self.params.as_deref()))
    }
}

impl World {
    /// Everything that is due of one policy for a write, and what stands in the way of it.
    async fn due<'p>(
        &self,
        policy: &'p Policy,
        attributes: &Attributes<'_>,
    ) -> (Vec<Due<'p>>, Vec<Failure<'p>>) {
        let (mut due, mut failures) = (Vec::new(), Vec::new());
        let failure = |binding, text: String| Failure { policy, binding, text };
        if policy.bindings.is_empty() {
            return (due, failures);
        }
        let invocation = match matching::invocation(&*self.objects, &policy.criteria, attributes) {
            Ok(Some(invocation)) => Arc::new(invocation),
            Ok(None) => return (due, failures),
            Err(status) => return (due, vec![failure(None, status.message)]),
        };
        let mut facts: Option<Arc<Facts>> = None;
        for binding in &policy.bindings {
            match self.concerns(binding, attributes) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(text) => {
                    failures.push(failure(Some(binding), text));
                    continue;
                }
            }
            let found = params::find(&*self.objects, policy, binding, attributes).await;
            let found = match found {
                Ok(found) => found,
                Err(text) => {
                    failures.push(failure(Some(binding), format!("failed to configure binding: {text}")));
                    continue;
                }
            };
            for params in found {
                let facts = match &facts {
                    Some(facts) => facts.clone(),
                    None => match self.facts(attributes, &invocation).await {
                        Ok(made) => facts.insert(made).clone(),
                        Err(text) => {
                            failures.push(failure(Some(binding), text));
                            continue;
                        }
                    },
                };
                due.push(Due { policy, binding, facts, invocation: invocation.clone(), params });
            }
        }
        (due, failures)
    }

    /// What expressions see of a write as it is now.
    async fn facts(
        &self,
        attributes: &Attributes<'_>,
        invocation: &Invocation,
    ) -> Result<Arc<Facts>, String> {
        let facts = Facts::new(&*self.objects, &self.authorizer, attributes, invocation).await;
        facts.map(Arc::new).map_err(|status| status.message)
    }

    fn concerns(&self, binding: &Binding, attributes: &Attributes<'_>) -> Result<bool, String> {
        let Some(criteria) = &binding.criteria else { return Ok(true) };
        let found = matching::invocation(&*self.objects, criteria, attributes);
        found.map(|found| found.is_some()).map_err(|status| status.message)
    }
}
