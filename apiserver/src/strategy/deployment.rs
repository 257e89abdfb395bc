//! Deployments: a write to the status leaves the labels alone.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;

/// Rules of `deployments`.
pub struct Deployment;

impl Strategy for Deployment {
    fn prepare_status(&self, _scene: &Scene<'_>, value: &mut Value, old: &Value) {
        object::copy_meta(value, old, "labels");
    }
}
