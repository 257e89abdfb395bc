//! One HTTP/2 client a process.
//!
//! The default client of `kube` speaks HTTP/1.1, which costs a TCP and TLS connection for every
//! open watch. Here all requests of a process share one HTTP/2 connection. A server bounds the
//! streams of a connection (100 to 250 are usual) and an endless watch holds its stream, so that a
//! further connection, a *lane*, is opened when the first ones hold many.

pub mod accounts;
mod identity;
mod lanes;
mod upgrade;

use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, header::USER_AGENT};
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::HttpConnector;
use kube::{
    Client, Config,
    client::{ClientBuilder, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder, ServiceExt};

use knarr_reload::identity::Shown;
use lanes::Lanes;
pub use upgrade::upgraded;

/// How long what was sent may stay unacknowledged by the other host.
#[cfg(target_os = "linux")]
const UNANSWERED: std::time::Duration = std::time::Duration::from_secs(15);

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig file is missing or wrong.
    #[error("cannot load kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The path that was asked for.
        path: String,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// No kubeconfig was named and the process does not run in a pod either.
    #[error("no --kubeconfig given and no in-cluster configuration: {0}")]
    InCluster(#[from] kube::config::InClusterError),
    /// TLS material, headers or addresses of the configuration cannot be used.
    #[error("cannot use the client configuration: {0}")]
    Configuration(#[from] kube::Error),
    /// The name to verify the server's certificate against is no valid DNS name or address.
    #[error("tls-server-name {0:?} is no DNS name or address")]
    ServerName(String),
    /// The component's name does not fit into a header.
    #[error("component name {0:?} cannot be a user agent")]
    UserAgent(String),
}

/// A client for the cluster of a kubeconfig file, or of the pod the process runs in when `None`.
///
/// `component` becomes the user agent `knarr-COMPONENT/vVERSION`. No connection is made yet.
pub async fn connect(kubeconfig: Option<&Path>, component: &str) -> Result<Client, Error> {
    from_config(load(kubeconfig).await?, kubeconfig, component)
}

/// The configuration of a kubeconfig file's current context, or of the pod the process runs in.
pub async fn load(kubeconfig: Option<&Path>) -> Result<Config, Error> {
    let Some(path) = kubeconfig else { return Ok(Config::incluster()?) };
    let failed = |source| Error::Kubeconfig { path: path.display().to_string(), source };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)
}

/// A client for a configuration loaded from `kubeconfig`; see [`connect`]. A client certificate that is replaced in the
/// file is shown from the next connection on.
pub fn from_config(config: Config, kubeconfig: Option<&Path>, component: &str) -> Result<Client, Error> {
    ensure_crypto_provider();
    let shown = kubeconfig.and_then(|path| identity::shown(&config, path)).map(Arc::new);
    let user_agent = user_agent(component)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(move |mut request: http::Request<kube::client::Body>| {
            request.headers_mut().insert(USER_AGENT, user_agent.clone());
            request
        })
        .map_err(BoxError::from)
        .service(Lanes::new(connector(&config, shown.clone())?, shown))
        .map_response(|response| response.map(|body| body.map_err(BoxError::from)))
        .boxed();
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

fn user_agent(component: &str) -> Result<HeaderValue, Error> {
    let (name, rest) = component
        .split_once('/')
        .map_or((component, String::new()), |(name, rest)| (name, format!("/{rest}")));
    let text = format!("knarr-{name}/v{}{rest}", env!("CARGO_PKG_VERSION"));
    HeaderValue::from_str(&text).map_err(|_| Error::UserAgent(component.to_string()))
}

/// What went wrong, in the server's own words where there are some.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Installs rustls' `ring` provider when the process has none yet (`main` normally did).
pub fn ensure_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The TLS connector: HTTP/2 by ALPN, or with prior knowledge over plain text.
fn connector(config: &Config, shown: Option<Arc<Shown>>) -> Result<lanes::Connector, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(std::time::Duration::from_secs(10)));
    // A request that a dead network swallows ends with its connection: the next one tries another.
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNANSWERED));
    let mut tls = config.rustls_client_config()?;
    if let Some(shown) = shown {
        tls.client_auth_cert_resolver = shown;
    }
    let mut builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let server = name.clone().try_into().map_err(|_| Error::ServerName(name.clone()))?;
        builder = builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(server));
    }
    Ok(builder.enable_http2().wrap_connector(tcp))
}
