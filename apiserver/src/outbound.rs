//! The server's client for other servers that extend it: admission and conversion webhooks, aggregated API servers.
//!
//! One place for what they share: where a Service is, whom to trust, connections that are kept and used again (HTTP/2
//! where it is offered), a limit on time and on the size of answers, and texts of failures as the original words them.
//! Redirects are not followed.
mod connector;
pub mod kubeconfig;
mod resolve;
pub mod review;
mod texts;
mod tls;
mod verify;

pub use connector::{Stream, dial};
pub use resolve::{Ready, ready_endpoints, service_port};
pub use texts::{address, internal, of_handshake};
pub use tls::Trust;
pub use verify::Verifier;

use crate::objects::Objects;
use bytes::{Bytes, BytesMut};
use connector::{Connector, DialError};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use knarr_api::Value;
use knarr_reload::identity::Shown;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Body of a request that is sent.
pub type OutBody = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

type HttpClient = Client<Connector, OutBody>;

/// Clients kept; when there are more, all are made anew as they are needed.
const MAX_CLIENTS: usize = 256;
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// A connection that is silent for the first is asked, and given up when it does not answer within the second: a pod's
/// node may be gone without a word.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// Where the other end is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A Service of the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// A port of it.
        port: u16,
    },
    /// A host name or address.
    Host {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// A server to be called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host and port as they stand in URLs.
    pub authority: String,
    /// Path of the URL; begins with a slash.
    pub path: String,
    /// Where to connect to.
    pub target: Target,
    /// The name that its certificate must have.
    pub server_name: String,
    /// Who may sign its certificate.
    pub trust: Trust,
}

impl Endpoint {
    /// A Service of the cluster, known to its certificate as `‹name›.‹namespace›.svc`.
    pub fn of_service(namespace: &str, name: &str, port: u16, path: &str, trust: Trust) -> Self {
        let server_name = format!("{name}.{namespace}.svc");
        Self {
            authority: format!("{server_name}:{port}"),
            path: clean_path(path),
            target: Target::Service { namespace: namespace.to_owned(), name: name.to_owned(), port },
            server_name,
            trust,
        }
    }

    /// The server a `WebhookClientConfig` names.
    ///
    /// # Errors
    /// Why it names none, as the original says it.
    pub fn of_webhook(config: &Value) -> Result<Self, String> {
        let trust = Trust::bundle(config["caBundle"].as_str().unwrap_or_default())?;
        let service = &config["service"];
        if service.is_object() {
            let text = |field: &str| service[field].as_str().unwrap_or_default();
            let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
            return Ok(Self::of_service(text("namespace"), text("name"), port, text("path"), trust));
        }
        let url = config["url"].as_str().unwrap_or_default();
        if url.is_empty() {
            return Err("webhook configuration must have either service or URL".to_owned());
        }
        let endpoint = Self::of_url(url, trust)?;
        let path = endpoint.path.split('?').next().map(clean_path).unwrap_or_default();
        Ok(Self { path, ..endpoint })
    }

    /// The server of an `https://` URL, with the URL's path and query as they are.
    ///
    /// # Errors
    /// Why it is none, as the original says it.
    pub(crate) fn of_url(url: &str, trust: Trust) -> Result<Self, String> {
        let unparsable = || format!("Unparsable URL: parse {url:?}: invalid URL");
        let uri: http::Uri = url.parse().map_err(|_| unparsable())?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(unparsable());
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self {
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            target: Target::Host { host: host.clone(), port: authority.port_u16().unwrap_or(443) },
            server_name: host,
            trust,
        })
    }
}

fn clean_path(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

/// A call that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CallError {
    /// The HTTP status the server answered with; none where it did not answer.
    pub code: Option<u16>,
    /// In the original's words.
    pub text: String,
}

/// One call.
#[derive(Debug)]
pub struct Post<'a> {
    /// JSON.
    pub body: Bytes,
    /// Time until the whole answer is here.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub limit: usize,
    /// `User-Agent`.
    pub agent: &'a str,
    /// Tell the server the time it has, as `?timeout=`.
    pub tell_timeout: bool,
    /// Credentials.
    pub authorization: Option<&'a HeaderValue>,
}

/// Calls other servers.
pub struct Outbound {
    shared: Arc<connector::Shared>,
    clients: Mutex<HashMap<Key, HttpClient>>,
}

/// What a client is kept by: connections of one are never used for another.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    authority: String,
    target: Target,
    server_name: String,
    trust: Trust,
}

impl Outbound {
    /// A client that finds Services in `objects`: at their cluster addresses, or straight at their endpoints
    /// (`--enable-aggregator-routing`). `own` is this server's address, which the Service `default/kubernetes` means;
    /// `identity` is shown where the endpoint's [`Trust`] says so.
    pub fn new(
        objects: Arc<dyn Objects>,
        to_endpoints: bool,
        own: Option<SocketAddr>,
        identity: Option<Arc<Shown>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let shared = connector::Shared { objects, to_endpoints, own, identity, provider };
        Self { shared: Arc::new(shared), clients: Mutex::default() }
    }

    /// A client that finds servers as this one does, with connections of its own that show another certificate.
    #[must_use]
    pub fn showing(&self, identity: Arc<Shown>) -> Self {
        let connector::Shared { objects, to_endpoints, own, provider, .. } = &*self.shared;
        Self::new(objects.clone(), *to_endpoints, *own, Some(identity), provider.clone())
    }

    /// Sends JSON and reads the answer of a success.
    ///
    /// # Errors
    /// No connection, no answer in time, one that is too large or no success.
    pub async fn post(&self, endpoint: &Endpoint, post: Post<'_>) -> Result<Bytes, CallError> {
        let query = if post.tell_timeout {
            format!("?timeout={}s", post.timeout.as_secs_f64().ceil().max(1.0))
        } else {
            String::new()
        };
        let url = format!("https://{}{}{query}", endpoint.authority, endpoint.path);
        let failed = |text: String| CallError { code: None, text: format!("Post {url:?}: {text}") };
        let work = self.send_post(endpoint, &url, &post);
        let answer = tokio::time::timeout(post.timeout, work).await;
        let (code, media, body) = answer
            .map_err(|_| failed("context deadline exceeded".to_owned()))?
            .map_err(|error| failed(texts::of_error(&*error)))?;
        if (200..=206).contains(&code) {
            return Ok(body);
        }
        Err(CallError { code: Some(code), text: texts::of_refusal(code, &media, &body) })
    }

    async fn send_post(
        &self,
        endpoint: &Endpoint,
        url: &str,
        post: &Post<'_>,
    ) -> Result<(u16, String, Bytes), Box<dyn StdError + Send + Sync>> {
        let mut request = http::Request::new(full(post.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.parse()?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*"));
        headers.insert(header::USER_AGENT, HeaderValue::from_str(post.agent)?);
        headers.extend(post.authorization.map(|value| (header::AUTHORIZATION, value.clone())));
        let response = self.request(endpoint, request).await?;
        let code = response.status().as_u16();
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let media = media.unwrap_or_default().to_owned();
        Ok((code, media, read(response.into_body(), post.limit).await?))
    }

    /// Sends a request over a kept connection. The URL's host is that of the endpoint, wherever it leads to.
    ///
    /// # Errors
    /// No connection, or one that broke.
    pub async fn request(
        &self,
        endpoint: &Endpoint,
        request: http::Request<OutBody>,
    ) -> Result<http::Response<Incoming>, Box<dyn StdError + Send + Sync>> {
        let client = self.client(endpoint)?;
        client.request(request).await.map_err(Into::into)
    }

    /// A connection of its own, speaking HTTP/1.1: for upgrades.
    ///
    /// # Errors
    /// No connection.
    pub async fn dial(&self, endpoint: &Endpoint) -> Result<Stream, Box<dyn StdError + Send + Sync>> {
        let connector = Connector::new(self.shared.clone(), endpoint, &[b"http/1.1"])?;
        Ok(connector.connect().await?)
    }

    /// Reads the answer to a GET.
    ///
    /// # Errors
    /// No connection, no answer in time, one that is too large.
    pub async fn get(
        &self,
        endpoint: &Endpoint,
        headers: HeaderMap,
        timeout: Duration,
        limit: usize,
    ) -> Result<http::Response<Bytes>, String> {
        let work = async {
            let mut request = http::Request::new(full(Bytes::new()));
            *request.uri_mut() = format!("https://{}{}", endpoint.authority, endpoint.path).parse()?;
            *request.headers_mut() = headers;
            let (parts, body) = self.request(endpoint, request).await?.into_parts();
            Ok(http::Response::from_parts(parts, read(body, limit).await?))
        };
        let url = format!("https://{}{}", endpoint.authority, endpoint.path);
        let failed = |text: String| format!("Get {url:?}: {text}");
        let answer: Result<_, Box<dyn StdError + Send + Sync>> =
            match tokio::time::timeout(timeout, work).await {
                Ok(answer) => answer,
                Err(_) => return Err(failed("context deadline exceeded".to_owned())),
            };
        answer.map_err(|error| failed(texts::of_error(&*error)))
    }

    fn client(&self, endpoint: &Endpoint) -> Result<HttpClient, DialError> {
        let key = Key {
            authority: endpoint.authority.clone(),
            target: endpoint.target.clone(),
            server_name: endpoint.server_name.clone(),
            trust: endpoint.trust.clone(),
        };
        if let Some(known) = self.clients.lock().get(&key) {
            return Ok(known.clone());
        }
        let connector = Connector::new(self.shared.clone(), endpoint, &[b"h2", b"http/1.1"])?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .build(connector);
        let mut clients = self.clients.lock();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// Why a request failed, in the original's words.
pub fn reason(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    texts::of_error(error)
}

/// A body in memory.
pub fn full(bytes: Bytes) -> OutBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Reads a body up to a limit.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Box<dyn StdError + Send + Sync>> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if all.len() + data.len() > limit {
            return Err(format!("response is larger than the limit of {limit} bytes").into());
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn webhook_configurations() {
        let check = |config: Value, expected: Result<(&str, &str, &str), &str>| {
            let found = Endpoint::of_webhook(&config);
            let found = found.as_ref().map(|e| (&*e.authority, &*e.path, &*e.server_name));
            assert_eq!(found.map_err(String::as_str), expected, "{config}");
        };
        let service = json!({"service": {"namespace": "n", "name": "s", "path": "/a/b"}});
        check(service, Ok(("s.n.svc:443", "/a/b", "s.n.svc")));
        let service = json!({"service": {"namespace": "n", "name": "s", "port": 8443}});
        check(service, Ok(("s.n.svc:8443", "/", "s.n.svc")));
        check(json!({"url": "https://a.b:8/c/"}), Ok(("a.b:8", "/c", "a.b")));
        check(json!({"url": "https://[::1]:8"}), Ok(("[::1]:8", "/", "::1")));
        check(json!({}), Err("webhook configuration must have either service or URL"));
        check(
            json!({"url": "https://a", "caBundle": "eA=="}),
            Err("unable to load root certificates: unable to parse bytes as PEM block"),
        );
    }
}
