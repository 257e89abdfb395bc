//! Tokens of other issuers: OpenID Connect and whatever else signs JSON Web Tokens.
//!
//! A token is looked at by the issuer it names alone.
mod claims;
mod keys;
mod signature;

pub use claims::Settings;
pub use signature::Algorithm;

use super::structured::IssuerSettings;
use crate::clock::now_seconds;
use crate::outbound::{Outbound, Trust};
use crate::user::User;
use keys::Keys;
use knarr_api::Value;
use signature::Header;
use std::sync::Arc;

/// Clocks may differ so much where a token is not valid yet, in seconds.
const LEEWAY: u64 = 300;
/// One issuer of tokens.
pub struct Issuer {
    url: String,
    audiences: Vec<String>,
    /// Those that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    settings: Settings,
    keys: Keys,
}

impl Issuer {
    /// An issuer whose keys are fetched when the first token comes.
    ///
    /// # Errors
    /// URLs and authorities that cannot be used.
    pub fn new(
        settings: Settings,
        issuer: &IssuerSettings,
        outbound: &Arc<Outbound>,
    ) -> Result<Self, String> {
        let trust = Trust::pem(issuer.certificate_authority.clone().into_bytes())?;
        let keys = Keys::new(&issuer.url, &issuer.discovery_url, trust, outbound.clone())?;
        Ok(Self {
            url: issuer.url.clone(),
            audiences: issuer.audiences.clone(),
            algorithms: Algorithm::ALL.to_vec(),
            settings,
            keys,
        })
    }

    /// The user of a token; none for one of another issuer.
    ///
    /// # Errors
    /// What is wrong with the token, or with the issuer.
    pub async fn authenticate(&self, token: &str) -> Result<Option<User>, String> {
        let unverified = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(token);
        if unverified.is_err() || unverified.is_ok_and(|claims| claims["iss"] != self.url.as_str()) {
            return Ok(None);
        }
        let claims = self.verify(token).await.map_err(|error| format!("oidc: verify token: {error}"))?;
        self.settings.user(&claims).map(Some).map_err(|error| format!("oidc: {error}"))
    }

    async fn verify(&self, token: &str) -> Result<Value, String> {
        let Header { algorithm, key } = Header::of(token)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(format!("unexpected signature algorithm {algorithm:?}"));
        }
        let candidates = self.keys.candidates(key.as_deref(), algorithm).await?;
        let verified = candidates.iter().find_map(|key| key.verify(token, algorithm));
        let claims = verified.ok_or("failed to verify id token signature")?;
        self.check_times(&claims)?;
        self.check_audience(&claims)?;
        Ok(claims)
    }

    fn check_times(&self, claims: &Value) -> Result<(), String> {
        let seconds = |claim: &str| claims[claim].as_f64().map(|seconds| seconds as u64);
        let now = now_seconds();
        match seconds("exp") {
            Some(expiry) if expiry > now => {}
            expiry => return Err(format!("token is expired (Token Expiry: {})", expiry.unwrap_or_default())),
        }
        match seconds("nbf") {
            Some(before) if before > now + LEEWAY => {
                Err("current time before the nbf (not before) time".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_audience(&self, claims: &Value) -> Result<(), String> {
        let found: Vec<&str> = match &claims["aud"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if found.iter().any(|audience| self.audiences.iter().any(|wanted| wanted == audience)) {
            return Ok(());
        }
        Err(format!("expected audience in {:?} got {found:?}", self.audiences))
    }
}
