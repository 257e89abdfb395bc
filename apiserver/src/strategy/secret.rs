//! Secrets keep their type when an update leaves it out, and `stringData` is only ever a way to write `data`.
use super::{Scene, Strategy};
use crate::registry::object;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_api::Value;

/// Rules of `secrets`.
pub struct Secret;

impl Strategy for Secret {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        absorb_string_data(value);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, old: &Value) {
        if object::text(value, &["type"]).is_empty() {
            object::copy(value, old, "type");
        }
        absorb_string_data(value);
    }
}

/// Moves `stringData` into `data`, where it wins over an entry of the same key.
///
/// Source: API documentation of `Secret.stringData` ("write-only ... never output when reading from the API").
fn absorb_string_data(value: &mut Value) {
    let Some(secret) = value.as_object_mut() else { return };
    let Some(Value::Object(plain)) = secret.remove("stringData") else { return };
    if plain.is_empty() {
        return;
    }
    let data = secret.entry("data").or_insert_with(|| Value::Object(knarr_api::Object::new()));
    let Some(data) = data.as_object_mut() else { return };
    for (key, text) in plain {
        data.insert(key, Value::String(STANDARD.encode(text.as_str().unwrap_or_default())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn string_data_wins_over_data() {
        let check = |mut secret: Value, expected: Value| {
            absorb_string_data(&mut secret);
            assert_eq!(secret, expected);
        };
        check(json!({"stringData": {"a": "x"}}), json!({"data": {"a": "eA=="}}));
        check(
            json!({"data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"a": "x"}}),
            json!({"data": {"a": "eA==", "b": "Yg=="}}),
        );
        check(json!({"data": {"b": "Yg=="}, "stringData": {}}), json!({"data": {"b": "Yg=="}}));
        check(json!({"type": "Opaque"}), json!({"type": "Opaque"}));
    }
}
