//! Bootstrap tokens, `‹id›.‹secret›`, each a Secret `bootstrap-token-‹id›` in `kube-system`: what a node joins with.
//!
//! Source: the bootstrap token format of kubeadm.
use crate::clock::now_seconds;
use crate::objects::Objects;
use crate::user::User;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_api::Value;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// The user of a token; none where there is no such token, or it may not be used (any more).
pub fn authenticate(token: &str, objects: &dyn Objects) -> Option<User> {
    let (id, secret) = token.split_once('.').filter(|(id, secret)| is_part(id, 6) && is_part(secret, 16))?;
    let object = objects.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    if object["type"] != TYPE || !object["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let data = |key: &str| data(&object, key);
    let is_right = equal(data("token-secret")?.as_bytes(), secret.as_bytes()) && data("token-id")? == id;
    let is_usable = data("usage-bootstrap-authentication").as_deref() == Some("true");
    if !is_right || !is_usable || data("expiration").is_some_and(|text| is_past(&text)) {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").unwrap_or_default().split(',').filter(|group| !group.is_empty()) {
        if !is_extra_group(group) {
            tracing::warn!(id, group, "a bootstrap token names a group that is none of theirs");
            return None;
        }
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    groups[1..].sort();
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

fn is_part(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// `system:bootstrappers:‹…›`, ending in a letter or digit.
fn is_extra_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|b| is_plain(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(is_plain)
}

/// Takes as long for any text of the same length.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn data(secret: &Value, key: &str) -> Option<String> {
    let text = secret["data"][key].as_str().filter(|text| !text.is_empty())?;
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// What is no time counts as past.
fn is_past(text: &str) -> bool {
    let expiry = text.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second());
    expiry <= i64::try_from(now_seconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use serde_json::json;

    #[test]
    fn tokens() {
        let check = |change: Value, token: &str, expected: Option<&[&str]>| {
            let mut secret = json!({"type": TYPE, "metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
                "data": {"token-id": "abcdef", "token-secret": "0123456789abcdef",
                    "usage-bootstrap-authentication": "true"}});
            knarr_api::patch::merge::apply(&mut secret, change.clone());
            for value in secret["data"].as_object_mut().unwrap().values_mut() {
                *value = json!(STANDARD.encode(value.as_str().unwrap()));
            }
            let objects = Memory::default();
            objects.put("", "secrets", secret);
            let found = authenticate(token, &objects).map(|user| user.groups);
            assert_eq!(
                found,
                expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
                "{change} {token}"
            );
        };
        let good = "abcdef.0123456789abcdef";
        check(json!({}), good, Some(&[GROUP]));
        check(json!({}), "abcdef.0123456789abcdee", None);
        check(json!({}), "abcdef.0123456789abcde", None);
        check(json!({}), "ABCDEF.0123456789abcdef", None);
        check(json!({"type": "Opaque"}), good, None);
        check(json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}), good, None);
        check(json!({"data": {"token-id": "zzzzzz"}}), good, None);
        check(json!({"data": {"usage-bootstrap-authentication": "false"}}), good, None);
        check(json!({"data": {"usage-bootstrap-authentication": null}}), good, None);
        check(json!({"data": {"expiration": "2020-01-01T00:00:00Z"}}), good, None);
        check(json!({"data": {"expiration": "soon"}}), good, None);
        check(json!({"data": {"expiration": "2999-01-01T00:00:00Z"}}), good, Some(&[GROUP]));
        let extra = "system:bootstrappers:b,system:bootstrappers:a";
        check(
            json!({"data": {"auth-extra-groups": extra}}),
            good,
            Some(&[GROUP, "system:bootstrappers:a", "system:bootstrappers:b"]),
        );
        check(json!({"data": {"auth-extra-groups": "system:masters"}}), good, None);
    }
}
