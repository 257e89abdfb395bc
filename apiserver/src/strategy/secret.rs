//! Secrets keep their type when an update leaves it out.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;

/// Rules of `secrets`.
pub struct Secret;

impl Strategy for Secret {
    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, old: &Value) {
        if object::text(value, &["type"]).is_empty() {
            object::copy(value, old, "type");
        }
    }
}
