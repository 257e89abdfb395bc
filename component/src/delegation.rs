//! Who may use a component's server: client certificates and tokens say who it is, the API server says what they may.
//!
//! Source: the pages "Kubernetes API Aggregation Layer" and "Webhook Token Authentication", for how the original delegates.

mod settings;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use http::{HeaderMap, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{
        NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
    },
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

pub use settings::{Settings, Shown};

/// Answers kept at most.
const MAX_KEPT: usize = 1000;
/// Whom every authenticated user belongs to.
const AUTHENTICATED: &str = "system:authenticated";

/// Who is asking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Its uid; empty where unknown.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Further facts, by their keys.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// The user of a verified client certificate: its common name, and its organizations as groups.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let subject = parsed.subject();
        let user = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?;
        let groups = subject.iter_organization().filter_map(|name| name.as_str().ok());
        let groups = groups.map(str::to_owned).collect();
        Some(Self { user: user.to_owned(), groups, ..Self::default() }.authenticated())
    }

    /// The user of requests without credentials.
    pub fn anonymous() -> Self {
        let groups = vec!["system:unauthenticated".to_owned()];
        Self { user: "system:anonymous".to_owned(), groups, ..Self::default() }
    }

    /// The same, in the group of all who are known.
    fn authenticated(mut self) -> Self {
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }
}

/// What somebody wants to use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A path of the server.
    Path(String),
    /// A part of a Node object that stands for the paths of its kubelet.
    Node {
        /// The node.
        name: String,
        /// The part.
        subresource: &'static str,
    },
}

/// How long answers of the API server hold.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// Who a token stands for.
    pub token: Duration,
    /// That somebody may.
    pub allowed: Duration,
    /// That somebody may not.
    pub denied: Duration,
}

/// An answer and the time until which it holds.
type Kept<T> = (T, Instant);
/// Who wants to do what.
type Question = (Identity, &'static str, Target);

/// Asks the API server, and remembers what it said.
pub struct Delegation {
    authentication: Option<Client>,
    authorization: Option<Client>,
    hold: Hold,
    /// Who a token's hash stands for.
    tokens: Mutex<HashMap<[u8; 32], Kept<Option<Identity>>>>,
    decisions: Mutex<HashMap<Question, Kept<bool>>>,
}

impl Delegation {
    /// Asks who a token stands for by the first client, and who may do what by the second. Without a client no token is
    /// known and nobody may.
    pub fn new(authentication: Option<Client>, authorization: Option<Client>, hold: Hold) -> Self {
        Self { authentication, authorization, hold, tokens: Mutex::default(), decisions: Mutex::default() }
    }

    /// Who a request's token stands for: `None` where it has none, or none that is known.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn of_token(&self, headers: &HeaderMap) -> kube::Result<Option<Identity>> {
        let (Some(token), Some(client)) = (bearer(headers), &self.authentication) else { return Ok(None) };
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some((identity, until)) = self.tokens.lock().get(&key)
            && Instant::now() < *until
        {
            return Ok(identity.clone());
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..Default::default()
        };
        let api: Api<TokenReview> = Api::all(client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let identity = user.map(|user| Identity {
            user: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        keep(&self.tokens, key, identity.clone(), self.hold.token);
        Ok(identity)
    }

    /// Whether somebody may do what a verb says.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn allows(&self, who: &Identity, verb: &'static str, target: Target) -> kube::Result<bool> {
        let Some(client) = &self.authorization else { return Ok(false) };
        let key = (who.clone(), verb, target);
        if let Some((allowed, until)) = self.decisions.lock().get(&key)
            && Instant::now() < *until
        {
            return Ok(*allowed);
        }
        let api: Api<SubjectAccessReview> = Api::all(client.clone());
        let answer = api.create(&PostParams::default(), &review(who, verb, &key.2)).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        keep(&self.decisions, key, allowed, if allowed { self.hold.allowed } else { self.hold.denied });
        Ok(allowed)
    }
}

/// The token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn keep<K: std::hash::Hash + Eq, V>(all: &Mutex<HashMap<K, Kept<V>>>, key: K, value: V, hold: Duration) {
    let mut all = all.lock();
    if all.len() >= MAX_KEPT {
        all.clear();
    }
    all.insert(key, (value, Instant::now() + hold));
}

fn review(who: &Identity, verb: &str, target: &Target) -> SubjectAccessReview {
    let mut spec = SubjectAccessReviewSpec {
        user: Some(who.user.clone()),
        uid: Some(who.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(who.groups.clone()),
        extra: Some(who.extra.clone()).filter(|extra| !extra.is_empty()),
        ..Default::default()
    };
    match target {
        Target::Path(path) => {
            let (path, verb) = (Some(path.clone()), Some(verb.to_owned()));
            spec.non_resource_attributes = Some(NonResourceAttributes { path, verb });
        }
        Target::Node { name, subresource } => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some((*subresource).to_owned()),
                name: Some(name.clone()),
                ..Default::default()
            });
        }
    }
    SubjectAccessReview { spec, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn tokens_of_requests() {
        let check = |value: &'static str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(bearer(&headers), expected, "{value}");
        };
        check("Bearer abc", Some("abc"));
        check("bearer abc", Some("abc"));
        check("Basic abc", None);
        check("Bearer ", None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_asked_of_the_api_server() {
        let who = Identity { user: "ann".to_owned(), ..Identity::default() }.authenticated();
        let path = review(&who, "get", &Target::Path("/metrics".to_owned())).spec;
        let attributes = path.non_resource_attributes.unwrap();
        assert_eq!((attributes.path.as_deref(), attributes.verb.as_deref()), (Some("/metrics"), Some("get")));
        assert_eq!((path.uid, path.groups), (None, Some(vec![AUTHENTICATED.to_owned()])));
        let node = Target::Node { name: "n1".to_owned(), subresource: "stats" };
        let node = review(&who, "create", &node).spec.resource_attributes.unwrap();
        assert_eq!((node.resource.as_deref(), node.subresource.as_deref()), (Some("nodes"), Some("stats")));
    }

    #[tokio::test]
    async fn nobody_is_known_without_an_api_server() {
        let second = Duration::from_secs(1);
        let hold = Hold { token: second, allowed: second, denied: second };
        let delegation = Delegation::new(None, None, hold);
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer abc"))]);
        assert_eq!(delegation.of_token(&headers).await.unwrap(), None);
        let target = Target::Path("/metrics".to_owned());
        assert!(!delegation.allows(&Identity::anonymous(), "get", target).await.unwrap());
    }
}
