//! Rules of single kinds. The registry is generic; a kind with rules of its own implements [`Strategy`], whose
//! methods all have defaults, and is listed in [`RULES`] together with what is plain data about it.
mod admission_policy;
mod api_service;
pub(crate) mod certificate;
pub(crate) mod crd;
mod daemon_set;
mod deployment;
mod endpoint_slice;
mod job;
mod limit_range;
pub(crate) mod namespace;
mod node;
mod persistent_volume;
pub(crate) mod pod;
pub(crate) mod qos;
mod resource_claim;
mod secret;
mod service;
mod service_account;
mod table;

pub use table::{CUSTOM, RULES, Rules, rules};

use crate::registry::Registry;
use crate::registry::object;
use crate::storage::{Guard, Write};
use crate::user::User;
use knarr_api::Value;
use knarr_api::field::ErrorList;
use knarr_api::kind::Kind;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use std::sync::Arc;

/// The circumstances of one write.
pub struct Scene<'a> {
    /// The registry, for reading other objects.
    pub registry: &'a Registry,
    /// The row of the resource in the requested version.
    pub kind: &'a Kind,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Who writes.
    pub user: &'a Arc<User>,
    /// How, as it was authorized: `create`, `update`, `patch`, `delete`.
    pub verb: &'a str,
    /// Time of the attempt.
    pub now: Timestamp,
    /// Nothing will be stored.
    pub dry_run: bool,
}

/// Writes and guards that belong into the commit group of an object.
#[derive(Debug, Default)]
pub struct Companions {
    /// What must hold.
    pub guards: Vec<Guard>,
    /// What is written beside the object.
    pub writes: Vec<Write>,
}

/// How a kind's `prepare` treats `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusRule {
    /// Dropped on create, taken from storage on update, where the kind has a status subresource.
    Subresource,
    /// As `Subresource`, but a create may set it.
    KeptOnCreate,
    /// An ordinary field.
    Plain,
}

/// What one kind adds to the generic registry. Objects are in the kind's storage version. Every method may run
/// several times for one request, so none has effects outside its arguments.
pub trait Strategy: Send + Sync {
    /// Sets what the server decides on a new object. Defaults and admission have run; the generic fields (uid,
    /// name, creation time, first generation, dropped status) are set. The default does nothing.
    fn prepare_create(&self, _scene: &Scene<'_>, _object: &mut Value) {}

    /// Takes over from `old` what a write to the main resource may not change. The generic part has run. The
    /// default does nothing.
    fn prepare_update(&self, _scene: &Scene<'_>, _object: &mut Value, _old: &Value) {}

    /// Takes over from `old` what a write to `status` may not change, after spec and the generic metadata. The
    /// default does nothing.
    fn prepare_status(&self, _scene: &Scene<'_>, _object: &mut Value, _old: &Value) {}

    /// Faults that need the scene (other objects, the user) and so are not in `knarr_api`'s validation; `old` is
    /// none on create. The default finds none.
    fn check(&self, _scene: &Scene<'_>, _object: &Value, _old: Option<&Value>) -> ErrorList {
        ErrorList::new()
    }

    /// Allocates what the object needs outside itself and returns what is committed with it. `object` is none on
    /// deletion, `old` is none on creation. The default needs nothing.
    ///
    /// # Errors
    /// A refusal as the client is to see it: something asked for is taken.
    fn companions(
        &self,
        _scene: &Scene<'_>,
        _object: Option<&mut Value>,
        _old: Option<&Value>,
    ) -> Result<Companions, Status> {
        Ok(Companions::default())
    }

    /// Seconds the object gets to end by itself when it is deleted; none where the kind knows no graceful deletion
    /// (the default).
    fn grace(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Adds to an object whose deletion is asked for the first time what keeps it until other things are gone. The
    /// default adds nothing.
    fn begin_deletion(&self, _object: &mut Value, _now: Timestamp) {}

    /// Further conditions for the removal of an object whose metadata allows it. The default has none.
    fn may_vanish(&self, _object: &Value) -> bool {
        true
    }
}

/// The strategy of kinds without rules of their own.
pub struct Plain;

impl Strategy for Plain {}

/// Sets generic and kind-specific fields of a new object.
pub fn prepare_create(scene: &Scene<'_>, rules: &Rules, value: &mut Value) {
    if rules.status == StatusRule::Subresource && has_status(scene.kind) {
        object::remove(value, "status");
    }
    if rules.generation.starts {
        object::set_meta(value, "generation", Some(1.into()));
    } else {
        object::set_meta(value, "generation", None);
    }
    rules.strategy.prepare_create(scene, value);
}

/// Sets generic and kind-specific fields of a changed object, and counts the generation on.
pub fn prepare_update(scene: &Scene<'_>, rules: &Rules, value: &mut Value, old: &Value) {
    if rules.status != StatusRule::Plain && has_status(scene.kind) {
        object::copy(value, old, "status");
    }
    object::copy_meta(value, old, "generation");
    rules.strategy.prepare_update(scene, value, old);
    count_generation(rules, value, old);
}

/// Counts the generation on where the kind's rule says so.
pub fn count_generation(rules: &Rules, value: &mut Value, old: &Value) {
    if rules.generation.changed(value, old) {
        object::set_meta(value, "generation", Some((object::generation(old) + 1).into()));
    }
}

/// Keeps everything but status and free metadata.
pub fn prepare_status(scene: &Scene<'_>, rules: &Rules, value: &mut Value, old: &Value) {
    if let (Some(members), Some(stored)) = (value.as_object_mut(), old.as_object()) {
        members.retain(|name, _| matches!(name.as_str(), "metadata" | "status" | "kind" | "apiVersion"));
        for (name, kept) in stored {
            if !matches!(name.as_str(), "metadata" | "status" | "kind" | "apiVersion") {
                members.insert(name.clone(), kept.clone());
            }
        }
    }
    object::copy_meta(value, old, "generation");
    if rules.status_alone {
        for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
            object::copy_meta(value, old, name);
        }
    }
    rules.strategy.prepare_status(scene, value, old);
}

/// Has the resource a status subresource?
pub fn has_status(kind: &Kind) -> bool {
    kind.subresources.iter().any(|s| &*s.name == "status")
}
