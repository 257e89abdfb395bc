//! The server over TLS, with users by certificates, and an API server that knows one token.

use std::{collections::BTreeMap, io::Write, net::Ipv4Addr};

use axum::{Json, routing::post};
use clap::Parser;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::health::Health;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    server: Server,
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A client that shows a certificate of `issuer` for this user.
fn shows(issuer: &Issuer, name: &str, group: &str) -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
}

/// What the API server says: the token `good` is ann's, and ann may see metrics.
async fn api_server() -> SocketAddr {
    let users = |Json(review): Json<Value>| async move {
        let known = review["spec"]["token"] == "good";
        let user = json!({"username": "ann", "groups": ["system:authenticated"]});
        let status = if known { json!({"authenticated": true, "user": user}) } else { json!({}) };
        Json(json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "spec": review["spec"], "status": status}))
    };
    let rights = |Json(review): Json<Value>| async move {
        let asked = &review["spec"]["nonResourceAttributes"];
        let allowed =
            review["spec"]["user"] == "ann" && asked["path"] == "/metrics" && asked["verb"] == "get";
        Json(json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
            "spec": review["spec"], "status": {"allowed": allowed}}))
    };
    let router = Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(users))
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(rights));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Status and text of a request.
async fn get(
    address: SocketAddr,
    path: &str,
    identity: Option<&(Vec<u8>, Vec<u8>)>,
    headers: &[(&'static str, &'static str)],
) -> (u16, String) {
    let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
    config.accept_invalid_certs = true;
    let mut tls = config.rustls_client_config().unwrap();
    if let Some((certificate, key)) = identity {
        let shown = knarr_reload::identity::from_pem(certificate, key).unwrap();
        tls.client_auth_cert_resolver = Arc::new(knarr_reload::identity::Shown::fixed(shown).unwrap());
    }
    let https =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http2().build();
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(https);
    let mut request = http::Request::get(format!("https://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let code = answer.status().as_u16();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn users_and_their_rights() {
    client::ensure_crypto_provider();
    let api = api_server().await;
    let kubeconfig = file(
        &json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": format!("http://{api}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]})
        .to_string(),
    );
    let (users, proxies) = (authority("users"), authority("proxies"));
    let (users_ca, proxies_ca) = (file(&users.pem()), file(&proxies.pem()));
    let kubeconfig = kubeconfig.path().to_str().unwrap();
    let flags = Command::parse_from([
        "c",
        "--bind-address=127.0.0.1",
        &format!("--authentication-kubeconfig={kubeconfig}"),
        &format!("--authorization-kubeconfig={kubeconfig}"),
        &format!("--client-ca-file={}", users_ca.path().display()),
        &format!("--requestheader-client-ca-file={}", proxies_ca.path().display()),
        "--requestheader-allowed-names=front",
    ]);
    // Port 0 would serve nothing: a free one is asked for first.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let router = Health::new().router();
    let address = start(&flags.server, port, "c", router, stop.clone()).await.unwrap().unwrap();

    let [ann, bob, root, eve, front, back] = [
        shows(&users, "ann", "dev"),
        shows(&users, "bob", "dev"),
        shows(&users, "root", PRIVILEGED),
        shows(&proxies, "ann", PRIVILEGED),
        shows(&proxies, "front", ""),
        shows(&proxies, "back", ""),
    ];
    let as_ann: &[_] = &[("x-remote-user", "ann")];
    let (good, bad): (&[_], &[_]) = (&[("authorization", "Bearer good")], &[("authorization", "Bearer bad")]);
    for (what, path, identity, headers, expected) in [
        ("health is open", "/healthz", None, &[][..], 200),
        ("but not its parts", "/healthz/ping", None, &[], 403),
        ("nobody", "/metrics", None, &[], 403),
        ("a token", "/metrics", None, good, 200),
        ("a token for another path", "/configz", None, good, 403),
        ("an unknown token", "/metrics", None, bad, 401),
        ("an unknown token where all may", "/healthz", None, bad, 401),
        ("a certificate", "/metrics", Some(&ann), &[], 200),
        ("a certificate without rights", "/metrics", Some(&bob), &[], 403),
        ("a certificate with a token", "/metrics", Some(&bob), good, 403),
        ("masters", "/configz", Some(&root), &[], 200),
        ("a stranger's certificate", "/metrics", Some(&eve), &[], 401),
        ("a stranger's certificate with a token", "/metrics", Some(&eve), good, 200),
        ("a front proxy for ann", "/metrics", Some(&front), as_ann, 200),
        ("a front proxy for nobody", "/metrics", Some(&front), &[], 401),
        ("a proxy that is not the one", "/metrics", Some(&back), as_ann, 401),
        ("no proxy", "/metrics", Some(&bob), as_ann, 403),
        ("no certificate", "/metrics", None, as_ann, 403),
    ] {
        let (code, text) = get(address, path, identity, headers).await;
        assert_eq!(code, expected, "{what}: {text}");
    }
    let (_, text) = get(address, "/metrics", None, &[]).await;
    let status: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(status["message"], "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"");
    stop.cancel();
}

#[test]
fn open_paths() {
    let open: Vec<String> = ["/healthz", "/pages/*"].map(str::to_owned).into();
    for (path, expected) in
        [("/healthz", true), ("/healthz/ping", false), ("/pages/a", true), ("/pages", false), ("/", false)]
    {
        assert_eq!(is_open(&open, path), expected, "{path}");
    }
}
