//! The operator's admission webhooks: one that labels gardens, one that refuses those with too many beds. They are served
//! over TLS by this process, with an authority made for it, on its host or in a pod behind a Service.
use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const NAME: &str = "gardens.operators.knarr.test";
/// More than a gardener has time for.
const MOST_BEDS: i64 = 10;

/// Where the API server finds them.
pub enum Place {
    /// On its own host, at any free port.
    Host,
    /// In a pod that listens on [`PORT`], behind the Service with this namespace and name.
    Service(&'static str, &'static str),
}

/// Where a pod listens; its Service has the port 443.
const PORT: u16 = 8443;

/// Serves them and tells the API server.
pub async fn install(client: &Client, place: Place) -> Result<()> {
    let (address, name) = match place {
        Place::Host => (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None),
        Place::Service(namespace, name) => {
            (SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)), Some(format!("{name}.{namespace}.svc")))
        }
    };
    let (certificate, acceptor) = identity(name)?;
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(serve(listener, acceptor));
    let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate);
    let configuration = |kind: &str, path: &str| {
        let mut config = match place {
            Place::Host => json!({"url": format!("https://127.0.0.1:{port}/{path}")}),
            Place::Service(namespace, name) => {
                json!({"service": {"namespace": namespace, "name": name, "path": format!("/{path}")}})
            }
        };
        config["caBundle"] = bundle.clone().into();
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": NAME},
        "webhooks": [{
            "name": NAME,
            "clientConfig": config,
            "rules": [{"apiGroups": ["operators.knarr.test"], "apiVersions": ["v1"], "resources": ["gardens"],
                "operations": ["CREATE", "UPDATE"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        }]})
    };
    // A pod that takes another's place has another authority.
    let apply = PatchParams::apply("knarr-operator").force();
    let mutating = Patch::Apply(configuration("MutatingWebhookConfiguration", "mutate"));
    Api::<MutatingWebhookConfiguration>::all(client.clone()).patch(NAME, &apply, &mutating).await?;
    let validating = Patch::Apply(configuration("ValidatingWebhookConfiguration", "validate"));
    Api::<ValidatingWebhookConfiguration>::all(client.clone()).patch(NAME, &apply, &validating).await?;
    Ok(())
}

/// Takes them away.
pub async fn remove(client: &Client) -> Result<()> {
    let delete = DeleteParams::default();
    Api::<MutatingWebhookConfiguration>::all(client.clone()).delete(NAME, &delete).await?;
    Api::<ValidatingWebhookConfiguration>::all(client.clone()).delete(NAME, &delete).await?;
    Ok(())
}

/// The certificate in PEM, for a name or this host, and what answers with it.
fn identity(name: Option<String>) -> Result<(String, TlsAcceptor)> {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names.push(match name {
        Some(name) => rcgen::SanType::DnsName(name.try_into()?),
        None => rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    });
    let key = rcgen::KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok((pem, TlsAcceptor::from(Arc::new(config))))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(async |request| Ok::<_, Infallible>(answer(request).await));
            // The API server closes connections as it likes.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let mutates = request.uri().path() == "/mutate";
    match review(mutates, request.into_body()).await {
        Ok(review) => {
            let mut response = http::Response::new(Full::from(review.to_string()));
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            response
        }
        Err(error) => {
            let mut response = http::Response::new(Full::from(error.to_string()));
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
            response
        }
    }
}

async fn review(mutates: bool, body: Incoming) -> Result<Value> {
    let mut review: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    let request = review["request"].take();
    let beds = request["object"]["spec"]["beds"].as_i64().context("a garden without beds")?;
    let mut response = json!({"uid": request["uid"], "allowed": mutates || beds <= MOST_BEDS});
    if mutates {
        let labels = &request["object"]["metadata"]["labels"];
        let patch = match labels.is_object() {
            true => json!([{"op": "add", "path": "/metadata/labels/seen-by", "value": "webhook"}]),
            false => json!([{"op": "add", "path": "/metadata/labels", "value": {"seen-by": "webhook"}}]),
        };
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, patch.to_string());
        response["patchType"] = "JSONPatch".into();
        response["patch"] = text.into();
    } else if beds > MOST_BEDS {
        response["status"] = json!({"code": 403, "message": format!("{beds} beds are too many")});
    }
    Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}
