//! An issuer's keys: found by its discovery document, fetched when the first token comes, and again when a token names a
//! key that is not known, but not more often than [`FLOOR`] allows, whoever sends what.
use super::signature::{Algorithm, PublicKey};
use crate::outbound::{Endpoint, Outbound, Trust};
use http::HeaderMap;
use jsonwebtoken::jwk::Jwk;
use knarr_api::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The least time between two attempts to fetch keys, whether they succeed or fail.
const FLOOR: Duration = Duration::from_secs(2);
/// Time for one document.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document, in bytes.
const LIMIT: usize = 1 << 20;

/// The keys of one issuer.
pub struct Keys {
    issuer: String,
    discovery: Endpoint,
    trust: Trust,
    outbound: Arc<Outbound>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Vec<Key>,
    jwks: Option<Endpoint>,
    /// When keys were last asked for, and why none came.
    tried: Option<(Instant, Result<(), String>)>,
}

struct Key {
    id: Option<String>,
    algorithm: Option<String>,
    key: PublicKey,
}

impl Keys {
    /// Keys of an issuer, whose discovery document lies below its URL unless `discovery` says where.
    ///
    /// # Errors
    /// A URL that cannot be used.
    pub fn new(issuer: &str, discovery: &str, trust: Trust, outbound: Arc<Outbound>) -> Result<Self, String> {
        let url = match discovery {
            "" => format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
            given => given.to_owned(),
        };
        let discovery = Endpoint::of_url(&url, trust.clone())?;
        Ok(Self { issuer: issuer.to_owned(), discovery, trust, outbound, state: Mutex::default() })
    }

    /// The keys that may have signed a token with this header: the one of its id, or all when it names none.
    ///
    /// # Errors
    /// No such key, or the issuer did not give any.
    pub async fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<PublicKey>, String> {
        // One asks, the others wait for what it is told.
        let mut state = self.state.lock().await;
        let found = matching(&state.known, id, algorithm);
        if !found.is_empty() {
            return Ok(found);
        }
        match &state.tried {
            Some((at, outcome)) if at.elapsed() < FLOOR => outcome.clone()?,
            _ => {
                let outcome = self.fetch(&mut state).await;
                state.tried = Some((Instant::now(), outcome.clone()));
                outcome?;
            }
        }
        let found = matching(&state.known, id, algorithm);
        if found.is_empty() {
            Err("failed to verify signature: no matching key".to_owned())
        } else {
            Ok(found)
        }
    }

    async fn fetch(&self, state: &mut State) -> Result<(), String> {
        if state.jwks.is_none() {
            state.jwks = Some(self.discover().await?);
        }
        let Some(jwks) = &state.jwks else { return Ok(()) };
        let document = self.document(jwks).await?;
        let keys = document["keys"].as_array().ok_or("the key set holds no keys")?;
        state.known = keys.iter().filter_map(read).collect();
        Ok(())
    }

    async fn discover(&self) -> Result<Endpoint, String> {
        let document = self.document(&self.discovery).await?;
        let text = |field: &str| document[field].as_str().unwrap_or_default();
        if text("issuer") != self.issuer {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.issuer,
                text("issuer")
            ));
        }
        Endpoint::of_url(text("jwks_uri"), self.trust.clone())
    }

    async fn document(&self, endpoint: &Endpoint) -> Result<Value, String> {
        let response = self.outbound.get(endpoint, HeaderMap::new(), TIMEOUT, LIMIT).await?;
        if !response.status().is_success() {
            return Err(format!("{}: {}", endpoint.path, response.status()));
        }
        serde_json::from_slice(response.body()).map_err(|error| error.to_string())
    }
}

/// A key that can verify; what cannot, or is no key for signatures, is left out.
fn read(value: &Value) -> Option<Key> {
    if value["use"].as_str().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let key = PublicKey::of(&jwk)?;
    let algorithm = value["alg"].as_str().map(str::to_owned);
    Some(Key { id: jwk.common.key_id, algorithm, key })
}

fn matching(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Vec<PublicKey> {
    let name = format!("{algorithm:?}");
    let fits = |key: &&Key| {
        id.is_none_or(|id| key.id.as_deref() == Some(id))
            && key.algorithm.as_ref().is_none_or(|known| *known == name)
            && key.key.suits(algorithm)
    };
    keys.iter().filter(fits).map(|key| key.key.clone()).collect()
}
