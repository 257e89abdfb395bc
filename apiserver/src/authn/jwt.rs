//! Tokens of other issuers: OpenID Connect and whatever else signs JSON Web Tokens.
//!
//! A token is looked at by the issuer it names alone. Of the algorithms, those that need a shared secret and `none` do
//! not exist here, so that a public key can never be taken for one. ES512 cannot be verified: tokens signed so are
//! refused.
mod claims;
mod keys;

pub use claims::Settings;

use super::structured::IssuerSettings;
use crate::clock::now_seconds;
use crate::outbound::{Outbound, Trust};
use crate::user::User;
use jsonwebtoken::{Algorithm, Validation};
use keys::Keys;
use knarr_api::Value;
use std::sync::Arc;

/// Clocks may differ so much where a token is not valid yet, in seconds.
const LEEWAY: u64 = 300;
/// Algorithms that may sign.
pub const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

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
            algorithms: ALGORITHMS.to_vec(),
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
        // Names of algorithms that are not known do not decode.
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!("unexpected signature algorithm {:?}", header.alg));
        }
        let mut validation = Validation::new(header.alg);
        validation.algorithms = vec![header.alg];
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let mut verified = None;
        for key in self.keys.candidates(header.kid.as_deref(), header.alg).await? {
            if let Ok(data) = jsonwebtoken::decode::<Value>(token, &key, &validation) {
                verified = Some(data.claims);
                break;
            }
        }
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
