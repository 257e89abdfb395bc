//! The server's TLS: its certificate from files or self-signed, HTTP/2 before HTTP/1.1, any client certificate taken.
use anyhow::Result;
use knarr_reload::clients::AcceptAny;
use knarr_reload::identity::{Identity, Shown, provider};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::{DistinguishedName, ServerConfig};
use std::net::IpAddr;
use std::sync::Arc;

/// Makes a certificate for these addresses that nobody else vouches for.
///
/// # Errors
/// The cryptography library's.
pub fn self_signed(addresses: &[IpAddr]) -> Result<Identity> {
    let key = KeyPair::generate()?;
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut params = CertificateParams::new(names.map(str::to_owned))?;
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    let certificate = params.self_signed(&key)?;
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| anyhow::anyhow!("generated key: {e}"))?;
    Ok((vec![certificate.der().clone()], key))
}

/// The TLS settings of the listener; `hints` are the authorities named to clients.
///
/// # Errors
/// The cryptography library's.
pub fn server_config(serving: Shown, hints: Vec<DistinguishedName>) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let verifier = Arc::new(AcceptAny::new(provider.clone(), hints));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(serving));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
