//! APIServices that the server itself answers are available from the start.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;
use serde_json::json;

/// Rules of `apiservices`.
pub struct ApiService;

impl Strategy for ApiService {
    fn prepare_create(&self, scene: &Scene<'_>, value: &mut Value) {
        if object::at(value, &["spec", "service"]).is_some_and(|service| !service.is_null()) {
            return;
        }
        value["status"] = json!({"conditions": [{
            "type": "Available",
            "status": "True",
            "lastTransitionTime": object::time(scene.now),
            "reason": "Local",
            "message": "Local APIServices are always available",
        }]});
    }
}
