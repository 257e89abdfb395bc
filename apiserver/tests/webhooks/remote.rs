//! A TLS server of the test's own, which answers by a function and remembers what it was asked.
use crate::harness::Authority;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use knarr_api::Value;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// Serves whoever shows any certificate or none; tests of proxies look at the headers.
fn tls(identity: (String, String)) -> rustls::ServerConfig {
    let (certificate, key) = identity;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("certificate")],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("key"),
        )
        .expect("identity");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// An answer: code, media type and body.
pub type Answer = (u16, &'static str, Bytes);
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Function = Arc<dyn Fn(Asked) -> Answering + Send + Sync>;

/// A running server.
pub struct Remote {
    pub authority: Authority,
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Remote {
    /// A server that answers JSON by a function.
    pub async fn start(answer: impl Fn(&Asked) -> Value + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::start_raw(move |asked| {
            let answer = answer.clone();
            Box::pin(async move { (200, "application/json", answer(&asked).to_string().into()) })
        })
        .await
    }

    /// The same with a certificate for a name, and on all addresses.
    pub async fn start_named(name: &str, answer: impl Fn(&Asked) -> Value + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        let authority = Authority::new("remote");
        let identity = authority.named_server(name);
        let function: Function = Arc::new(move |asked| {
            let answer = answer.clone();
            Box::pin(async move { (200, "application/json", answer(&asked).to_string().into()) })
        });
        Self::serve(authority, identity, function).await
    }

    /// A server that answers anything.
    pub async fn start_raw(answer: impl Fn(Asked) -> Answering + Send + Sync + 'static) -> Self {
        let authority = Authority::new("remote");
        let identity = authority.server();
        Self::serve(authority, identity, Arc::new(answer)).await
    }

    async fn serve(authority: Authority, identity: (String, String), function: Function) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let acceptor = TlsAcceptor::from(Arc::new(tls(identity)));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("listener");
        let port = listener.local_addr().expect("address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, function, notes) = (acceptor.clone(), function.clone(), notes.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| one(request, function.clone(), notes.clone()));
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { authority, port, asked, task }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("lock").clone()
    }

    /// Forgets what it was asked.
    pub fn forget(&self) {
        self.asked.lock().expect("lock").clear();
    }

    /// The `request` of every review it was asked for.
    pub fn reviews(&self) -> Vec<Value> {
        self.asked().iter().map(|asked| asked.body["request"].clone()).collect()
    }

    /// `clientConfig` of a path on it.
    pub fn client_config(&self, path: &str) -> Value {
        json!({"url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": self.bundle()})
    }

    /// Its authority as a `caBundle`.
    pub fn bundle(&self) -> String {
        STANDARD.encode(&self.authority.pem)
    }

    /// A webhook on it for all writes of configmaps, with members of its own.
    pub fn webhook(&self, name: &str, more: Value) -> Value {
        let mut webhook = json!({
            "name": name, "clientConfig": self.client_config("/hook"), "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                "operations": ["*"]}],
        });
        knarr_api::patch::merge::apply(&mut webhook, more);
        webhook
    }
}

async fn one(
    request: http::Request<hyper::body::Incoming>,
    function: Function,
    notes: Arc<Mutex<Vec<Asked>>>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    if request.uri().path().ends_with("/elsewhere") {
        let moved = http::Response::builder().status(302).header("location", "https://example.com/x");
        return Ok(moved.body(Full::default()).expect("response"));
    }
    if request.headers().contains_key("upgrade") {
        return Ok(upgraded(request, &notes));
    }
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let asked = Asked {
        method: parts.method,
        uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    notes.lock().expect("lock").push(asked.clone());
    let (code, media, body) = function(asked).await;
    let response = http::Response::builder().status(code).header("content-type", media);
    Ok(response.body(Full::new(body)).expect("response"))
}

/// Turns the connection into one that returns what it is sent.
fn upgraded(
    request: http::Request<hyper::body::Incoming>,
    notes: &Mutex<Vec<Asked>>,
) -> http::Response<Full<Bytes>> {
    let asked = Asked {
        method: request.method().clone(),
        uri: request.uri().path().to_owned(),
        headers: request.headers().clone(),
        body: Value::Null,
    };
    notes.lock().expect("lock").push(asked);
    tokio::spawn(async move {
        let Ok(stream) = hyper::upgrade::on(request).await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(stream));
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let response =
        http::Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "echo");
    response.body(Full::default()).expect("response")
}

/// The answer to a review, with members of its own.
pub fn answered(asked: &Asked, more: Value) -> Value {
    let mut response = json!({"uid": asked.body["request"]["uid"], "allowed": true});
    knarr_api::patch::merge::apply(&mut response, more);
    json!({"apiVersion": asked.body["apiVersion"], "kind": "AdmissionReview", "response": response})
}

/// An answer with a JSON Patch.
pub fn patched(asked: &Asked, patch: Value) -> Value {
    let patch = STANDARD.encode(patch.to_string());
    answered(asked, json!({"patch": patch, "patchType": "JSONPatch"}))
}

/// A configuration of webhooks.
pub fn configuration(kind: &str, name: &str, webhooks: Vec<Value>) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": webhooks})
}

/// An address of this host that is not the loopback's.
pub fn own_address() -> String {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("socket");
    socket.connect("192.0.2.1:9").expect("a route");
    socket.local_addr().expect("address").ip().to_string()
}
