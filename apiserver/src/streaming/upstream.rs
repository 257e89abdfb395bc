//! Connections to kubelets, pods and services: one for each request, upgraded ones piped until either side ends.
use super::location::Target;
use super::trust::TrustAll;
use super::tunnel::{KUBELET, Tunnel, Tunnels};
use crate::audit::Record;
use crate::outbound::{Verifier, address, dial, of_handshake, reason};
use crate::server::{Body, Request, RequestBody, Response};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use knarr_api::Value;
use knarr_api::status::{Resource, Status};
use knarr_reload::identity::Shown;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// How long a node's address is tried before its tunnel is.
const HEAD_START: Duration = Duration::from_millis(300);
/// Port of kubelets that do not say theirs.
const KUBELET_PORT: u16 = 10250;
/// The largest error text of a kubelet that is passed on, in bytes.
const MAX_ERROR: usize = 2048;
/// Headers about one connection only.
pub(crate) const HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What [`Upstream::new`] needs.
pub struct Config {
    /// Authority of kubelets, PEM; none: not verified.
    pub kubelet_ca: Option<Vec<u8>>,
    /// Certificate to show to kubelets.
    pub kubelet_identity: Option<Shown>,
    /// How long a connection and its handshake may take each.
    pub patience: Duration,
    /// Kinds of node addresses, best first.
    pub address_types: Vec<String>,
}

/// Makes the connections.
pub struct Upstream {
    kubelet: Arc<ClientConfig>,
    other: Arc<ClientConfig>,
    patience: Duration,
    address_types: Vec<String>,
    /// Ways to nodes that cannot be dialled.
    pub(super) tunnels: Arc<Tunnels>,
}

impl Upstream {
    /// Prepares the TLS settings.
    ///
    /// # Errors
    /// A malformed authority or certificate.
    pub fn new(config: Config, provider: &Arc<CryptoProvider>) -> anyhow::Result<Self> {
        let builder =
            || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let trusting = Arc::new(TrustAll(provider.clone()));
        let verified = match config.kubelet_ca {
            Some(pem) => {
                let given = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?;
                let verifier = Verifier::new(given, provider).map_err(anyhow::Error::msg)?;
                builder()?.dangerous().with_custom_certificate_verifier(verifier)
            }
            None => builder()?.dangerous().with_custom_certificate_verifier(trusting.clone()),
        };
        let kubelet = match config.kubelet_identity {
            Some(shown) => verified.with_client_cert_resolver(Arc::new(shown)),
            None => verified.with_no_client_auth(),
        };
        let other = builder()?.dangerous().with_custom_certificate_verifier(trusting).with_no_client_auth();
        Ok(Self {
            kubelet: Arc::new(kubelet),
            other: Arc::new(other),
            patience: config.patience,
            address_types: config.address_types,
            tunnels: Arc::default(),
        })
    }

    /// Where a node's kubelet listens, by the Node's status.
    ///
    /// # Errors
    /// 503 for a node without an address of a wanted kind.
    pub fn kubelet(&self, name: &str, node: &Value) -> Result<Target, Status> {
        let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut hosts: Vec<String> = Vec::new();
        for wanted in &self.address_types {
            let of_type = addresses.iter().filter(|a| a["type"] == wanted.as_str());
            hosts.extend(of_type.filter_map(|a| a["address"].as_str()).map(str::to_owned));
        }
        if hosts.is_empty() {
            let types = self.address_types.join(" ");
            let text = format!("no preferred addresses found for node {name:?}; known types: [{types}]");
            return Err(Status::internal(text));
        }
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        let port =
            port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(KUBELET_PORT);
        Ok(Target { tls: true, node: Some(name.to_owned()), kubelet: true, hosts, port, path: String::new() })
    }

    /// Passes a request on and answers what comes back; an upgrade is piped.
    ///
    /// # Errors
    /// 503 where the target cannot be reached.
    pub async fn forward(&self, target: Target, request: Request) -> Result<Response, Status> {
        let answer = if request.headers().contains_key(header::UPGRADE) {
            self.pipe(&target, request).await
        } else {
            self.send(&target, request).await
        };
        answer.map_err(|text| Status::unavailable(format!("error trying to reach service: {text}")))
    }

    /// Reads from a target.
    ///
    /// # Errors
    /// 500 where it cannot be reached.
    pub async fn get(&self, target: &Target, request: Request) -> Result<Response, Status> {
        let answer = self.send(target, request).await;
        answer.map_err(|text| Status::new(500, "", format!("Get {:?}: {text}", target.url())))
    }

    /// Passes a request on that has to be upgraded.
    ///
    /// # Errors
    /// 400 for one that asks for no upgrade, 500 where the target cannot be reached, the target's own refusal.
    pub async fn upgrade(&self, target: Target, request: Request) -> Result<Response, Status> {
        if !request.headers().contains_key(header::UPGRADE) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let answer = self.pipe(&target, request).await;
        let answer = answer.map_err(|text| Status::new(500, "", format!("error dialing backend: {text}")))?;
        checked(answer, Resource { group: "", plural: "pods" }, "").await
    }

    async fn send(&self, target: &Target, mut request: Request) -> Result<Response, String> {
        let headers = outgoing(request.headers(), target, false);
        let body = std::mem::replace(request.body_mut(), RequestBody::Full(Bytes::new()));
        let method = request.method().clone();
        let mut sender = self.connect(target).await?;
        let response = sender.send_request(build(method, target, headers, boxed(body))?).await;
        response.map(incoming).map_err(|error| reason(&error))
    }

    async fn pipe(&self, target: &Target, mut request: Request) -> Result<Response, String> {
        let client = hyper::upgrade::on(&mut request);
        // What is recorded of the stream ends with it.
        let record = request.extensions().get::<Arc<Record>>().cloned();
        let headers = outgoing(request.headers(), target, true);
        let mut sender = self.connect(target).await?;
        let empty = RequestBody::Full(Bytes::new());
        let outgoing = build(request.method().clone(), target, headers, boxed(empty))?;
        let response = sender.send_request(outgoing).await.map_err(|error| reason(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(incoming(response));
        }
        Ok(switched(client, (sender, record), response))
    }

    /// By the way that works: the node's address, or its tunnel where it has one and the address leads nowhere, or to
    /// somebody who is not the node.
    async fn connect(&self, target: &Target) -> Result<Sender, String> {
        let tunnel = target.node.as_deref().and_then(|node| self.tunnels.of(node));
        let Some(tunnel) = tunnel else { return self.first_of(target, None).await };
        if tunnel.comes_first() {
            return self.first_of(target, Some(&tunnel)).await;
        }
        let mut direct = pin!(self.first_of(target, None));
        let early = tokio::time::timeout(HEAD_START, direct.as_mut()).await;
        if let Ok(Ok(sender)) = early {
            return Ok(sender);
        }
        if let Ok(sender) = self.first_of(target, Some(&tunnel)).await {
            tunnel.is_needed();
            return Ok(sender);
        }
        match early {
            Ok(failed) => failed,
            Err(_) => direct.await,
        }
    }

    /// The first host that answers; a node's name need not be known to the server's resolver, its address is.
    async fn first_of(&self, target: &Target, tunnel: Option<&Tunnel>) -> Result<Sender, String> {
        let mut failed = None;
        for host in &target.hosts {
            let connected = match tunnel {
                None => match dial(host, target.port, self.patience).await {
                    Ok(stream) => self.speak(host, target, stream).await,
                    Err(text) => Err(text),
                },
                Some(tunnel) => match through(tunnel, host, target).await {
                    Ok(stream) => self.speak(host, target, stream).await,
                    Err(text) => Err(text),
                },
            };
            match connected {
                Ok(sender) => return Ok(sender),
                Err(text) => failed = failed.or(Some(text)),
            }
        }
        Err(failed.unwrap_or_else(|| "no address".to_owned()))
    }

    /// TLS where the target has it, then HTTP.
    async fn speak<S>(&self, host: &str, target: &Target, stream: S) -> Result<Sender, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !target.tls {
            return handshake(stream).await;
        }
        let config = if target.kubelet { &self.kubelet } else { &self.other };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream =
            tokio::time::timeout(self.patience, TlsConnector::from(config.clone()).connect(name, stream))
                .await;
        let stream = stream.map_err(|_| "net/http: TLS handshake timeout".to_owned())?;
        handshake(stream.map_err(|error| of_handshake(host, &error))?).await
    }
}

/// A connection that a target's node opens: to its kubelet, or to an address. Names are not the node's to resolve.
async fn through(
    tunnel: &Tunnel,
    host: &str,
    target: &Target,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, String> {
    let to = match host.parse::<IpAddr>() {
        _ if target.kubelet => KUBELET,
        Ok(_) => host,
        Err(_) => return Err(format!("{host:?} is no address on a node")),
    };
    tunnel.open(&address(to, target.port)).await
}

/// Answers a client whose connection is to be upgraded as the target's was, and pipes one into the other. `sender` keeps
/// the target's connection.
pub(crate) fn switched(
    client: OnUpgrade,
    sender: impl Send + 'static,
    mut response: http::Response<Incoming>,
) -> Response {
    let server = hyper::upgrade::on(&mut response);
    let mut answer = http::Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    tokio::spawn(async move {
        // The response's part of the connection becomes the upgraded stream.
        let _sender = sender;
        match futures::future::try_join(client, server).await {
            Ok((client, server)) => {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                let ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                tracing::debug!(?ended, "stream ended");
            }
            Err(error) => tracing::debug!(%error, "stream could not be upgraded"),
        }
    });
    answer
}

type OutBody = UnsyncBoxBody<Bytes, hyper::Error>;
type Sender = http1::SendRequest<OutBody>;

fn boxed(body: RequestBody) -> OutBody {
    match body {
        RequestBody::Incoming(incoming) => incoming.boxed_unsync(),
        RequestBody::Full(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
    }
}

async fn handshake<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| reason(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a backend ended");
        }
    });
    Ok(sender)
}

fn build(
    method: http::Method,
    target: &Target,
    headers: HeaderMap,
    body: OutBody,
) -> Result<http::Request<OutBody>, String> {
    let request = http::Request::builder().method(method).uri(&target.path).body(body);
    let mut request = request.map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The client's headers for the target: no credentials, nothing of the client's connection.
fn outgoing(headers: &HeaderMap, target: &Target, upgrade: bool) -> HeaderMap {
    let mut out = headers.clone();
    out.remove(header::AUTHORIZATION);
    if !upgrade {
        HOP.iter().for_each(|name| drop(out.remove(name)));
    }
    if let Ok(host) = HeaderValue::from_str(&target.authority()) {
        out.insert(header::HOST, host);
    }
    out
}

/// A target's answer as it goes to the client.
pub(crate) fn incoming(response: http::Response<Incoming>) -> Response {
    let (mut parts, incoming) = response.into_parts();
    HOP.iter().for_each(|name| drop(parts.headers.remove(name)));
    let stream = BodyDataStream::new(incoming).map_err(std::io::Error::other);
    http::Response::from_parts(http_head(parts), Body::Stream(stream.boxed()))
}

/// A response of HTTP/1.1 may be answered over HTTP/2: its version is not ours.
fn http_head(mut parts: http::response::Parts) -> http::response::Parts {
    parts.version = http::Version::default();
    parts
}

/// Passes a good answer on; turns an error text of a kubelet into a `Status`.
///
/// # Errors
/// The target's refusal.
pub async fn checked(response: Response, resource: Resource<'_>, name: &str) -> Result<Response, Status> {
    let code = response.status().as_u16();
    if response.status().is_success() || code == 101 {
        return Ok(response);
    }
    let mut text = Vec::new();
    let mut stream = BodyDataStream::new(response.into_body());
    while let Some(Ok(piece)) = stream.next().await {
        text.extend_from_slice(&piece);
        if text.len() > MAX_ERROR {
            text.truncate(MAX_ERROR);
            break;
        }
    }
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Err(match code {
        400 => Status::bad_request(text),
        404 => Status {
            message: format!("the server could not find the requested resource ( {resource} {name}): {text}"),
            ..Status::not_found(resource, name)
        },
        500 => Status::internal(text),
        503 => Status::unavailable(text),
        code => Status::new(code, "", text),
    })
}
