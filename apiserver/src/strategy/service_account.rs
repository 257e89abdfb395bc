//! ServiceAccounts reference secrets of their own namespace by name only.
use super::{Scene, Strategy};
use knarr_api::Value;
use serde_json::json;

/// Rules of `serviceaccounts`.
pub struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        reduce(value);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, _old: &Value) {
        reduce(value);
    }
}

fn reduce(value: &mut Value) {
    let Some(Value::Array(secrets)) = value.get_mut("secrets") else { return };
    for secret in secrets {
        *secret = match secret.get("name") {
            Some(name) => json!({"name": name}),
            None => json!({}),
        };
    }
}
