//! The server's certificate and whose client certificates it trusts.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Files of the server; without a certificate one is made that nobody has signed.
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
    let (chain, key) = match (files.certificate, files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("cannot read the key {}", key.display()))?;
            (chain, key)
        }
        _ => {
            let made = rcgen::generate_simple_self_signed(files.names.clone())
                .context("cannot make a certificate")?;
            let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            (vec![made.cert.der().clone()], PrivateKeyDer::from(key))
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
    let mut config = builder.with_single_cert(chain, key).context("certificate and key do not fit")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    read().with_context(|| format!("cannot read certificates from {}", path.display()))
}
