//! The HTTPS server of a component: health for anybody, everything else for those whom the API server lets.

pub mod connections;
mod tls;

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use kube::Client;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    client,
    delegation::{Delegation, Hold, Identity, Settings, Shown, Target, bearer},
    flags::Server,
};

/// The group that may do everything.
const PRIVILEGED: &str = "system:masters";

/// Who may use a server.
struct Guard {
    settings: Settings,
    delegation: Delegation,
    /// Paths that anybody may get.
    open: Vec<String>,
}

/// Binds as the flags say and serves `router` until `stop`, as the component called `name`. Returns the bound address, or
/// `None` when the port is 0.
///
/// # Errors
/// The address is taken, or a file that flags name cannot be used.
pub async fn start(
    flags: &Server,
    default_port: u16,
    name: &'static str,
    router: Router,
    stop: CancellationToken,
) -> anyhow::Result<Option<SocketAddr>> {
    let port = flags.serving.secure_port.unwrap_or(default_port);
    if port == 0 {
        return Ok(None);
    }
    let guard = Arc::new(guard(flags, name, stop.clone()).await?);
    let tls = tls::acceptor(&flags.serving, name)?;
    let address = SocketAddr::new(flags.serving.bind_address, port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let router = router.layer(middleware::from_fn_with_state(guard, check));
    let streams = match flags.serving.http2_max_streams_per_connection {
        0 => connections::STREAMS,
        some => some,
    };
    let of_connection = move |chain: &[CertificateDer<'static>]| {
        let chain: Chain = Arc::new(chain.to_vec());
        router.clone().layer(Extension(chain))
    };
    tokio::spawn(connections::serve(listener, tls, streams, of_connection, stop));
    Ok(Some(address))
}

async fn guard(flags: &Server, name: &'static str, stop: CancellationToken) -> anyhow::Result<Guard> {
    let (authentication, authorization) = (&flags.authentication, &flags.authorization);
    let asks = async |path: Option<&Path>, flag| match path {
        Some(path) => client::connect(Some(path), name).await.map(Some).context(flag),
        None => Ok(None),
    };
    let users: Option<Client> =
        asks(authentication.authentication_kubeconfig.as_deref(), "--authentication-kubeconfig").await?;
    let rights: Option<Client> =
        asks(authorization.authorization_kubeconfig.as_deref(), "--authorization-kubeconfig").await?;
    let hold = Hold {
        token: authentication.authentication_token_webhook_cache_ttl,
        allowed: authorization.authorization_webhook_cache_authorized_ttl,
        denied: authorization.authorization_webhook_cache_unauthorized_ttl,
    };
    Ok(Guard {
        settings: Settings::new(authentication, users.clone(), stop)?,
        delegation: Delegation::new(users, rights, hold),
        open: authorization.authorization_always_allow_paths.clone(),
    })
}

/// The chain of a client's certificate; empty without one.
type Chain = Arc<Vec<CertificateDer<'static>>>;

/// Lets only those through who are known and allowed.
async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let chain = request.extensions().get::<Chain>().cloned().unwrap_or_default();
    let headers = request.headers().clone();
    let Some(who) = guard.who(&chain, &headers).await else {
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
    };
    let (verb, path) = (verb(request.method()), request.uri().path().to_owned());
    match guard.may(&who, verb, &path).await {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let message = format!("forbidden: User {:?} cannot {verb} path {path:?}", who.user);
            refusal(StatusCode::FORBIDDEN, "Forbidden", &message)
        }
        Err(error) => {
            let message = format!("Internal Server Error: {path:?}: {}", client::message(&error));
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

impl Guard {
    /// Who is asking; `None` where credentials were shown that are no good.
    async fn who(&self, chain: &[CertificateDer<'static>], headers: &HeaderMap) -> Option<Identity> {
        let shown = self.settings.identity(chain, headers);
        if let Shown::Known(identity) = shown {
            return Some(identity);
        }
        match self.delegation.of_token(headers).await {
            Ok(Some(identity)) => Some(identity),
            Ok(None) if bearer(headers).is_none() && matches!(shown, Shown::Nothing) => {
                Some(Identity::anonymous())
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "the API server was asked about a token in vain");
                None
            }
        }
    }

    async fn may(&self, who: &Identity, verb: &'static str, path: &str) -> kube::Result<bool> {
        if is_open(&self.open, path) || who.groups.iter().any(|group| group == PRIVILEGED) {
            return Ok(true);
        }
        self.delegation.allows(who, verb, Target::Path(path.to_owned())).await
    }
}

/// Whether a path is one of these, or below one that ends in `*`. Slashes at the beginning do not count.
fn is_open(open: &[String], path: &str) -> bool {
    let path = path.trim_start_matches('/');
    open.iter().map(|open| open.trim_start_matches('/')).any(|open| match open.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == open,
    })
}

/// The verb of a request that is about no object.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "unknown",
    }
}

/// An answer in the original's form.
fn refusal(code: StatusCode, reason: &str, message: &str) -> Response {
    let mut status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code.as_u16(),
    });
    if code == StatusCode::FORBIDDEN {
        status["details"] = serde_json::json!({});
    }
    (code, axum::Json(status)).into_response()
}

#[cfg(test)]
mod tests;
