//! One request for a certificate: a key that never leaves the node, a CertificateSigningRequest, and the wait for it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

/// How long a request may wait for its approval before another one is sent.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To authenticate at the API server.
    Client,
    /// To serve.
    Server,
}

impl Purpose {
    /// Name of the signer.
    pub fn signer(self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Server => "kubernetes.io/kubelet-serving",
        }
    }

    /// What the key may be used for; a key of an elliptic curve enciphers nothing.
    fn usages(self) -> [&'static str; 2] {
        match self {
            Self::Client => ["digital signature", "client auth"],
            Self::Server => ["digital signature", "server auth"],
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What it is for.
    pub purpose: Purpose,
    node: String,
    addresses: Vec<IpAddr>,
}

impl Wish {
    /// A wish of a node; `addresses` are those that it serves on.
    pub fn new(purpose: Purpose, node: &str, addresses: &[IpAddr]) -> Self {
        Self { purpose, node: node.to_owned(), addresses: addresses.to_vec() }
    }

    /// The names that the certificate must have beside its subject.
    pub fn names(&self) -> Vec<String> {
        match self.purpose {
            Purpose::Client => Vec::new(),
            Purpose::Server => {
                let addresses = self.addresses.iter().map(ToString::to_string);
                std::iter::once(self.node.clone()).chain(addresses).collect()
            }
        }
    }

    fn params(&self) -> Result<CertificateParams> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{}", self.node));
        for name in self.names() {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        Ok(params)
    }
}

/// Asks once, and returns certificate and key in PEM.
pub async fn certificate(client: &Client, wish: &Wish) -> Result<String> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let request = wish.params()?.serialize_request(&key).context("cannot make a request")?.pem()?;
    let object = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: wish.purpose.signer().to_owned(),
            usages: Some(wish.purpose.usages().map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let created =
        api.create(&PostParams::default(), &object).await.context("cannot ask for a certificate")?;
    let name = created.name_any();
    let issued = tokio::time::timeout(PATIENCE, issued(&api, &name)).await;
    let certificate = issued.with_context(|| format!("request {name} is not approved"))??;
    Ok(certificate + &key.serialize_pem())
}

async fn issued(api: &Api<CertificateSigningRequest>, name: &str) -> Result<String> {
    let mut changes = std::pin::pin!(watcher::watch_object(api.clone(), name));
    while let Some(change) = changes.next().await {
        match change {
            Ok(Some(request)) => {
                if let Some(certificate) = outcome(&request)? {
                    return Ok(certificate);
                }
            }
            Ok(None) => bail!("request {name} was deleted"),
            Err(error) => tracing::debug!(%error, "cannot watch the request"),
        }
    }
    bail!("the watch of request {name} ended")
}

/// The certificate of a request, once it has one; an error when it will get none.
fn outcome(request: &CertificateSigningRequest) -> Result<Option<String>> {
    let Some(status) = &request.status else { return Ok(None) };
    for condition in status.conditions.iter().flatten().filter(|c| c.status == "True") {
        if matches!(condition.type_.as_str(), "Denied" | "Failed") {
            let message = condition.message.as_deref().unwrap_or_default();
            bail!("request {} is {}: {message}", request.name_any(), condition.type_.to_lowercase());
        }
    }
    let issued = status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty());
    issued.map(|certificate| String::from_utf8(certificate.0.clone()).context("not PEM")).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_becomes_of_a_request() {
        let check = |status: serde_json::Value, expected: Result<Option<&str>, ()>| {
            let object = json!({"metadata": {"name": "r"}, "spec": {"request": "", "signerName": "s"}, "status": status});
            let request: CertificateSigningRequest = serde_json::from_value(object).expect("request");
            let found = outcome(&request).map_err(drop);
            assert_eq!(found, expected.map(|text| text.map(str::to_owned)), "{status}");
        };
        let condition = |kind: &str| json!([{"type": kind, "status": "True", "reason": "r"}]);
        check(json!({}), Ok(None));
        check(json!({"conditions": condition("Approved")}), Ok(None));
        check(json!({"conditions": condition("Approved"), "certificate": "eA=="}), Ok(Some("x")));
        check(json!({"conditions": condition("Denied")}), Err(()));
        check(json!({"conditions": condition("Failed")}), Err(()));
    }
}
