//! `pod_security_…`: the original's names and labels.
use super::policy::Policy;
use crate::admission::{Attributes, Operation};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvaluationLabels {
    decision: &'static str,
    mode: &'static str,
    policy_level: String,
    policy_version: String,
    request_operation: &'static str,
    resource: &'static str,
    subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    request_operation: &'static str,
    resource: &'static str,
    subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    fatal: &'static str,
    request_operation: &'static str,
    resource: &'static str,
    subresource: String,
}

/// All of them; clones count together.
#[derive(Clone, Debug, Default)]
pub struct PodSecurityMetrics {
    evaluations: Family<EvaluationLabels, Counter>,
    exemptions: Family<RequestLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
}

impl PodSecurityMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("pod_security_evaluations", "Pods that were judged", self.evaluations.clone());
        registry.register("pod_security_exemptions", "Pods that were not", self.exemptions.clone());
        registry.register("pod_security_errors", "Labels that could not be read", self.errors.clone());
    }

    /// A pod, or what makes pods, was judged by a policy.
    pub(super) fn evaluated(
        &self,
        attributes: &Attributes<'_>,
        mode: &'static str,
        policy: Policy,
        is_allowed: bool,
    ) {
        let RequestLabels { request_operation, resource, subresource } = labels(attributes);
        let told = policy.to_string();
        let (level, version) = told.split_once(':').unwrap_or((&told, ""));
        let labels = EvaluationLabels {
            decision: if is_allowed { "allow" } else { "deny" },
            mode,
            policy_level: level.to_owned(),
            policy_version: version.to_owned(),
            request_operation,
            resource,
            subresource,
        };
        self.evaluations.get_or_create(&labels).inc();
    }

    /// A write was exempt.
    pub(super) fn exempted(&self, attributes: &Attributes<'_>) {
        self.exemptions.get_or_create(&labels(attributes)).inc();
    }

    /// The labels of a namespace ask for nothing known, and the defaults took their place.
    pub(super) fn failed(&self, attributes: &Attributes<'_>) {
        let RequestLabels { request_operation, resource, subresource } = labels(attributes);
        let labels = ErrorLabels { fatal: "false", request_operation, resource, subresource };
        self.errors.get_or_create(&labels).inc();
    }
}

fn labels(attributes: &Attributes<'_>) -> RequestLabels {
    let request_operation = if attributes.operation == Operation::Create { "create" } else { "update" };
    let resource = if &*attributes.kind.plural == "pods" { "pod" } else { "controller" };
    RequestLabels { request_operation, resource, subresource: attributes.subresource.to_owned() }
}
