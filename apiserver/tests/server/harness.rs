//! A whole API server on a free port, with an authority of its own and clients of any identity.
use bytes::Bytes;
use clap::Parser;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use knarr_api::Value;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: knarr_apiserver::Args,
}

/// A certificate authority.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("authority").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key in PEM of a server on the loopback address.
    pub fn server(&self) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Certificate and key in PEM of a server of a name.
    pub fn named_server(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::DnsName(name.try_into().expect("name")));
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Certificate and key in PEM of a user.
    pub fn user(&self, name: &str, groups: &[&str]) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        groups.iter().for_each(|group| params.distinguished_name.push(DnType::OrganizationName, *group));
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Those of a user whose time is over.
    pub fn expired(&self, name: &str, groups: &[&str]) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        groups.iter().for_each(|group| params.distinguished_name.push(DnType::OrganizationName, *group));
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        params.extended_key_usages.push(usage);
        let key = KeyPair::generate().expect("key");
        (params.signed_by(&key, &self.issuer).expect("certificate").pem(), key.serialize_pem())
    }
}

/// A running server.
pub struct Server {
    pub authority: Authority,
    pub port: u16,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Starts one on the database in `directory`, and waits until it is ready.
    pub async fn start(directory: &Path, more: &[&str]) -> Self {
        let more: Vec<&str> =
            std::iter::once("--authorization-mode=Node,RBAC").chain(more.iter().copied()).collect();
        Self::start_bare(directory, &more).await
    }

    /// The same without authorization modes, so that a configuration may name the authorizers.
    pub async fn start_bare(directory: &Path, more: &[&str]) -> Self {
        let server = Self::begin(directory, more).await;
        let client = server.anonymous();
        eventually(async || client.get("/readyz").await.0 == 200).await;
        server
    }

    /// Starts one that answers, ready or not.
    pub async fn start_unready(directory: &Path, more: &[&str]) -> (Self, Client) {
        let server = Self::begin(directory, more).await;
        let admin = server.admin();
        eventually(async || admin.try_get("/version").await == Some(200)).await;
        (server, admin)
    }

    /// Starts one that does not come up, and says why.
    pub async fn refused(directory: &Path, more: &[&str]) -> String {
        let server = Self::begin(directory, more).await;
        let ended = tokio::time::timeout(PATIENCE, server.task).await.expect("ends in time");
        format!("{:#}", ended.expect("no panic").expect_err("an error"))
    }

    async fn begin(directory: &Path, more: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Authority::new("ca");
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("file");
            path.display().to_string()
        };
        let (certificate, key) = authority.server();
        let signing = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key").serialize_pem();
        let signing = match std::fs::read_to_string(directory.join("sa.key")) {
            Ok(known) => known,
            Err(_) => signing,
        };
        let storage = match crate::database::chosen().await {
            Some(url) => {
                // One database a directory, so that a server started again finds it.
                let known = directory.join("database");
                let url = std::fs::read_to_string(&known).unwrap_or(url);
                std::fs::write(&known, &url).expect("file");
                url
            }
            None => format!("sqlite:{}", directory.join("db").display()),
        };
        let words = [
            "apiserver",
            "--storage",
            &storage,
            "--bind-address=127.0.0.1",
            "--client-ca-file",
            &file("ca.crt", &authority.pem),
            "--tls-cert-file",
            &file("tls.crt", &certificate),
            "--tls-private-key-file",
            &file("tls.key", &key),
            "--service-account-signing-key-file",
            &file("sa.key", &signing),
        ];
        let args = Command::parse_from(words.iter().chain(more)).args;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listener");
        let port = listener.local_addr().expect("address").port();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(knarr_apiserver::run_on(listener, args, shutdown.clone()));
        Self { authority, port, shutdown, task }
    }

    /// Stops it, and waits until it has.
    pub async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("stops in time");
        ended.expect("no panic").expect("no error");
    }

    /// Tells it to stop.
    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// A client without credentials.
    pub fn anonymous(&self) -> Client {
        Client::new(self.port, &self.authority.pem, None)
    }

    /// A client with a certificate of the server's authority.
    pub fn user(&self, name: &str, groups: &[&str]) -> Client {
        Client::new(self.port, &self.authority.pem, Some(self.authority.user(name, groups)))
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.user("admin", &["system:masters"])
    }
}

/// An HTTP/2 client.
pub struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    pub token: Option<String>,
}

impl Client {
    pub fn new(port: u16, ca: &str, identity: Option<(String, String)>) -> Self {
        let tls = client_tls(ca, identity);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http2()
            .build();
        let http = HttpClient::builder(TokioExecutor::new()).http2_only(true).build(connector);
        Self { http, base: format!("https://127.0.0.1:{port}"), token: None }
    }

    /// Sends a request and gives the answer's head and stream.
    pub async fn open(&self, method: Method, path: &str, body: impl Into<Bytes>) -> http::Response<Incoming> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body.into())).expect("request");
        self.http.request(request).await.expect("answer")
    }

    /// Sends a request with headers of its own and reads the whole answer.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Bytes> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("request");
        let (parts, body) = self.http.request(request).await.expect("answer").into_parts();
        http::Response::from_parts(parts, body.collect().await.expect("body").to_bytes())
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let response = self.open(method, path, body).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
    }

    /// The code of the answer; none while nobody answers.
    pub async fn try_get(&self, path: &str) -> Option<u16> {
        let request = http::Request::builder().uri(format!("{}{path}", self.base));
        let request = request.body(Full::new(Bytes::new())).expect("request");
        self.http.request(request).await.ok().map(|response| response.status().as_u16())
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, object: &Value) -> (u16, Value) {
        self.send(Method::POST, path, object.to_string()).await
    }

    /// Creates an object that nothing speaks against.
    pub async fn create(&self, path: &str, object: &Value) -> Value {
        let (code, value) = self.post(path, object).await;
        assert_eq!(code, StatusCode::CREATED, "{value}");
        value
    }
}

/// TLS of a client that trusts `ca`.
pub fn client_tls(ca: &str, identity: Option<(String, String)>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("authority")).expect("authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    match identity {
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("certificate");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("key");
            builder.with_client_auth_cert(vec![certificate], key).expect("identity")
        }
        None => builder.with_no_client_auth(),
    }
}

/// Waits until something holds.
pub async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "did not come to hold in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
