//! Conditions of workloads: one trait over the many types of them.

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSetCondition, DeploymentCondition, ReplicaSetCondition, StatefulSetCondition},
        batch::v1::JobCondition,
        core::v1::{NamespaceCondition, ReplicationControllerCondition},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// A condition in an object's status.
pub(crate) trait Condition: Clone {
    /// A condition that changed now; `status` is `True`, `False` or `Unknown`.
    fn new(kind: &str, status: &str, reason: &str, message: &str, now: &Time) -> Self;
    fn kind(&self) -> &str;
    fn status(&self) -> &str;
    fn reason(&self) -> &str;
    fn message(&self) -> &str;
    fn changed(&self) -> Option<&Time>;
    fn set_changed(&mut self, time: Option<Time>);

    fn is_true(&self) -> bool {
        self.status() == "True"
    }
}

macro_rules! condition {
    ($($type:ident { $($extra:ident),* }),* $(,)?) => {$(
        impl Condition for $type {
            fn new(kind: &str, status: &str, reason: &str, message: &str, now: &Time) -> Self {
                Self {
                    type_: kind.to_string(),
                    status: status.to_string(),
                    reason: Some(reason.to_string()),
                    message: Some(message.to_string()),
                    last_transition_time: Some(now.clone()),
                    $($extra: Some(now.clone()),)*
                }
            }
            fn kind(&self) -> &str { &self.type_ }
            fn status(&self) -> &str { &self.status }
            fn reason(&self) -> &str { self.reason.as_deref().unwrap_or_default() }
            fn message(&self) -> &str { self.message.as_deref().unwrap_or_default() }
            fn changed(&self) -> Option<&Time> { self.last_transition_time.as_ref() }
            fn set_changed(&mut self, time: Option<Time>) { self.last_transition_time = time; }
        }
    )*};
}

condition! {
    DaemonSetCondition {},
    DeploymentCondition { last_update_time },
    JobCondition { last_probe_time },
    NamespaceCondition {},
    ReplicaSetCondition {},
    ReplicationControllerCondition {},
    StatefulSetCondition {},
}

/// The condition of a kind.
pub(crate) fn find<'a, C: Condition>(conditions: Option<&'a Vec<C>>, kind: &str) -> Option<&'a C> {
    conditions?.iter().find(|condition| condition.kind() == kind)
}

/// Whether a condition is there and true.
pub(crate) fn is_true<C: Condition>(conditions: Option<&Vec<C>>, kind: &str) -> bool {
    find(conditions, kind).is_some_and(Condition::is_true)
}

/// Sets a condition unless one with the same status and reason is there; keeps the time of the
/// last transition while the status stays.
pub(crate) fn set<C: Condition>(conditions: &mut Option<Vec<C>>, mut new: C) {
    if let Some(old) = find(conditions.as_ref(), new.kind()) {
        if old.status() == new.status() && old.reason() == new.reason() {
            return;
        }
        if old.status() == new.status() {
            new.set_changed(old.changed().cloned());
        }
    }
    remove(conditions, new.kind());
    conditions.get_or_insert_default().push(new);
}

/// Removes a condition.
pub(crate) fn remove<C: Condition>(conditions: &mut Option<Vec<C>>, kind: &str) {
    if let Some(list) = conditions {
        list.retain(|condition| condition.kind() != kind);
        if list.is_empty() {
            *conditions = None;
        }
    }
}
