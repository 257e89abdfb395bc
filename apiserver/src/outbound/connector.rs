//! Opens the connections: finds the target, then TCP, then TLS.
use super::{Endpoint, Target, resolve, texts};
use crate::objects::Objects;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use knarr_reload::identity::Shown;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Time for a connection to be accepted, and for its handshake.
const CONNECT: Duration = Duration::from_secs(30);

/// An open connection.
pub type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// What all connections have in common.
pub struct Shared {
    pub objects: Arc<dyn Objects>,
    pub to_endpoints: bool,
    pub own: Option<SocketAddr>,
    pub identity: Option<Arc<Shown>>,
    pub provider: Arc<CryptoProvider>,
}

/// No connection, in the original's words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DialError(pub String);

/// Opens connections to one endpoint, looking up each time where it is.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
    target: Target,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Connector {
    /// A connector that offers these protocols.
    ///
    /// # Errors
    /// Settings that make no TLS client.
    pub fn new(shared: Arc<Shared>, endpoint: &Endpoint, protocols: &[&[u8]]) -> Result<Self, DialError> {
        let config = endpoint.trust.config(&shared.provider, shared.identity.as_ref(), protocols);
        let name = ServerName::try_from(endpoint.server_name.clone())
            .map_err(|_| DialError(format!("dial tcp: lookup {}: no such host", endpoint.server_name)))?;
        let tls = TlsConnector::from(Arc::new(config.map_err(DialError)?));
        Ok(Self { shared, target: endpoint.target.clone(), name, tls })
    }

    /// A new connection: the first of the addresses that answers.
    ///
    /// # Errors
    /// The failure at the first of them.
    pub async fn connect(&self) -> Result<Stream, DialError> {
        let shared = &self.shared;
        let addresses = resolve::addresses(&*shared.objects, shared.to_endpoints, shared.own, &self.target);
        let mut failed = None;
        for (host, port) in addresses.map_err(DialError)? {
            match self.connect_to(&host, port).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| DialError("no address".to_owned())))
    }

    async fn connect_to(&self, host: &str, port: u16) -> Result<Stream, DialError> {
        let stream = dial(host, port, CONNECT).await.map_err(DialError)?;
        let stream = TokioIo::new(TokioIo::new(stream));
        let stream = tokio::time::timeout(CONNECT, self.tls.connect(self.name.clone(), stream)).await;
        let stream = stream.map_err(|_| DialError("net/http: TLS handshake timeout".to_owned()))?;
        let name = match &self.name {
            ServerName::DnsName(name) => name.as_ref().to_owned(),
            ServerName::IpAddress(_) => host.to_owned(),
            other => format!("{other:?}"),
        };
        stream.map(Into::into).map_err(|error| DialError(texts::of_handshake(&name, &error)))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Stream, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        async move { this.connect().await }.boxed()
    }
}

/// A TCP connection.
///
/// # Errors
/// Why there is none, in the original's words.
pub async fn dial(host: &str, port: u16, patience: Duration) -> Result<TcpStream, String> {
    let stream = tokio::time::timeout(patience, TcpStream::connect((host, port))).await;
    let stream = stream.map_err(|_| format!("dial tcp {}: i/o timeout", texts::address(host, port)))?;
    let stream = stream.map_err(|error| texts::of_dial(host, port, &error))?;
    // Only a matter of speed.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
