//! Authentication: who sends a request? Client certificates, bearer tokens (static and of ServiceAccounts), identity
//! headers of a trusted front proxy; otherwise anonymous, where that is allowed.
//!
//! Credentials that are presented and found wrong are a 401 even where anonymous requests are allowed.
pub mod impersonation;
pub mod request_header;
pub mod token_file;
pub mod x509;

use crate::objects::Objects;
use crate::tokens::{self, Tokens};
use crate::user::{AUTHENTICATED, UNAUTHENTICATED, User};
use base64::Engine;
use http::{HeaderMap, HeaderValue, header};
use knarr_api::status::Status;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the verdict on a ServiceAccount token holds, as in the original.
const CACHED: Duration = Duration::from_secs(10);
/// What a token among the WebSocket protocols begins with.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// Verdicts kept; more than this clears the table.
const CACHE_SIZE: usize = 8192;

/// What is known of the other end of a connection; certificates are verified once.
#[derive(Default)]
pub struct Peer {
    certificates: Vec<rustls::pki_types::CertificateDer<'static>>,
    verified: std::sync::OnceLock<Result<x509::Identity, String>>,
    proxy: std::sync::OnceLock<bool>,
}

impl Peer {
    /// A peer that presented these certificates, its own first.
    pub fn new(certificates: Vec<rustls::pki_types::CertificateDer<'static>>) -> Self {
        Self { certificates, ..Self::default() }
    }

    /// Did it present a certificate, whatever that is worth?
    pub fn has_certificate(&self) -> bool {
        !self.certificates.is_empty()
    }
}

/// Users of tokens, and until when that holds.
type Verdicts = HashMap<Box<str>, (Instant, Arc<User>)>;

/// The configured authenticators.
pub struct Authenticator {
    client_ca: Option<x509::Verifier>,
    proxy: Option<request_header::FrontProxy>,
    token_file: HashMap<String, Arc<User>>,
    tokens: Arc<Tokens>,
    objects: Arc<dyn Objects>,
    anonymous: Option<Arc<User>>,
    cache: Mutex<Verdicts>,
}

/// What [`Authenticator::new`] needs.
pub struct Config {
    /// Verifies client certificates (`--client-ca-file`).
    pub client_ca: Option<x509::Verifier>,
    /// `--requestheader-…`.
    pub proxy: Option<request_header::FrontProxy>,
    /// `--token-auth-file`, read.
    pub token_file: HashMap<String, Arc<User>>,
    /// ServiceAccount tokens.
    pub tokens: Arc<Tokens>,
    /// Where bound objects are looked up.
    pub objects: Arc<dyn Objects>,
    /// `--anonymous-auth`.
    pub anonymous: bool,
}

impl Authenticator {
    /// Puts the authenticators together.
    pub fn new(config: Config) -> Self {
        Self {
            client_ca: config.client_ca,
            proxy: config.proxy,
            token_file: config.token_file,
            tokens: config.tokens,
            objects: config.objects,
            anonymous: config.anonymous.then(|| Arc::new(User::anonymous())),
            cache: Mutex::default(),
        }
    }

    /// Who sends a request with these headers over this connection? Credentials are removed from the headers.
    ///
    /// # Errors
    /// 401.
    pub fn authenticate(&self, peer: &Peer, headers: &mut HeaderMap) -> Result<Arc<User>, Status> {
        let mut failed = None;
        if let Some(user) = self.by_proxy(peer, headers) {
            return Ok(user);
        }
        match self.by_certificate(peer) {
            Ok(Some(user)) => return Ok(user),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
        if let Some(token) = bearer_token(headers) {
            match self.by_token(&token, &[]) {
                Ok((user, _)) => {
                    remove_token(headers);
                    return Ok(user);
                }
                Err(error) => failed = Some(error),
            }
        }
        match (failed, &self.anonymous) {
            (None, Some(anonymous)) => Ok(anonymous.clone()),
            (None, None) => Err(Status::unauthorized()),
            (Some(error), _) => {
                tracing::warn!(error, "unable to authenticate the request");
                Err(Status::unauthorized())
            }
        }
    }

    /// Answers a TokenReview: the user of a token, and the audiences it shares with those asked for.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub fn review(&self, token: &str, audiences: &[String]) -> Result<(Arc<User>, Vec<String>), String> {
        self.by_token(token, audiences)
    }

    fn by_certificate(&self, peer: &Peer) -> Result<Option<Arc<User>>, String> {
        let (Some(verifier), false) = (&self.client_ca, peer.certificates.is_empty()) else {
            return Ok(None);
        };
        match peer.verified.get_or_init(|| verifier.verify(&peer.certificates)) {
            Ok(identity) if identity.is_current() => Ok(Some(identity.user.clone())),
            Ok(_) => Err("x509: certificate has expired or is not yet valid".to_owned()),
            Err(error) => Err(error.clone()),
        }
    }

    fn by_proxy(&self, peer: &Peer, headers: &mut HeaderMap) -> Option<Arc<User>> {
        let proxy = self.proxy.as_ref()?;
        if peer.certificates.is_empty() || !*peer.proxy.get_or_init(|| proxy.trusts(&peer.certificates)) {
            return None;
        }
        proxy.user(headers).map(|user| Arc::new(authenticated(user)))
    }

    fn by_token(&self, token: &str, audiences: &[String]) -> Result<(Arc<User>, Vec<String>), String> {
        if let Some(user) = self.token_file.get(token) {
            return Ok((user.clone(), audiences.to_vec()));
        }
        if audiences.is_empty()
            && let Some((until, user)) = self.cache.lock().get(token)
            && *until > Instant::now()
        {
            return Ok((user.clone(), self.tokens.audiences().to_vec()));
        }
        let Some((claims, common)) = self.tokens.verify(token, audiences)? else {
            return Err("invalid bearer token".to_owned());
        };
        let user = Arc::new(tokens::user_of(&claims, &*self.objects)?);
        if audiences.is_empty() {
            let mut cache = self.cache.lock();
            if cache.len() >= CACHE_SIZE {
                cache.clear();
            }
            cache.insert(token.into(), (Instant::now() + CACHED, user.clone()));
        }
        Ok((user, common))
    }
}

/// The token of `Authorization: Bearer …`, else the one that browsers, which cannot set that header, put among the
/// WebSocket protocols as `base64url.bearer.authorization.k8s.io.‹token›`.
fn bearer_token(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(Cow::Borrowed(token));
    }
    let protocols =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded =
        protocols.flat_map(|value| value.split(',')).find_map(|p| p.trim().strip_prefix(TOKEN_PROTOCOL))?;
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Takes the credentials out, so that nothing behind sees them.
fn remove_token(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let protocols =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<&str> = protocols.flat_map(|value| value.split(',')).map(str::trim).collect();
    if !all.iter().any(|protocol| protocol.starts_with(TOKEN_PROTOCOL)) {
        return;
    }
    let rest: Vec<&str> = all.into_iter().filter(|protocol| !protocol.starts_with(TOKEN_PROTOCOL)).collect();
    let rest = HeaderValue::from_str(&rest.join(", "));
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(rest) = rest {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
    }
}

/// The user as a member of `system:authenticated`.
pub fn authenticated(mut user: User) -> User {
    if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_requests() {
        let check =
            |name: http::HeaderName, value: &'static str, expected: Option<&str>, left: Option<&str>| {
                let mut headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
                assert_eq!(bearer_token(&headers).as_deref(), expected, "{value}");
                remove_token(&mut headers);
                assert_eq!(
                    headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|v| v.to_str().ok()),
                    left,
                    "{value}"
                );
            };
        check(header::AUTHORIZATION, "Bearer abc", Some("abc"), None);
        check(header::AUTHORIZATION, "Basic abc", None, None);
        check(header::AUTHORIZATION, "Bearer ", None, None);
        let protocols = "base64url.bearer.authorization.k8s.io.YWJj, v5.channel.k8s.io";
        check(header::SEC_WEBSOCKET_PROTOCOL, protocols, Some("abc"), Some("v5.channel.k8s.io"));
        check(header::SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io", None, Some("v5.channel.k8s.io"));
    }
}
