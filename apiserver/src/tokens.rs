//! ServiceAccount tokens: signing and verifying of JSON Web Tokens, key sets for discovery.
//!
//! Source: KEP-1205 (bound tokens), KEP-1393 (issuer discovery). Tokens are valid while their signature, times,
//! issuer and audience are, and while the ServiceAccount and the object they are bound to still exist with the same
//! UID.
mod legacy;
mod remark;

pub use legacy::Held;
pub use remark::Remark;

use crate::clock::{now_seconds, rfc3339};
use crate::objects::Objects;
use crate::user::User;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use knarr_api::Value;
use knarr_api::field;
use knarr_api::status::{Resource, Status};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// Seconds a token is valid when the request does not say.
const DEFAULT_SECONDS: u64 = 3600;
/// The least that may be asked for.
const MIN_SECONDS: u64 = 600;
/// What pods are given instead of 3607 seconds with `--service-account-extend-token-expiration`, the default.
const EXTENDED_SECONDS: u64 = 365 * 24 * 3600;
/// Expiry that the token volume of every pod asks for.
const WARN_AFTER_SECONDS: u64 = 3607;
/// What holders of a token are told whose bound object is gone.
const INVALIDATED: &str = "service account token has been invalidated";

/// Why keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No RSA or EC key in PEM.
    #[error("{0} holds no RSA or EC key (PKCS#1 or PKCS#8 in PEM)")]
    Format(String),
}

/// Claims of a token, in the order the original writes them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Claims {
    /// Audiences.
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Expiry; 0 in legacy tokens, which have none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exp: u64,
    /// Issued at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub iat: u64,
    /// Issuer.
    pub iss: String,
    /// Token id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// What the token is bound to.
    #[serde(rename = "kubernetes.io", default)]
    pub kubernetes: Bound,
    /// Not before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nbf: u64,
    /// User name.
    pub sub: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::One(one) => vec![one],
        Form::Many(many) => many,
    })
}

/// The private claim `kubernetes.io`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bound {
    /// Namespace of the ServiceAccount.
    pub namespace: String,
    /// Node of the pod, or the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The ServiceAccount.
    pub serviceaccount: Reference,
    /// When use of the token is to be warned about (extended tokens).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<u64>,
}

/// Name and UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

struct VerifyingKey {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
    jwk: Jwk,
}

struct SigningKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

/// Everything about ServiceAccount tokens: keys, issuers and audiences.
pub struct Tokens {
    signing: Option<SigningKey>,
    verifying: Vec<VerifyingKey>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    max_seconds: u64,
    extend: bool,
}

/// The settings of [`Tokens`].
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `--service-account-signing-key-file`.
    pub signing_key_file: Option<std::path::PathBuf>,
    /// `--service-account-key-file`, private or public keys.
    pub key_files: Vec<std::path::PathBuf>,
    /// `--service-account-issuer`: the first issues, all are accepted.
    pub issuers: Vec<String>,
    /// `--api-audiences`; empty: the issuers.
    pub audiences: Vec<String>,
    /// `--service-account-max-token-expiration` in seconds; 0: 2^32.
    pub max_seconds: u64,
    /// `--service-account-extend-token-expiration`.
    pub extend: bool,
}

/// What a good token says.
pub struct Known {
    /// Of whom it is.
    pub user: User,
    /// The audiences asked for that it is for.
    pub audiences: Vec<String>,
    /// What is to be told of its use.
    pub remark: Remark,
}

impl Tokens {
    /// Reads the key files.
    ///
    /// # Errors
    /// A file that cannot be read or holds no usable key.
    pub fn load(config: &Config) -> Result<Self, KeyError> {
        let signing = config.signing_key_file.as_deref().map(|path| {
            let (key, _) =
                private_key(&read(path)?).ok_or_else(|| KeyError::Format(path.display().to_string()))?;
            Ok::<_, KeyError>(key)
        });
        let signing = signing.transpose()?;
        let mut verifying: Vec<VerifyingKey> = Vec::new();
        for path in config.key_files.iter().chain(&config.signing_key_file) {
            let pem = read(path)?;
            let key = private_key(&pem).map(|(_, key)| key).or_else(|| public_key(&pem));
            let key = key.ok_or_else(|| KeyError::Format(path.display().to_string()))?;
            if !verifying.iter().any(|known| known.id == key.id) {
                verifying.push(key);
            }
        }
        let audiences =
            if config.audiences.is_empty() { config.issuers.clone() } else { config.audiences.clone() };
        let max_seconds = if config.max_seconds == 0 { 1 << 32 } else { config.max_seconds };
        Ok(Self {
            signing,
            verifying,
            issuers: config.issuers.clone(),
            audiences,
            max_seconds,
            extend: config.extend,
        })
    }

    /// The audiences of this API server.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        json!({"keys": self.verifying.iter().map(|key| &key.jwk).collect::<Vec<_>>()})
    }

    /// `/.well-known/openid-configuration`; none when the issuer is no URL.
    pub fn configuration(&self, jwks_uri: &str) -> Option<Value> {
        let issuer = self.issuers.first().filter(|issuer| issuer.starts_with("https://"))?;
        let mut algorithms: Vec<String> =
            self.verifying.iter().map(|k| format!("{:?}", k.algorithm)).collect();
        algorithms.sort();
        algorithms.dedup();
        Some(json!({
            "issuer": issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        }))
    }

    /// Verifies signature, times and issuer of a token, and that it is for one of `audiences` (empty: this server's);
    /// gives the claims and the audiences both have. `Ok(None)`: not a ServiceAccount token of ours.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, token: &str, audiences: &[String]) -> Result<Option<(Claims, Vec<String>)>, String> {
        let Ok(unverified) = jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(token) else {
            return Ok(None);
        };
        if !self.issuers.contains(&unverified.iss) {
            return Ok(None);
        }
        let claims = self.verified::<Claims>(token)?;
        let now = now_seconds();
        if claims.exp > 0 && now > claims.exp {
            return Err("service account token has expired".to_owned());
        }
        // A minute of grace for clocks that differ.
        if claims.nbf > now + 60 {
            return Err("service account token is not valid yet".to_owned());
        }
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let common: Vec<String> = claims.aud.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if common.is_empty() {
            let found = claims.aud.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(" ");
            return Err(format!("token audiences [{found}] is invalid for the target audiences {wanted:?}"));
        }
        Ok(Some((claims, common)))
    }

    /// The user of a ServiceAccount token and the audiences of `wanted` it is for; `Ok(None)`: not one of ours.
    ///
    /// # Errors
    /// What is wrong with it, or gone.
    pub fn authenticate(
        &self,
        token: &str,
        wanted: &[String],
        objects: &dyn Objects,
    ) -> Result<Option<Known>, String> {
        if let Some(claims) = legacy::claims(token) {
            let is_signed = self.verified::<Value>(token).is_ok();
            return legacy::user(&claims, token, is_signed, objects).map(|user| {
                let common =
                    self.audiences.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
                let known = user.filter(|_| !Vec::is_empty(&common));
                known.map(|(user, held)| Known { user, audiences: common, remark: Remark::Held(held) })
            });
        }
        let Some((claims, common)) = self.verify(token, wanted)? else { return Ok(None) };
        let remark = match claims.kubernetes.warnafter {
            Some(until) => Remark::Extended { subject: claims.sub.clone(), until },
            None => Remark::Plain,
        };
        Ok(Some(Known { user: user_of(&claims, objects)?, audiences: common, remark }))
    }

    fn verified<T: serde::de::DeserializeOwned>(&self, token: &str) -> Result<T, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| e.to_string())?;
        let matching = |key: &&VerifyingKey| {
            key.algorithm == header.alg && header.kid.as_ref().is_none_or(|id| *id == key.id)
        };
        let foreign = |key: &&VerifyingKey| key.algorithm == header.alg;
        // Keys are also known under other ids when a different server signed with them.
        let candidates = self.verifying.iter().filter(matching).chain(self.verifying.iter().filter(foreign));
        for key in candidates {
            let mut validation = Validation::new(key.algorithm);
            validation.validate_exp = false;
            validation.validate_aud = false;
            validation.required_spec_claims.clear();
            if let Ok(data) = jsonwebtoken::decode::<T>(token, &key.key, &validation) {
                return Ok(data.claims);
            }
        }
        Err("invalid bearer token".to_owned())
    }

    /// Answers a create of `serviceaccounts/token`: `request` is the TokenRequest, the result the same with
    /// `status.token` and `status.expirationTimestamp`.
    ///
    /// # Errors
    /// `NotFound` for a missing ServiceAccount or bound object, `Conflict` for another UID, `Invalid` for a
    /// malformed request, `Unavailable` without a signing key.
    pub fn issue(
        &self,
        objects: &dyn Objects,
        namespace: &str,
        name: &str,
        mut request: Value,
    ) -> Result<Value, Status> {
        let Some(signing) = &self.signing else {
            return Err(Status::new(404, "NotFound", "the server could not find the requested resource"));
        };
        let account_resource = Resource { group: "", plural: "serviceaccounts" };
        let account = objects.get("", "serviceaccounts", namespace, name);
        let account = account.ok_or_else(|| Status::not_found(account_resource, name))?;
        let spec = &mut request["spec"];
        let asked = spec["expirationSeconds"].as_u64().unwrap_or(DEFAULT_SECONDS);
        let audiences = strings(&spec["audiences"]);
        let audiences = if audiences.is_empty() { self.audiences.clone() } else { audiences };
        let mut errors = expiry_errors(spec, asked);
        for (field, expected) in [("name", name), ("namespace", namespace)] {
            let given = &request["metadata"][field];
            if given.as_str().is_some_and(|given| !given.is_empty() && given != expected) {
                let detail = format!("must match the service account {field} if specified");
                errors.push(field::Error::invalid(format!("metadata.{field}"), given, detail));
            }
        }
        if !errors.is_empty() {
            return Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &errors));
        }
        let seconds = asked.min(self.max_seconds);
        let account_uid = uid(&account);
        if let Some(wanted) =
            request["metadata"]["uid"].as_str().filter(|wanted| !wanted.is_empty() && *wanted != account_uid)
        {
            let cause = format!(
                "the UID in the token request ({wanted}) does not match the UID of the service account ({account_uid})"
            );
            return Err(Status::conflict(account_resource, name, cause));
        }
        let mut kubernetes = Bound {
            namespace: namespace.to_owned(),
            serviceaccount: Reference { name: name.to_owned(), uid: account_uid },
            ..Bound::default()
        };
        self.bind(objects, &mut kubernetes, name, &request["spec"]["boundObjectRef"])?;
        let now = now_seconds();
        let mut expires = now + seconds;
        if self.extend
            && seconds == WARN_AFTER_SECONDS
            && kubernetes.pod.is_some()
            && audiences == self.audiences
        {
            kubernetes.warnafter = Some(expires);
            expires = now + EXTENDED_SECONDS;
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: expires,
            iat: now,
            iss: self.issuers.first().cloned().unwrap_or_default(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: format!("{}{namespace}:{name}", crate::user::SERVICE_ACCOUNT_PREFIX),
            nbf: now,
            kubernetes,
        };
        let token = signing
            .sign(&claims)
            .map_err(|e| Status::internal(format_args!("failed to generate token: {e}")))?;
        request["spec"]["audiences"] = json!(audiences);
        request["spec"]["expirationSeconds"] = json!(seconds);
        request["metadata"]["name"] = json!(name);
        request["metadata"]["namespace"] = json!(namespace);
        request["metadata"]["creationTimestamp"] = json!(rfc3339(now));
        request["status"] = json!({"token": token, "expirationTimestamp": rfc3339(now + seconds)});
        Ok(request)
    }

    fn bind(
        &self,
        objects: &dyn Objects,
        bound: &mut Bound,
        account: &str,
        reference: &Value,
    ) -> Result<(), Status> {
        if reference.is_null() {
            return Ok(());
        }
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let (plural, namespace) = match (text("apiVersion"), kind) {
            ("v1", "Pod") => ("pods", bound.namespace.clone()),
            ("v1", "Secret") => ("secrets", bound.namespace.clone()),
            ("v1", "Node") => ("nodes", String::new()),
            (version, kind) => {
                let group_version_kind = format!("/{version}, Kind={kind}");
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to object {group_version_kind:?}"
                )));
            }
        };
        let resource = Resource { group: "", plural };
        let object =
            objects.get("", plural, &namespace, name).ok_or_else(|| Status::not_found(resource, name))?;
        let found = Reference { name: name.to_owned(), uid: uid(&object) };
        if !text("uid").is_empty() && text("uid") != found.uid {
            let cause = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have \
                 been deleted and then recreated",
                text("uid")
            );
            return Err(Status::conflict(resource, name, cause));
        }
        match plural {
            "pods" => {
                if object["spec"]["serviceAccountName"] != account {
                    let used = object["spec"]["serviceAccountName"].as_str().unwrap_or_default();
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different \
                         serviceaccount name {used:?}."
                    )));
                }
                bound.node =
                    object["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()).map(|node| Reference {
                        name: node.to_owned(),
                        uid: objects.get("", "nodes", "", node).map(|node| uid(&node)).unwrap_or_default(),
                    });
                bound.pod = Some(found);
            }
            "secrets" => bound.secret = Some(found),
            _ => bound.node = Some(found),
        }
        Ok(())
    }
}

/// Checks that what a token is bound to still exists, and gives its user.
///
/// # Errors
/// What is gone.
pub fn user_of(claims: &Claims, objects: &dyn Objects) -> Result<User, String> {
    let bound = &claims.kubernetes;
    let (namespace, account) = (&bound.namespace, &bound.serviceaccount);
    let look_up = |plural: &str, namespace: &str, reference: &Reference| {
        objects.get("", plural, namespace, &reference.name)
    };
    let same = |object: &Value, reference: &Reference, what: &str, claim: &str| {
        if !reference.uid.is_empty() && uid(object) != reference.uid {
            let found = uid(object);
            return Err(format!("{what} UID ({found}) does not match {claim} ({})", reference.uid));
        }
        Ok(())
    };
    // Whose token it is need not be told what has become of the object that it was bound to.
    let bound_to = |plural: &str, namespace: &str, reference: &Reference, what: &str| {
        let object = look_up(plural, namespace, reference).ok_or(INVALIDATED)?;
        same(&object, reference, what, &format!("service account {what} ref claim"))?;
        Ok::<_, String>(object)
    };
    let found = look_up("serviceaccounts", namespace, account)
        .ok_or_else(|| format!("serviceaccounts {:?} not found", account.name))?;
    same(&found, account, "service account", "claim")?;
    if claims.sub != format!("{}{namespace}:{}", crate::user::SERVICE_ACCOUNT_PREFIX, account.name) {
        return Err("token subject does not match its claims".to_owned());
    }
    let mut user = User::service_account(namespace, &account.name, &account.uid);
    let mut extra = |key: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    if !claims.jti.is_empty() {
        extra("credential-id", format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &bound.pod {
        let found = bound_to("pods", namespace, pod, "pod")?;
        // A pod past its grace period, give or take a minute, no longer speaks.
        if let Some(deleted) = found["metadata"]["deletionTimestamp"].as_str() {
            let until = deleted.parse::<jiff::Timestamp>().map_or(i64::MAX, |t| t.as_second() + 60);
            if i64::try_from(now_seconds()).unwrap_or(i64::MAX) > until {
                return Err(INVALIDATED.to_owned());
            }
        }
        extra("pod-name", pod.name.clone());
        extra("pod-uid", pod.uid.clone());
        if let Some(node) = &bound.node {
            extra("node-name", node.name.clone());
            extra("node-uid", node.uid.clone());
        }
    } else if let Some(node) = &bound.node {
        bound_to("nodes", "", node, "node")?;
        extra("node-name", node.name.clone());
        extra("node-uid", node.uid.clone());
    }
    if let Some(secret) = &bound.secret {
        bound_to("secrets", namespace, secret, "secret")?;
    }
    Ok(user)
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn expiry_errors(spec: &Value, asked: u64) -> Vec<field::Error> {
    let found = &spec["expirationSeconds"];
    if asked < MIN_SECONDS || found.as_i64().is_some_and(|n| n < 0) {
        return vec![field::Error::invalid(
            "spec.expirationSeconds",
            found,
            "may not specify a duration less than 10 minutes",
        )];
    }
    if asked > 1 << 32 {
        return vec![field::Error::invalid(
            "spec.expirationSeconds",
            found,
            "may not specify a duration larger than 2^32 seconds",
        )];
    }
    Vec::new()
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl SigningKey {
    fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.algorithm);
        header.typ = None;
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.key)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::Read { path: path.display().to_string(), source })
}

fn private_key(pem: &[u8]) -> Option<(SigningKey, VerifyingKey)> {
    let rsa = contains(pem, b"PRIVATE KEY").then(|| EncodingKey::from_rsa_pem(pem).ok()).flatten();
    let (key, algorithm) = match rsa {
        Some(key) => (key, Algorithm::RS256),
        None => (EncodingKey::from_ec_pem(pem).ok()?, Algorithm::ES256),
    };
    let jwk = named(Jwk::from_encoding_key(&key, algorithm).ok()?)?;
    let id = jwk.common.key_id.clone()?;
    let verifying = VerifyingKey { id: id.clone(), algorithm, key: DecodingKey::from_jwk(&jwk).ok()?, jwk };
    Some((SigningKey { id, algorithm, key }, verifying))
}

fn public_key(pem: &[u8]) -> Option<VerifyingKey> {
    let (key, algorithm) = match DecodingKey::from_rsa_pem(pem) {
        Ok(key) => (key, Algorithm::RS256),
        Err(_) => (DecodingKey::from_ec_pem(pem).ok()?, Algorithm::ES256),
    };
    let jwk = named(Jwk::from_decoding_key(&key, Some(algorithm)).ok()?)?;
    Some(VerifyingKey { id: jwk.common.key_id.clone()?, algorithm, key, jwk })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Gives a key its id (its thumbprint) and use.
fn named(mut jwk: Jwk) -> Option<Jwk> {
    jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256).ok()?);
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Some(jwk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;

    fn tokens(directory: &Path) -> Tokens {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        std::fs::write(directory.join("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(directory.join("sa.pub"), key.public_key_pem()).unwrap();
        let config = Config {
            signing_key_file: Some(directory.join("sa.key")),
            key_files: vec![directory.join("sa.pub")],
            issuers: vec!["https://kubernetes.default.svc.cluster.local".into()],
            extend: true,
            ..Config::default()
        };
        Tokens::load(&config).unwrap()
    }

    fn objects() -> Memory {
        let objects = Memory::default();
        objects.put(
            "",
            "serviceaccounts",
            json!({"metadata": {"name": "bot", "namespace": "d", "uid": "u1"}}),
        );
        objects.put("", "nodes", json!({"metadata": {"name": "n", "uid": "u3"}}));
        objects.put(
            "",
            "pods",
            json!({"metadata": {"name": "p", "namespace": "d", "uid": "u2"},
            "spec": {"serviceAccountName": "bot", "nodeName": "n"}}),
        );
        objects
    }

    #[test]
    fn issue_and_verify() {
        let directory = tempfile::tempdir().unwrap();
        let (tokens, objects) = (tokens(directory.path()), objects());
        assert_eq!(tokens.verifying.len(), 1, "the public and the private file are one key");
        let request = json!({"spec": {"expirationSeconds": 3607,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u2"}}});
        let answer = tokens.issue(&objects, "d", "bot", request).unwrap();
        let token = answer["status"]["token"].as_str().unwrap();
        let (claims, audiences) = tokens.verify(token, &[]).unwrap().unwrap();
        assert_eq!(audiences, ["https://kubernetes.default.svc.cluster.local"]);
        assert!(claims.kubernetes.warnafter.is_some() && claims.exp > now_seconds() + 300 * 24 * 3600);
        let user = user_of(&claims, &objects).unwrap();
        assert_eq!(user.name, "system:serviceaccount:d:bot");
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);
        assert!(tokens.verify(token, &["other".into()]).is_err());
        let mut forged = token.to_owned();
        forged.truncate(token.len() - 8);
        assert!(tokens.verify(&format!("{forged}AAAAAAAA"), &[]).is_err());
        assert!(tokens.verify("no-jwt", &[]).unwrap().is_none());
        objects.put("", "pods", json!({"metadata": {"name": "p", "namespace": "d", "uid": "other"}}));
        assert!(user_of(&claims, &objects).is_err());
    }

    #[test]
    fn refused_requests() {
        let directory = tempfile::tempdir().unwrap();
        let (tokens, objects) = (tokens(directory.path()), objects());
        let check = |name: &str, spec: Value, code: u16| {
            let status = tokens.issue(&objects, "d", name, json!({"spec": spec})).unwrap_err();
            assert_eq!(status.code, code, "{status:?}");
        };
        check("none", json!({}), 404);
        check("bot", json!({"expirationSeconds": 60}), 422);
        let pod = |name: &str, uid: &str| json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}});
        check("bot", pod("missing", ""), 404);
        check("bot", pod("p", "wrong"), 409);
        check("bot", json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Service", "name": "p"}}), 400);
    }

    #[test]
    fn discovery() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = tokens(directory.path());
        let keys = tokens.key_set();
        assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["alg"]), (&json!("EC"), &json!("ES256")));
        let configuration = tokens.configuration("https://x/openid/v1/jwks").unwrap();
        assert_eq!(configuration["id_token_signing_alg_values_supported"], json!(["ES256"]));
    }
}
