//! The server's certificate and whose client certificates it trusts.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use knarr_reload::identity::Shown;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Files of the server; without a certificate one is made that nobody has signed. Certificate and key may be replaced
/// while it runs.
pub struct Files<'a> {
    /// Certificate chain.
    pub certificate: Option<&'a Path>,
    /// Key.
    pub key: Option<&'a Path>,
    /// Authority of clients.
    pub client_ca: Option<&'a Path>,
    /// Names for a certificate of our own making.
    pub names: Vec<String>,
}

/// Prepares TLS.
pub fn acceptor(files: &Files<'_>) -> anyhow::Result<TlsAcceptor> {
    let shown = match (files.certificate, files.key) {
        (Some(certificate), Some(key)) => Shown::of_files(certificate, key)?,
        _ => {
            let made = rcgen::generate_simple_self_signed(files.names.clone())
                .context("cannot make a certificate")?;
            let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            Shown::fixed((vec![made.cert.der().clone()], PrivateKeyDer::from(key)))?
        }
    };
    let builder = ServerConfig::builder();
    let builder = match files.client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).context("client authority")?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    read().with_context(|| format!("cannot read certificates from {}", path.display()))
}
