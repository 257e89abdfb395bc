//! Authentication: who sends a request? Identity headers of a trusted front proxy, client certificates, bearer tokens
//! (static, of ServiceAccounts, of joining nodes, of issuers, known to a webhook); otherwise anonymous, where that is
//! allowed.
//!
//! Credentials that are presented and found wrong are a 401 even where anonymous requests are allowed.
pub mod bootstrap_token;
pub(crate) mod cache;
pub mod impersonation;
pub mod jwt;
pub mod request_header;
pub mod structured;
pub mod token_file;
pub mod token_webhook;
pub mod x509;

use crate::loopback::Late;
use crate::metrics::TokenMetrics;
use crate::objects::Objects;
use crate::request_info::RequestInfo;
use crate::tokens::{Held, Remark, Tokens};
use crate::user::{AUTHENTICATED, UNAUTHENTICATED, User};
use base64::Engine;
use cache::Verdicts;
use http::{HeaderMap, HeaderValue, header};
use knarr_api::status::Status;
use knarr_reload::Reloaded;
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the verdict on a token holds, as in the original.
const CACHED: Duration = Duration::from_secs(10);
/// What a token among the WebSocket protocols begins with.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// A verdict on a peer's certificates, and the authorities it was reached with.
type Checked<T> = Mutex<Option<(Arc<x509::Verifier>, T)>>;

/// What is known of the other end of a connection; certificates are verified once, and again when the authorities change.
#[derive(Default)]
pub struct Peer {
    certificates: Vec<rustls::pki_types::CertificateDer<'static>>,
    verified: Checked<Result<Arc<x509::Identity>, String>>,
    proxy: Checked<bool>,
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

/// The verdict with the authorities of now.
fn checked<T: Clone>(known: &Checked<T>, verifier: &Arc<x509::Verifier>, check: impl FnOnce() -> T) -> T {
    let mut known = known.lock();
    match &*known {
        Some((with, verdict)) if Arc::ptr_eq(with, verifier) => verdict.clone(),
        _ => {
            let verdict = check();
            *known = Some((verifier.clone(), verdict.clone()));
            verdict
        }
    }
}

/// A user, the audiences a token shares with those asked for, and what is to be told of its use.
type Verdict = (Arc<User>, Vec<String>, Option<Arc<Remark>>);

/// Who sends a request.
pub struct Sender {
    /// The user.
    pub user: Arc<User>,
    /// What is to be told of the use of their token.
    pub remark: Option<Arc<Remark>>,
}

impl From<Arc<User>> for Sender {
    fn from(user: Arc<User>) -> Self {
        Self { user, remark: None }
    }
}

/// The configured authenticators.
pub struct Authenticator {
    config: Config,
    anonymous: Arc<User>,
    verdicts: Verdicts<Verdict>,
}

/// What [`Authenticator::new`] needs.
pub struct Config {
    /// Verifies client certificates (`--client-ca-file`).
    pub client_ca: Option<Reloaded<x509::Verifier>>,
    /// `--requestheader-…`.
    pub proxy: Option<request_header::FrontProxy>,
    /// `--token-auth-file`, read.
    pub token_file: HashMap<String, Arc<User>>,
    /// ServiceAccount tokens.
    pub tokens: Arc<Tokens>,
    /// Where bound objects are looked up.
    pub objects: Arc<dyn Objects>,
    /// `--enable-bootstrap-token-auth`.
    pub bootstrap_tokens: bool,
    /// `--authentication-config` or `--oidc-…`.
    pub structured: Reloaded<structured::Active>,
    /// `--authentication-token-webhook-config-file`.
    pub webhook: Option<token_webhook::TokenWebhook>,
    /// Notes the use of tokens that never end, once it is there.
    pub own: Arc<Late>,
    /// `--anonymous-auth`, where the configuration file does not speak of it.
    pub anonymous: bool,
    /// Takes the seconds that client certificates have left.
    pub expirations: Histogram,
    /// Counts ServiceAccount tokens.
    pub counts: TokenMetrics,
}

impl Authenticator {
    /// Puts the authenticators together.
    pub fn new(config: Config) -> Self {
        Self { config, anonymous: Arc::new(User::anonymous()), verdicts: Verdicts::default() }
    }

    /// Who sends a request with these headers over this connection? Credentials are removed from the headers.
    ///
    /// # Errors
    /// 401.
    pub async fn authenticate(
        &self,
        info: &RequestInfo,
        peer: &Peer,
        headers: &mut HeaderMap,
    ) -> Result<Sender, Status> {
        let mut failed = None;
        if let Some(user) = self.by_proxy(peer, headers) {
            return Ok(user.into());
        }
        match self.by_certificate(peer) {
            Ok(Some(user)) => return Ok(user.into()),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
        if let Some(token) = bearer_token(headers) {
            match self.by_token(&token).await {
                Ok((user, _, remark)) => {
                    remove_token(headers);
                    return Ok(Sender { user, remark });
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None if self.admits_anonymous(info) => Ok(self.anonymous.clone().into()),
            None => Err(Status::unauthorized()),
            Some(error) => {
                tracing::warn!(error, "unable to authenticate the request");
                Err(Status::unauthorized())
            }
        }
    }

    /// Answers a TokenReview: the user of a token, and the audiences it shares with those asked for.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<Verdict, String> {
        // Who asks for others wants to know what is true now.
        let wanted = if audiences.is_empty() { self.config.tokens.audiences() } else { audiences };
        let verdict = self.judge(token, wanted).await?;
        self.note_use(&verdict).await;
        Ok(verdict)
    }

    async fn note_use(&self, (_, _, remark): &Verdict) {
        if let (Some(held), Some(own)) = (remark.as_ref().and_then(|r| r.held()), self.config.own.get()) {
            held.note_use(&own).await;
        }
    }

    fn admits_anonymous(&self, info: &RequestInfo) -> bool {
        match &self.config.structured.get().anonymous {
            Some(anonymous) => anonymous.admits(info),
            None => self.config.anonymous,
        }
    }

    fn by_certificate(&self, peer: &Peer) -> Result<Option<Arc<User>>, String> {
        let (Some(verifier), false) = (&self.config.client_ca, peer.certificates.is_empty()) else {
            return Ok(None);
        };
        let verifier = verifier.get();
        let verify = || verifier.verify(&peer.certificates).map(Arc::new);
        match checked(&peer.verified, &verifier, verify)? {
            identity if identity.is_current() => {
                self.config.expirations.observe(identity.seconds_left() as f64);
                Ok(Some(identity.user.clone()))
            }
            _ => Err("x509: certificate has expired or is not yet valid".to_owned()),
        }
    }

    fn by_proxy(&self, peer: &Peer, headers: &mut HeaderMap) -> Option<Arc<User>> {
        let proxy = self.config.proxy.as_ref().filter(|_| !peer.certificates.is_empty())?;
        let verifier = proxy.verifier.get();
        if !checked(&peer.proxy, &verifier, || proxy.trusts(&verifier, &peer.certificates)) {
            return None;
        }
        proxy.user(headers).map(|user| Arc::new(authenticated(user)))
    }

    async fn by_token(&self, token: &str) -> Result<Verdict, String> {
        let key = self.verdicts.key(token, &[]);
        if let Some(verdict) = self.verdicts.get(&key) {
            return Ok(verdict);
        }
        let verdict = self.judge(token, self.config.tokens.audiences()).await?;
        self.note_use(&verdict).await;
        self.verdicts.put(key, verdict.clone(), CACHED);
        Ok(verdict)
    }

    /// Asks everybody who may know the token. Who knows of no audiences means those of this server.
    async fn judge(&self, token: &str, wanted: &[String]) -> Result<Verdict, String> {
        let config = &self.config;
        let own = config.tokens.audiences();
        let common: Vec<String> = own.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        let is_for_this = !common.is_empty() || wanted.is_empty();
        let mut errors = Vec::new();
        if let Some(user) = config.token_file.get(token).filter(|_| is_for_this) {
            return Ok((user.clone(), common, None));
        }
        match config.tokens.authenticate(token, wanted, &*config.objects) {
            Ok(Some(known)) => {
                known.remark.count(&config.counts);
                let verdict = (Arc::new(known.user), known.audiences, Some(Arc::new(known.remark)));
                match verdict.2.as_ref().and_then(|remark| remark.held()).and_then(Held::refusal) {
                    None => return Ok(verdict),
                    Some(refusal) => errors.push(refusal.to_owned()),
                }
                self.note_use(&verdict).await;
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        if config.bootstrap_tokens
            && is_for_this
            && let Some(user) = bootstrap_token::authenticate(token, &*config.objects)
        {
            return Ok((Arc::new(authenticated(user)), common, None));
        }
        let structured = config.structured.get();
        for issuer in structured.issuers.iter().filter(|_| is_for_this) {
            match issuer.authenticate(token).await {
                Ok(Some(user)) => return Ok((Arc::new(authenticated(user)), common, None)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(webhook) = &config.webhook {
            match webhook.authenticate(token, wanted, own).await {
                Ok(Some((user, audiences))) => return Ok((user, audiences, None)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        Err(match errors.as_slice() {
            [] => "invalid bearer token".to_owned(),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        })
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
