//! A LimitRange without a name gets a random one.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;

/// Rules of `limitranges`.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        if object::name(value).is_empty() {
            object::set_meta(value, "name", Some(uuid::Uuid::new_v4().to_string().into()));
        }
    }
}
