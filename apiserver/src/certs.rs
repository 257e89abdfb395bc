//! The server's TLS: its certificate from files or self-signed, HTTP/2 before HTTP/1.1, any client certificate taken.
use crate::authn::x509::AcceptAny;
use crate::reload::Reloaded;
use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, ServerConfig};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// A chain and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a chain and its key from PEM files.
///
/// # Errors
/// A file that cannot be read or holds no certificate or key.
pub fn load(certificate: &Path, key: &Path) -> Result<Identity> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    from_pem(&read(certificate)?, &read(key)?)
        .with_context(|| format!("cannot use {} with {}", certificate.display(), key.display()))
}

/// A chain and its key from PEM.
///
/// # Errors
/// Text without a certificate or a key.
pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Identity> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().context("bad certificate")?;
    anyhow::ensure!(!chain.is_empty(), "there is no certificate");
    Ok((chain, PrivateKeyDer::from_pem_slice(key).context("bad key")?))
}

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

/// A chain with its key, ready to be shown.
///
/// # Errors
/// A key that does not fit the certificate.
pub fn certified(identity: Identity) -> Result<CertifiedKey> {
    CertifiedKey::from_der(identity.0, identity.1, &provider())
        .context("the serving key does not fit the serving certificate")
}

/// The certificate of a server, as its files have it now.
pub struct Serving(Reloaded<CertifiedKey>);

impl Serving {
    /// A certificate that stays.
    ///
    /// # Errors
    /// As [`certified`].
    pub fn fixed(identity: Identity) -> Result<Self> {
        Ok(Self(Reloaded::fixed(certified(identity)?)))
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Serving")
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

/// The certificate of files, which may be replaced while the server runs.
///
/// # Errors
/// As [`load`] and [`certified`].
pub fn followed(certificate: &Path, key: &Path) -> Result<Serving> {
    let paths = [certificate.to_owned(), key.to_owned()];
    let files = paths.clone();
    let load = move || load(&files[0], &files[1]).and_then(certified).map_err(|error| format!("{error:#}"));
    Reloaded::new(paths.into(), load).map(Serving).map_err(anyhow::Error::msg)
}

/// The TLS settings of the listener; `hints` are the authorities named to clients.
///
/// # Errors
/// The cryptography library's.
pub fn server_config(serving: Serving, hints: Vec<DistinguishedName>) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let verifier = Arc::new(AcceptAny::new(provider.clone(), hints));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(serving));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The cryptography of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}
