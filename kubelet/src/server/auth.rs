//! Who may use the server: client certificates and tokens say who it is, the API server says what they may.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::Failure;

/// How long an answer of the API server holds.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
const DENIED_FOR: Duration = Duration::from_secs(30);
const TOKEN_FOR: Duration = Duration::from_secs(120);
/// Answers kept at most.
const MAX_KEPT: usize = 1000;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// The user of a verified client certificate: its common name, and its organizations as groups.
pub fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|name| name.as_str().ok());
    let groups = groups.map(str::to_owned).chain(["system:authenticated".to_owned()]).collect();
    Some(Identity { user, groups })
}

/// An answer and the time until which it holds.
type Kept<T> = (T, Instant);
/// Who wants to do what with which subresource.
type Question = (Identity, &'static str, &'static str);

/// Decides, with the API server's help.
pub struct Access {
    client: Option<Client>,
    node: String,
    /// Who a token's hash stands for, and until when that holds.
    tokens: Mutex<HashMap<[u8; 32], Kept<Option<Identity>>>>,
    decisions: Mutex<HashMap<Question, Kept<bool>>>,
}

impl Access {
    /// Access to this node.
    pub fn new(client: Option<Client>, node: String) -> Self {
        Self { client, node, tokens: Mutex::default(), decisions: Mutex::default() }
    }

    /// Checks one request: 401 for the unknown, 403 for those who may not.
    pub async fn check(
        &self,
        certificate: Option<Identity>,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Failure> {
        let unknown = || Failure(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        let identity = match certificate {
            Some(identity) => identity,
            None => self.by_token(headers).await?.ok_or_else(unknown)?,
        };
        let Some(client) = &self.client else { return Ok(()) };
        let (verb, subresources) = (verb(method), subresources(path));
        for subresource in subresources {
            if self.allowed(client, &identity, verb, subresource).await? {
                return Ok(());
            }
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])",
            identity.user,
            subresources.join(" ")
        );
        Err(Failure(StatusCode::FORBIDDEN, message))
    }

    async fn by_token(&self, headers: &HeaderMap) -> Result<Option<Identity>, Failure> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        let (Some(token), Some(client)) = (token, &self.client) else { return Ok(None) };
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
        let answer = api.create(&PostParams::default(), &review).await.map_err(Failure::internal)?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let identity = user.map(|user| Identity {
            user: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        });
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MAX_KEPT {
            tokens.clear();
        }
        tokens.insert(key, (identity.clone(), Instant::now() + TOKEN_FOR));
        Ok(identity)
    }

    async fn allowed(
        &self,
        client: &Client,
        identity: &Identity,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, Failure> {
        let key = (identity.clone(), verb, subresource);
        if let Some((allowed, until)) = self.decisions.lock().get(&key)
            && Instant::now() < *until
        {
            return Ok(*allowed);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(identity.user.clone()),
                groups: Some(identity.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(self.node.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(Failure::internal)?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        let keep = if allowed { ALLOWED_FOR } else { DENIED_FOR };
        let mut decisions = self.decisions.lock();
        if decisions.len() >= MAX_KEPT {
            decisions.clear();
        }
        decisions.insert(key, (allowed, Instant::now() + keep));
        Ok(allowed)
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The subresources of `nodes` that a path stands for; the right to one of them is enough (KEP-2862).
fn subresources(path: &str) -> &'static [&'static str] {
    let under =
        |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    if under("/stats") {
        &["stats"]
    } else if under("/metrics") {
        &["metrics"]
    } else if under("/logs") {
        &["log"]
    } else if under("/checkpoint") {
        &["checkpoint"]
    } else if path == "/pods" || under("/runningpods") {
        &["pods", "proxy"]
    } else if under("/healthz") {
        &["healthz", "proxy"]
    } else if path == "/configz" {
        &["configz", "proxy"]
    } else {
        &["proxy"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_subresources() {
        let check = |path: &str, expected: &[&str]| assert_eq!(subresources(path), expected, "{path}");
        check("/stats/summary", &["stats"]);
        check("/metrics", &["metrics"]);
        check("/metrics/resource", &["metrics"]);
        check("/metricsx", &["proxy"]);
        check("/exec/a/b/c", &["proxy"]);
        check("/pods", &["pods", "proxy"]);
        check("/configz", &["configz", "proxy"]);
        check("/healthz/syncloop", &["healthz", "proxy"]);
    }
}
