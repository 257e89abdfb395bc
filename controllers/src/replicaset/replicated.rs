//! What ReplicaSets and ReplicationControllers have in common.

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{
            PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
            ReplicationControllerStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
};
use serde::Serialize;

use crate::{
    conditions::{self, Condition},
    control::Managed,
};

/// What the status reports.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    pub terminating: i32,
    /// Why pods could not be created or deleted.
    pub failure: Option<String>,
}

/// A kind that keeps a number of equal pods.
pub(super) trait Replicated: Managed + Serialize {
    /// The wanted number of pods.
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> LabelSelector;
    fn template(&self) -> Option<PodTemplateSpec>;
    /// The object with the status that was observed, or `None` when it has it already.
    fn with_status(&self, observed: &Observed, now: &Time) -> Option<Self>;
}

/// Keeps the failure condition while it lasts.
fn failure_condition<C: Condition>(
    conditions: &mut Option<Vec<C>>,
    observed: &Observed,
    wanted: i32,
    now: &Time,
) {
    match &observed.failure {
        None => conditions::remove(conditions, "ReplicaFailure"),
        Some(message) => {
            let reason = if observed.replicas < wanted { "FailedCreate" } else { "FailedDelete" };
            conditions::set(conditions, C::new("ReplicaFailure", "True", reason, message, now));
        }
    }
}

impl Replicated for ReplicaSet {
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn selector(&self) -> LabelSelector {
        self.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default()
    }

    fn template(&self) -> Option<PodTemplateSpec> {
        self.spec.as_ref()?.template.clone()
    }

    fn with_status(&self, observed: &Observed, now: &Time) -> Option<Self> {
        let old = self.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.clone();
        failure_condition::<ReplicaSetCondition>(&mut conditions, observed, self.replicas(), now);
        let status = ReplicaSetStatus {
            replicas: observed.replicas,
            fully_labeled_replicas: Some(observed.fully_labeled).filter(|n| *n != 0),
            ready_replicas: Some(observed.ready).filter(|n| *n != 0),
            available_replicas: Some(observed.available).filter(|n| *n != 0),
            terminating_replicas: Some(observed.terminating),
            observed_generation: self.metadata.generation,
            conditions,
        };
        (status != old).then(|| Self { status: Some(status), ..self.clone() })
    }
}

impl Replicated for ReplicationController {
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn selector(&self) -> LabelSelector {
        let labels = self.spec.as_ref().and_then(|spec| spec.selector.clone());
        LabelSelector { match_labels: labels, match_expressions: None }
    }

    fn template(&self) -> Option<PodTemplateSpec> {
        self.spec.as_ref()?.template.clone()
    }

    fn with_status(&self, observed: &Observed, now: &Time) -> Option<Self> {
        let old = self.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.clone();
        failure_condition::<ReplicationControllerCondition>(&mut conditions, observed, self.replicas(), now);
        let status = ReplicationControllerStatus {
            replicas: observed.replicas,
            fully_labeled_replicas: Some(observed.fully_labeled).filter(|n| *n != 0),
            ready_replicas: Some(observed.ready).filter(|n| *n != 0),
            available_replicas: Some(observed.available).filter(|n| *n != 0),
            observed_generation: self.metadata.generation,
            conditions,
        };
        (status != old).then(|| Self { status: Some(status), ..self.clone() })
    }
}
