//! Tokens that live in Secrets of type `kubernetes.io/service-account-token`: filled in when such
//! a Secret is made, and removed with the ServiceAccount that it is for.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::Context as _;
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, ThumbprintHash},
};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::{
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::watcher::Config,
};
use serde_json::json;

use crate::{
    context::Context,
    meta::{annotation, ignore_absent, is_deleting, name, namespace, uid},
};

pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
/// Annotation of a Secret: the account.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const ISSUER: &str = "kubernetes/serviceaccount";

/// The key that signs tokens.
struct Signer {
    key: EncodingKey,
    header: Header,
}

impl Signer {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&pem).with_context(|| format!("{} holds no RSA or EC key in PEM", path.display()))
    }

    fn parse(pem: &[u8]) -> anyhow::Result<Self> {
        let (key, algorithm) = match EncodingKey::from_rsa_pem(pem) {
            Ok(key) => (key, Algorithm::RS256),
            Err(_) => (EncodingKey::from_ec_pem(pem)?, Algorithm::ES256),
        };
        let id = Jwk::from_encoding_key(&key, algorithm)?.thumbprint(ThumbprintHash::SHA256)?;
        let mut header = Header::new(algorithm);
        header.typ = None;
        header.kid = Some(id);
        Ok(Self { key, header })
    }

    fn token(&self, account: &ServiceAccount, secret: &str) -> anyhow::Result<String> {
        let (space, account_name) = (namespace(&account.metadata), name(&account.metadata));
        let claims = BTreeMap::from([
            ("iss", ISSUER.to_string()),
            ("kubernetes.io/serviceaccount/namespace", space.to_string()),
            ("kubernetes.io/serviceaccount/secret.name", secret.to_string()),
            ("kubernetes.io/serviceaccount/service-account.name", account_name.to_string()),
            ("kubernetes.io/serviceaccount/service-account.uid", uid(&account.metadata).to_string()),
            ("sub", format!("system:serviceaccount:{space}:{account_name}")),
        ]);
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }
}

/// What is to be done about a Secret whose account is known.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    /// The account is gone, or another one of that name.
    Delete,
    /// It lacks a token, the certificates or the namespace.
    Fill,
}

fn data<'a>(secret: &'a Secret, key: &str) -> &'a [u8] {
    secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[], |value| value.0.as_slice())
}

fn step(secret: &Secret, account: Option<&ServiceAccount>, certificates: Option<&str>) -> Step {
    if is_deleting(&secret.metadata) {
        return Step::Nothing;
    }
    let known = annotation(&secret.metadata, ACCOUNT_UID).unwrap_or_default();
    let Some(account) = account.filter(|account| known.is_empty() || known == uid(&account.metadata)) else {
        return Step::Delete;
    };
    let complete = certificates.is_none_or(|wanted| data(secret, "ca.crt") == wanted.as_bytes())
        && data(secret, "namespace") == namespace(&secret.metadata).as_bytes()
        && !data(secret, "token").is_empty()
        && known == uid(&account.metadata);
    if complete { Step::Nothing } else { Step::Fill }
}

struct Controller {
    context: Context,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    signer: Signer,
}

/// The informer of such Secrets.
pub(crate) fn secrets(context: &Context) -> Informer<Secret> {
    context.informers.get_selected(Config::default().fields(&format!("type={TYPE}")))
}

/// Runs the controller; it has nothing to do without a key.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let Some(key) = &context.args.service_account_private_key_file else { return Ok(()) };
    let controller = Arc::new(Controller {
        signer: Signer::read(key)?,
        secrets: secrets(&context),
        accounts: context.informers.get(),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.secrets.on_change(move |change| added.add(Key::of(&change.object().metadata)));
    let (added, known) = (queue.clone(), controller.secrets.clone());
    controller.accounts.on_change(move |change| {
        let account = &change.object().metadata;
        let of_account = |secret: &Arc<Secret>| annotation(&secret.metadata, ACCOUNT) == Some(name(account));
        let concerned = known.list_namespace(namespace(account)).into_iter().filter(of_account);
        concerned.for_each(|secret| added.add(Key::of(&secret.metadata)));
    });
    let synced = {
        let (secrets, accounts) = (controller.secrets.synced(), controller.accounts.synced());
        async {
            futures::join!(secrets, accounts);
        }
    };
    let context = controller.context.clone();
    context
        .work("serviceaccount-token-controller", synced, queue, 5, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(secret) = self.secrets.get(&key) else {
            self.forget_reference(&key).await?;
            return Ok(None);
        };
        let account_name = annotation(&secret.metadata, ACCOUNT).unwrap_or_default();
        let mut account = self.accounts.get(&Key::new(key.namespace.clone(), account_name));
        let certificates = self.context.root_ca.as_deref();
        if step(&secret, account.as_deref(), certificates) == Step::Delete && !account_name.is_empty() {
            // It may be younger than what the informer shows.
            let live = self.context.api::<ServiceAccount>(&key.namespace).get_opt(account_name).await?;
            account = live.map(Arc::new);
        }
        match (step(&secret, account.as_deref(), certificates), account) {
            (Step::Fill, Some(account)) => self.fill(&key, &secret, &account).await?,
            (Step::Delete, _) => {
                let precondition = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
                let parameters = DeleteParams::default().preconditions(precondition);
                let api = self.context.api::<Secret>(&key.namespace);
                ignore_absent(api.delete(&key.name, &parameters).await)?;
            }
            _ => {}
        }
        Ok(None)
    }

    async fn fill(&self, key: &Key, secret: &Secret, account: &ServiceAccount) -> anyhow::Result<()> {
        let mut filled = serde_json::Map::new();
        if let Some(certificates) = self.context.root_ca.as_deref() {
            filled.insert("ca.crt".to_string(), json!(STANDARD.encode(certificates)));
        }
        filled.insert("namespace".to_string(), json!(STANDARD.encode(&key.namespace)));
        if data(secret, "token").is_empty() {
            let token = self.signer.token(account, &key.name)?;
            filled.insert("token".to_string(), json!(STANDARD.encode(token)));
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": secret.metadata.resource_version,
                "annotations": {ACCOUNT: name(&account.metadata), ACCOUNT_UID: uid(&account.metadata)},
            },
            "data": filled,
        });
        let api = self.context.api::<Secret>(&key.namespace);
        ignore_absent(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
        Ok(())
    }

    /// Takes a Secret that is gone out of the lists of accounts.
    async fn forget_reference(&self, key: &Key) -> anyhow::Result<()> {
        for account in self.accounts.list_namespace(&key.namespace) {
            let references = account.secrets.clone().unwrap_or_default();
            let is_gone = |name: &Option<String>| name.as_deref() == Some(key.name.as_str());
            if !references.iter().any(|reference| is_gone(&reference.name)) {
                continue;
            }
            let left: Vec<_> = references.into_iter().filter(|reference| !is_gone(&reference.name)).collect();
            let patch = Patch::Merge(json!({
                "metadata": {"resourceVersion": account.metadata.resource_version},
                "secrets": left,
            }));
            let api = self.context.api::<ServiceAccount>(&key.namespace);
            let patched = api.patch(name(&account.metadata), &PatchParams::default(), &patch).await;
            ignore_absent(patched)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: &str) -> ServiceAccount {
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "bot", "uid": uid}})).unwrap()
    }

    #[test]
    fn what_secrets_need() {
        let check = |uid: &str, data: serde_json::Value, account: Option<&ServiceAccount>, expected: Step| {
            let secret = json!({
                "metadata": {"namespace": "ns", "name": "s",
                    "annotations": {ACCOUNT: "bot", ACCOUNT_UID: uid}},
                "data": data,
            });
            let secret = serde_json::from_value(secret).unwrap();
            assert_eq!(step(&secret, account, Some("ca")), expected, "{uid} {data}");
        };
        let whole = json!({
            "ca.crt": STANDARD.encode("ca"), "namespace": STANDARD.encode("ns"), "token": STANDARD.encode("t"),
        });
        let bot = account("u");
        check("u", whole.clone(), Some(&bot), Step::Nothing);
        check("", whole.clone(), Some(&bot), Step::Fill);
        check("u", json!({}), Some(&bot), Step::Fill);
        check("v", whole.clone(), Some(&bot), Step::Delete);
        check("u", whole, None, Step::Delete);
    }

    #[test]
    fn tokens_name_account_and_secret() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let signer = Signer::parse(key.serialize_pem().as_bytes()).unwrap();
        let token = signer.token(&account("u"), "s").unwrap();
        let claims = jsonwebtoken::dangerous::insecure_decode_claims::<serde_json::Value>(&token).unwrap();
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["sub"], "system:serviceaccount:ns:bot");
        assert_eq!(claims["kubernetes.io/serviceaccount/secret.name"], "s");
        assert_eq!(claims["kubernetes.io/serviceaccount/service-account.uid"], "u");
        assert_eq!(claims.get("exp"), None);
    }
}
