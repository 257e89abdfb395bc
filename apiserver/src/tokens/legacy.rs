//! Tokens that live in Secrets of type `kubernetes.io/service-account-token`: they never expire, and are good only as
//! long as the Secret holds them and the ServiceAccount lives.
use crate::objects::Objects;
use crate::user::{SERVICE_ACCOUNT_PREFIX, User};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_api::Value;

/// Their issuer, whatever the server's own are.
const ISSUER: &str = "kubernetes/serviceaccount";
const CLAIM: &str = "kubernetes.io/serviceaccount/";
/// Set on a Secret whose token nobody used for a year.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// The unverified claims of a token of this form; none for any other.
pub fn claims(token: &str) -> Option<Value> {
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(token).ok()?;
    (claims["iss"] == ISSUER).then_some(claims)
}

/// The user of a token with these claims; none where the signature is not ours.
///
/// # Errors
/// What is gone, or was never as the claims say.
pub fn user(
    claims: &Value,
    token: &str,
    is_signed: bool,
    objects: &dyn Objects,
) -> Result<Option<User>, String> {
    if !is_signed {
        return Err("invalid bearer token".to_owned());
    }
    let claim = |name: &str| claims[format!("{CLAIM}{name}")].as_str().unwrap_or_default();
    let (namespace, account) = (claim("namespace"), claim("service-account.name"));
    let (uid, secret_name) = (claim("service-account.uid"), claim("secret.name"));
    if [namespace, account, uid, secret_name].contains(&"") {
        return Err("a claim of the service account token is missing".to_owned());
    }
    if claims["sub"] != format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{account}") {
        return Err("token subject does not match its claims".to_owned());
    }
    let secret = objects.get("", "secrets", namespace, secret_name);
    let secret = secret.filter(|secret| secret["metadata"]["deletionTimestamp"].is_null());
    let secret = secret.ok_or("service account token has been invalidated")?;
    let held = secret["data"]["token"].as_str().and_then(|text| STANDARD.decode(text).ok());
    if held.as_deref() != Some(token.as_bytes()) {
        return Err("service account token does not match server's copy".to_owned());
    }
    let found = objects.get("", "serviceaccounts", namespace, account);
    let found = found.filter(|account| account["metadata"]["deletionTimestamp"].is_null());
    let found = found.ok_or_else(|| format!("service account {namespace}/{account} has been deleted"))?;
    if found["metadata"]["uid"] != uid {
        let found = found["metadata"]["uid"].as_str().unwrap_or_default();
        return Err(format!("service account UID ({found}) does not match claim ({uid})"));
    }
    if !secret["metadata"]["labels"][INVALID_SINCE].is_null() {
        return Err(format!(
            "the token in secret {namespace}/{secret_name} for service account \
            {namespace}/{account} has been marked invalid. Use tokens from the TokenRequest API or manually \
            created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily \
            allow use of this token"
        ));
    }
    Ok(Some(User::service_account(namespace, account, uid)))
}
