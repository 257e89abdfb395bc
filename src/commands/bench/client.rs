//! A thin HTTP/2 client.
use crate::cluster::Cluster;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_rustls::TlsConnector;

/// Where requests go, and as whom.
#[derive(Clone)]
pub struct Target {
    tls: TlsConnector,
    address: SocketAddr,
}

/// A request to be sent, perhaps many times.
#[derive(Clone, Debug)]
pub struct Call {
    /// Verb.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Type of the body; none without a body.
    pub content_type: Option<&'static str>,
    /// Form of the answer.
    pub accept: &'static str,
    /// Body.
    pub body: Bytes,
}

/// What answers are asked for in.
const JSON: &str = "application/json";

impl Call {
    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), content_type: None, accept: JSON, body: Bytes::new() }
    }

    /// A request with a JSON body.
    pub fn json(method: Method, path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method, path: path.into(), content_type: Some(JSON), accept: JSON, body: body.into() }
    }
}

impl Target {
    /// The API server of a cluster on this host, as its administrator.
    pub fn new(cluster: &Cluster) -> Result<Self> {
        let pki = |file: &str| cluster.paths.pki(file);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pki("ca.crt"))?)?;
        let chain = vec![CertificateDer::from_pem_file(pki("admin.crt"))?];
        let key = PrivateKeyDer::from_pem_file(pki("admin.key"))?;
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.state.ports.api));
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), address })
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection> {
        let tcp = tokio::net::TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), tcp).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(8 << 20).initial_connection_window_size(64 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // The requests of the connection see its end as their own error.
            let _ = connection.await;
        });
        Ok(Connection { sender, base: format!("https://{}", self.address) })
    }

    /// Opens several.
    pub async fn pool(&self, size: usize) -> Result<Pool> {
        let connections = futures::future::try_join_all((0..size.max(1)).map(|_| self.connect())).await?;
        Ok(Pool { connections, next: AtomicUsize::new(0) })
    }
}

/// An open connection.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    base: String,
}

/// Connections that take turns.
pub struct Pool {
    connections: Vec<Connection>,
    next: AtomicUsize,
}

impl Pool {
    /// The next one.
    pub fn pick(&self) -> Connection {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[index % self.connections.len()].clone()
    }
}

impl Connection {
    /// Sends a request and returns the answer's open body; an error for a status that tells of one.
    pub async fn open(&mut self, call: &Call) -> Result<Incoming> {
        let uri = Uri::try_from(format!("{}{}", self.base, call.path))?;
        let mut request = Request::builder().method(call.method.clone()).uri(uri);
        if let Some(content_type) = call.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.header(header::ACCEPT, call.accept).body(Full::new(call.body.clone()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let text = answer.into_body().collect().await?.to_bytes();
        bail!("{} {}: {status}: {}", call.method, call.path, String::from_utf8_lossy(&text))
    }

    /// Sends a request and reads the answer without keeping it; returns its length in bytes.
    pub async fn send(&mut self, call: &Call) -> Result<usize> {
        let mut body = self.open(call).await?;
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }

    /// Sends a request and parses the answer.
    pub async fn value(&mut self, call: &Call) -> Result<serde_json::Value> {
        let body = self.open(call).await?.collect().await?.to_bytes();
        ensure!(!body.is_empty(), "{} is answered with nothing", call.path);
        serde_json::from_slice(&body).context("the answer is no JSON")
    }
}
