//! Who may use the server: client certificates and tokens say who it is, the API server says what they may.

use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use knarr_component::delegation::{Delegation, Hold, Identity, Target};
use kube::Client;

use super::Failure;

/// How long answers of the API server hold.
const HOLD: Hold = Hold {
    token: Duration::from_secs(120),
    allowed: Duration::from_secs(300),
    denied: Duration::from_secs(30),
};

/// Decides, with the API server's help.
pub struct Access {
    delegation: Delegation,
    /// Nobody can be asked what holders of a certificate may.
    alone: bool,
    node: String,
}

impl Access {
    /// Access to this node.
    pub fn new(client: Option<Client>, node: String) -> Self {
        let alone = client.is_none();
        Self { delegation: Delegation::new(client.clone(), client, HOLD), alone, node }
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
            None => {
                self.delegation.of_token(headers).await.map_err(Failure::internal)?.ok_or_else(unknown)?
            }
        };
        if self.alone {
            return Ok(());
        }
        let (verb, subresources) = (verb(method), subresources(path));
        for subresource in subresources {
            let target = Target::Node { name: self.node.clone(), subresource };
            if self.delegation.allows(&identity, verb, target).await.map_err(Failure::internal)? {
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
