//! Status and conditions of a Deployment: is it available, and does its rollout move?

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::rollout::{World, available, max_unavailable, replicas, size};
use crate::{
    conditions::{self, Condition},
    meta::name,
};

const PROGRESSING: &str = "Progressing";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The progress deadline; the largest number stands for none.
fn deadline(deployment: &Deployment) -> Option<i32> {
    let seconds = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    seconds.filter(|seconds| *seconds != i32::MAX)
}

pub(super) fn has_deadline(deployment: &Deployment) -> bool {
    deadline(deployment).is_some()
}

fn progressing(deployment: &Deployment) -> Option<&DeploymentCondition> {
    conditions::find(deployment.status.as_ref()?.conditions.as_ref(), PROGRESSING)
}

fn set_progressing(deployment: &mut Deployment, status: &str, reason: &str, message: &str, now: &Time) {
    let conditions = &mut deployment.status.get_or_insert_default().conditions;
    conditions::set(conditions, DeploymentCondition::new(PROGRESSING, status, reason, message, now));
}

/// Conditions after noting a pause or its end: the deadline does not run meanwhile.
pub(super) fn pause(deployment: &Deployment, paused: bool, now: &Time) -> Option<Vec<DeploymentCondition>> {
    let mut copy = Deployment { status: deployment.status.clone(), ..Default::default() };
    let reason = progressing(deployment).map(Condition::reason).unwrap_or_default();
    if has_deadline(deployment) && reason != TIMED_OUT {
        if paused && reason != PAUSED {
            set_progressing(&mut copy, "Unknown", PAUSED, "Deployment is paused", now);
        } else if !paused && reason == PAUSED {
            set_progressing(&mut copy, "Unknown", "DeploymentResumed", "Deployment is resumed", now);
        }
    }
    copy.status.and_then(|status| status.conditions)
}

/// Notes that a ReplicaSet of the template existed.
pub(super) fn found_new(deployment: &mut Deployment, new: &ReplicaSet, now: &Time) {
    if has_deadline(deployment) && progressing(deployment).is_none() {
        let text = format!("Found new replica set {:?}", name(&new.metadata));
        set_progressing(deployment, "True", "FoundNewReplicaSet", &text, now);
    }
}

/// Notes that a ReplicaSet of the template was created.
pub(super) fn created_new(deployment: &mut Deployment, new: &ReplicaSet, now: &Time) {
    if has_deadline(deployment) {
        let text = format!("Created new replica set {:?}", name(&new.metadata));
        set_progressing(deployment, "True", "NewReplicaSetCreated", &text, now);
    }
}

/// Whether all pods are of the current template, available, and none is left over.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = Some(replicas(deployment));
    let or_zero = |count: Option<i32>| Some(count.unwrap_or_default());
    or_zero(status.updated_replicas) == wanted
        && or_zero(status.replicas) == wanted
        && or_zero(status.available_replicas) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Whether more is done than before.
fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let leftover = |status: &DeploymentStatus| {
        status.replicas.unwrap_or_default() - status.updated_replicas.unwrap_or_default()
    };
    new.updated_replicas.unwrap_or_default() > old.updated_replicas.unwrap_or_default()
        || leftover(new) < leftover(old)
        || new.ready_replicas.unwrap_or_default() > old.ready_replicas.unwrap_or_default()
        || new.available_replicas.unwrap_or_default() > old.available_replicas.unwrap_or_default()
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(condition) = conditions::find(status.conditions.as_ref(), PROGRESSING) else { return false };
    match condition.reason() {
        NEW_AVAILABLE => false,
        TIMED_OUT => true,
        _ => time_left(deployment, condition, now).is_some_and(|left| left <= SignedDuration::ZERO),
    }
}

fn time_left(
    deployment: &Deployment,
    condition: &DeploymentCondition,
    now: Timestamp,
) -> Option<SignedDuration> {
    let from = condition.last_update_time.as_ref()?.0;
    Some(SignedDuration::from_secs(i64::from(deadline(deployment)?)) - now.duration_since(from))
}

/// When to look again whether the deadline has passed.
pub(super) fn until_deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let condition = conditions::find(status.conditions.as_ref(), PROGRESSING)?;
    if is_complete(deployment, status) || condition.reason() == TIMED_OUT {
        return None;
    }
    let left = time_left(deployment, condition, now)?;
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}

impl World {
    /// Counts and availability.
    pub(super) fn status(&self) -> DeploymentStatus {
        let sum = |count: &dyn Fn(&ReplicaSet) -> i32| self.all().map(count).sum::<i32>();
        let status = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
        let positive = |count: i32| Some(count).filter(|count| *count != 0);
        let old = self.deployment.status.clone().unwrap_or_default();
        let available = sum(&available);
        let wanted = replicas(&self.deployment);
        let mut conditions = old.conditions;
        let enough = available >= wanted - max_unavailable(&self.deployment);
        let (state, reason, text) = if enough {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        let condition = DeploymentCondition::new("Available", state, reason, text, &self.time());
        conditions::set(&mut conditions, condition);
        let terminating =
            self.all().map(|set| status(set).terminating_replicas).collect::<Option<Vec<i32>>>();
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: positive(sum(&|set| status(set).replicas)),
            updated_replicas: self.new.as_ref().and_then(|new| positive(status(new).replicas)),
            ready_replicas: positive(sum(&|set| status(set).ready_replicas.unwrap_or_default())),
            available_replicas: positive(available),
            unavailable_replicas: positive((sum(&size) - available).max(0)),
            terminating_replicas: terminating.map(|all| all.into_iter().sum()),
            collision_count: old.collision_count,
            conditions,
        }
    }

    /// The status with the conditions of a rollout.
    pub(super) fn rollout_status(&self) -> DeploymentStatus {
        let mut status = self.status();
        let current = progressing(&self.deployment).cloned();
        if !has_deadline(&self.deployment) {
            conditions::remove(&mut status.conditions, PROGRESSING);
        }
        let was_complete = status.replicas == status.updated_replicas
            && current.as_ref().is_some_and(|condition| condition.reason() == NEW_AVAILABLE);
        if has_deadline(&self.deployment) && !was_complete {
            self.note_progress(&mut status, current.as_ref());
        }
        self.note_failures(&mut status);
        status
    }

    fn note_progress(&self, status: &mut DeploymentStatus, current: Option<&DeploymentCondition>) {
        let subject = match &self.new {
            Some(new) => format!("ReplicaSet {:?}", name(&new.metadata)),
            None => format!("Deployment {:?}", name(&self.deployment.metadata)),
        };
        let new = |state: &str, reason: &str, text: &str| {
            DeploymentCondition::new(PROGRESSING, state, reason, &format!("{subject} {text}"), &self.time())
        };
        let old = self.deployment.status.clone().unwrap_or_default();
        if is_complete(&self.deployment, status) {
            conditions::set(
                &mut status.conditions,
                new("True", NEW_AVAILABLE, "has successfully progressed."),
            );
        } else if has_progressed(&old, status) {
            let mut condition = new("True", "ReplicaSetUpdated", "is progressing.");
            if let Some(current) = current.filter(|current| current.is_true()) {
                condition.last_transition_time = current.last_transition_time.clone();
            }
            // Removed first, so that each step of progress renews the time of the update.
            conditions::remove(&mut status.conditions, PROGRESSING);
            conditions::set(&mut status.conditions, condition);
        } else if has_timed_out(&self.deployment, status, self.now) {
            conditions::set(&mut status.conditions, new("False", TIMED_OUT, "has timed out progressing."));
        }
    }

    /// Shows why pods of a ReplicaSet could not be created, of the new one first.
    fn note_failures(&self, status: &mut DeploymentStatus) {
        conditions::remove(&mut status.conditions, "ReplicaFailure");
        let failing = self.new.iter().chain(&self.old).find_map(|set| {
            conditions::find(set.status.as_ref()?.conditions.as_ref(), "ReplicaFailure").cloned()
        });
        if let Some(failing) = failing {
            status.conditions.get_or_insert_default().push(DeploymentCondition {
                type_: failing.type_,
                status: failing.status,
                reason: failing.reason,
                message: failing.message,
                last_transition_time: failing.last_transition_time.clone(),
                last_update_time: failing.last_transition_time,
            });
        }
    }
}
