//! Bootstrap tokens: those that have expired are removed, and the others sign the document by
//! which a new node comes to trust the cluster.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use knarr_component::{
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::{
    api::{DeleteParams, PostParams, Preconditions},
    runtime::watcher::Config,
};
use ring::hmac;
use serde_json::json;

use crate::{
    context::Context,
    meta::{ignore_absent, is_deleting, name},
};

const TYPE: &str = "bootstrap.kubernetes.io/token";
const TOKENS: &str = "kube-system";
/// Namespace and name of the document.
const DOCUMENT: (&str, &str) = ("kube-public", "cluster-info");
/// Key of the document that is signed.
const SIGNED: &str = "kubeconfig";
/// Beginning of the keys of signatures, before the token's id.
const SIGNATURE: &str = "jws-kubeconfig-";

fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    String::from_utf8(value.0.clone()).ok().filter(|text| !text.is_empty())
}

/// How long a token is still good; `None` for ever. One whose end cannot be read is good no more.
fn remaining(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let end = text(secret, "expiration")?;
    let end = end.parse::<Timestamp>().unwrap_or(Timestamp::UNIX_EPOCH);
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

fn informer(context: &Context) -> Informer<Secret> {
    context.informers.get_namespaced(TOKENS, Config::default().fields(&format!("type={TYPE}")))
}

/// Runs the controller that removes expired tokens.
pub(crate) async fn run_cleaner(context: Context) -> anyhow::Result<()> {
    let secrets = informer(&context);
    let queue = Queue::new();
    let added = queue.clone();
    secrets.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (this, synced) = (context.clone(), secrets.synced());
    context
        .work("token-cleaner-controller", synced, queue, 1, move |key: Key| {
            let (context, secrets) = (this.clone(), secrets.clone());
            async move {
                let Some(secret) = secrets.get(&key) else { return Ok(None) };
                match remaining(&secret, Timestamp::now()) {
                    None => {}
                    Some(left) if !left.is_zero() => return Ok(Some(Requeue::After(left))),
                    Some(_) => {
                        let uid = secret.metadata.uid.clone();
                        let precondition = Preconditions { uid, resource_version: None };
                        let parameters = DeleteParams::default().preconditions(precondition);
                        let api = context.api::<Secret>(&key.namespace);
                        ignore_absent(api.delete(&key.name, &parameters).await)?;
                    }
                }
                SyncResult::Ok(None)
            }
        })
        .await
}

/// Id and secret of a token that signs.
fn signing_token(secret: &Secret, now: Timestamp) -> Option<(String, String)> {
    let id = name(&secret.metadata).strip_prefix("bootstrap-token-")?;
    let good = remaining(secret, now).is_none_or(|left| !left.is_zero())
        && !is_deleting(&secret.metadata)
        && text(secret, "token-id").as_deref() == Some(id)
        && text(secret, "usage-bootstrap-signing").as_deref() == Some("true");
    if good { Some((id.to_string(), text(secret, "token-secret")?)) } else { None }
}

/// The signature of a document that it does not hold itself (RFC 7515, appendix F).
fn sign(document: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": id}).to_string());
    let payload = URL_SAFE_NO_PAD.encode(document);
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{id}.{secret}").as_bytes());
    let signature = hmac::sign(&key, format!("{header}.{payload}").as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What of the document changes: signatures that are new, and `None` for those that go.
fn changes(
    document: &BTreeMap<String, String>,
    tokens: &[(String, String)],
) -> BTreeMap<String, Option<String>> {
    let Some(signed) = document.get(SIGNED) else { return BTreeMap::new() };
    let wanted: BTreeMap<String, String> =
        tokens.iter().map(|(id, secret)| (format!("{SIGNATURE}{id}"), sign(signed, id, secret))).collect();
    let old = document.keys().filter(|key| key.starts_with(SIGNATURE) && !wanted.contains_key(*key));
    let mut changes: BTreeMap<String, Option<String>> = old.map(|key| (key.clone(), None)).collect();
    let new = wanted.into_iter().filter(|(key, value)| document.get(key) != Some(value));
    changes.extend(new.map(|(key, value)| (key, Some(value))));
    changes
}

/// Runs the controller that signs the document.
pub(crate) async fn run_signer(context: Context) -> anyhow::Result<()> {
    let secrets = informer(&context);
    let selected = Config::default().fields(&format!("metadata.name={}", DOCUMENT.1));
    let documents: Informer<ConfigMap> = context.informers.get_namespaced(DOCUMENT.0, selected);
    let queue = Queue::new();
    let key = Key::new(DOCUMENT.0, DOCUMENT.1);
    let (added, item) = (queue.clone(), key.clone());
    secrets.on_change(move |_| added.add(item.clone()));
    let (added, item) = (queue.clone(), key);
    documents.on_change(move |_| added.add(item.clone()));
    let synced = {
        let (secrets, documents) = (secrets.synced(), documents.synced());
        async {
            futures::join!(secrets, documents);
        }
    };
    let this = context.clone();
    context
        .work("bootstrap-signer-controller", synced, queue, 1, move |key: Key| {
            let (context, secrets, documents) = (this.clone(), secrets.clone(), documents.clone());
            async move {
                let Some(document) = documents.get(&key) else { return Ok(None) };
                let now = Timestamp::now();
                let all: Vec<Arc<Secret>> = secrets.list();
                let tokens: Vec<_> = all.iter().filter_map(|secret| signing_token(secret, now)).collect();
                let changes = changes(&document.data.clone().unwrap_or_default(), &tokens);
                if !changes.is_empty() {
                    // The role of this controller lets it replace the document, but not patch it.
                    let mut signed = (*document).clone();
                    let data = signed.data.get_or_insert_default();
                    for (key, value) in changes {
                        match value {
                            Some(value) => drop(data.insert(key, value)),
                            None => drop(data.remove(&key)),
                        }
                    }
                    let api = context.api::<ConfigMap>(&key.namespace);
                    ignore_absent(api.replace(&key.name, &PostParams::default(), &signed).await)?;
                }
                SyncResult::Ok(None)
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, more: &[(&str, &str)]) -> Secret {
        use base64::engine::general_purpose::STANDARD;
        let mut data = BTreeMap::from([
            ("token-id", STANDARD.encode(id)),
            ("token-secret", STANDARD.encode("0123456789abcdef")),
            ("usage-bootstrap-signing", STANDARD.encode("true")),
        ]);
        data.extend(more.iter().map(|(key, value)| (*key, STANDARD.encode(value))));
        let secret = json!({"metadata": {"name": format!("bootstrap-token-{id}")}, "data": data});
        serde_json::from_value(secret).unwrap()
    }

    #[test]
    fn which_tokens_sign() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |more: &[(&str, &str)], expected: bool| {
            let found = signing_token(&token("abcdef", more), now);
            assert_eq!(found.is_some(), expected, "{more:?}");
        };
        check(&[], true);
        check(&[("usage-bootstrap-signing", "false")], false);
        check(&[("token-id", "fedcba")], false);
        check(&[("expiration", "2026-01-01T00:00:01Z")], true);
        check(&[("expiration", "2025-12-31T23:59:59Z")], false);
        check(&[("expiration", "tomorrow")], false);
        let left = remaining(&token("abcdef", &[("expiration", "2026-01-01T00:01:00+00:00")]), now);
        assert_eq!(left, Some(Duration::from_secs(60)));
    }

    #[test]
    fn signatures_follow_tokens_and_document() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
        };
        let tokens = [("abcdef".to_string(), "0123456789abcdef".to_string())];
        let key = "jws-kubeconfig-abcdef";
        let found = changes(&map(&[("kubeconfig", "x"), ("jws-kubeconfig-old", "y")]), &tokens);
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), [key, "jws-kubeconfig-old"]);
        assert_eq!(found["jws-kubeconfig-old"], None);
        let signature = found[key].clone().unwrap();
        assert_eq!(changes(&map(&[("kubeconfig", "x"), (key, &signature)]), &tokens), BTreeMap::new());
        assert_eq!(changes(&map(&[]), &tokens), BTreeMap::new());
        let header = signature.split("..").next().unwrap();
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        assert_eq!(header, br#"{"alg":"HS256","kid":"abcdef"}"#);
    }
}
