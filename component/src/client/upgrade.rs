//! A connection to the API server that is handed over to another protocol.

use anyhow::{Context, Result, bail};
use http::header::{CONNECTION, HOST, UPGRADE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use rustls::pki_types::ServerName;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ensure_crypto_provider, identity, load, user_agent};

/// Time for the connection and the server's answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest refusal that is told, in bytes.
const MAX_ERROR: usize = 4096;

/// Asks the API server of a kubeconfig file, or another one of the same cluster, to go on in `protocol`. The user is
/// known by the client certificate; tokens are not shown.
///
/// # Errors
/// No connection, or the server's refusal.
pub async fn upgraded(
    kubeconfig: &Path,
    server: Option<&Uri>,
    path: &str,
    protocol: &'static str,
    component: &str,
) -> Result<Upgraded> {
    let asked = tokio::time::timeout(PATIENCE, ask(kubeconfig, server, path, protocol, component)).await;
    asked.unwrap_or_else(|_| bail!("the API server does not answer"))
}

async fn ask(
    kubeconfig: &Path,
    server: Option<&Uri>,
    path: &str,
    protocol: &'static str,
    component: &str,
) -> Result<Upgraded> {
    ensure_crypto_provider();
    let config = load(Some(kubeconfig)).await?;
    let server = server.unwrap_or(&config.cluster_url);
    let authority = server.authority().context("the server's URL has no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let mut tls = config.rustls_client_config()?;
    if let Some(shown) = identity::shown(&config, kubeconfig) {
        tls.client_auth_cert_resolver = Arc::new(shown);
    }
    // Only HTTP/1.1 hands a whole connection over.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = config.tls_server_name.clone().unwrap_or_else(|| host.to_owned());
    let name = ServerName::try_from(name).context("the server's name")?;
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443))).await?;
    let _ = stream.set_nodelay(true); // only a matter of speed
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, user_agent(component)?)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, protocol)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(hyper::upgrade::on(response).await?);
    }
    let status = response.status();
    let text = Limited::new(response.into_body(), MAX_ERROR).collect().await;
    let text = text.map(|text| String::from_utf8_lossy(&text.to_bytes()).into_owned()).unwrap_or_default();
    bail!("the API server answers {status}: {}", text.trim())
}
