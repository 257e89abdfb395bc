//! Nodes: the older form of their block of pod addresses stands beside the list that replaced it.
use super::{Scene, Strategy};
use crate::registry::object;
use knarr_api::Value;
use serde_json::json;

/// Rules of `nodes`.
pub struct Node;

impl Strategy for Node {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        settle_blocks(value);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, _old: &Value) {
        settle_blocks(value);
    }
}

/// `podCIDR` is the first of `podCIDRs`; where the two differ it stands for all of them.
fn settle_blocks(node: &mut Value) {
    let one = object::text(node, &["spec", "podCIDR"]).to_owned();
    let first = object::list(node, &["spec", "podCIDRs"]).first().and_then(Value::as_str).map(str::to_owned);
    match first {
        Some(first) if one.is_empty() => {
            object::child_mut(node, "spec").insert("podCIDR".to_owned(), first.into());
        }
        first if !one.is_empty() && first.as_deref() != Some(&one) => {
            object::child_mut(node, "spec").insert("podCIDRs".to_owned(), json!([one]));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::settle_blocks;
    use serde_json::json;

    #[test]
    fn both_forms_agree() {
        let both = json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}});
        let two = json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]}});
        let other = json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]}});
        for (given, expected) in [
            (json!({"spec": {"podCIDR": "10.0.0.0/24"}}), &both),
            (json!({"spec": {"podCIDRs": ["10.0.0.0/24", "fd00::/64"]}}), &two),
            (two.clone(), &two),
            (other, &both),
            (json!({"metadata": {}}), &json!({"metadata": {}})),
        ] {
            let mut node = given;
            settle_blocks(&mut node);
            assert_eq!(&node, expected);
        }
    }
}
