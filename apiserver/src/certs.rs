//! The server's TLS: its certificates from files or self-signed, HTTP/2 before HTTP/1.1, any client certificate taken.
mod named;

pub use named::{ByName, NamedCertificate};

use anyhow::Result;
use knarr_reload::clients::AcceptAny;
use knarr_reload::identity::Shown;
use knarr_reload::protocol::{self, Minimum};
use rcgen::{Certificate, CertificateParams, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ResolvesServerCert;
use rustls::{DistinguishedName, ServerConfig};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// The certificate `apiserver.crt` of a directory (`--cert-dir`) with its key, which are made where they are missing.
///
/// # Errors
/// Files that cannot be written or hold neither.
pub fn kept(directory: &Path, addresses: &[IpAddr]) -> Result<Shown> {
    let made = || self_signed(addresses).map(|(certificate, key)| (certificate.pem(), key.serialize_pem()));
    Shown::kept(directory, "apiserver", made)
}

/// A certificate that lasts as long as the process.
///
/// # Errors
/// The cryptography library's.
pub fn passing(addresses: &[IpAddr]) -> Result<Shown> {
    let (made, key) = self_signed(addresses)?;
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| anyhow::anyhow!("generated key: {e}"))?;
    Shown::fixed((vec![made.der().clone()], key))
}

/// Makes a certificate for these addresses that nobody else vouches for.
fn self_signed(addresses: &[IpAddr]) -> Result<(Certificate, KeyPair)> {
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
    Ok((params.self_signed(&key)?, key))
}

/// The TLS settings of the listener; `hints` are the authorities named to clients, `suites` those of TLS 1.2 (all where
/// there is none).
///
/// # Errors
/// Suites that are not known; the cryptography library's.
pub fn server_config(
    serving: Arc<dyn ResolvesServerCert>,
    hints: Vec<DistinguishedName>,
    suites: &[String],
    oldest: Minimum,
) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(protocol::suites(suites)?);
    let verifier = Arc::new(AcceptAny::new(provider.clone(), hints));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(oldest.versions())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_certificate_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("new");
        let shown = || kept(&directory, &[Ipv4Addr::LOCALHOST.into()]).unwrap().now().cert[0].clone();
        let first = shown();
        assert_eq!(shown(), first);
        let mode = fs::metadata(directory.join("apiserver.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(directory.join("apiserver.crt")).unwrap();
        assert_ne!(shown(), first);
    }
}
