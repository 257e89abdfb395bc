//! TLS of a component's server: its certificate, from files or of its own making, and any client certificate taken, which
//! is judged when a request comes.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use knarr_reload::{clients::AcceptAny, identity::Shown, protocol};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

use crate::flags::SecureServing;

/// Prepares TLS for the server of the component called `name`.
///
/// # Errors
/// Files that cannot be read, used or written; cipher suites that are not known.
pub fn acceptor(flags: &SecureServing, name: &str) -> anyhow::Result<TlsAcceptor> {
    let shown = match (&flags.tls_cert_file, &flags.tls_private_key_file, &flags.cert_dir) {
        (Some(certificate), Some(key), _) => Shown::of_files(certificate, key)?,
        (_, _, Some(directory)) => kept(directory, name)?,
        _ => {
            let (certificate, key) = made()?;
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            Shown::fixed((vec![certificate.der().clone()], PrivateKeyDer::from(key)))?
        }
    };
    let provider = Arc::new(protocol::suites(&flags.tls_cipher_suites)?);
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(flags.tls_min_version.versions())
        .context("--tls-cipher-suites")?
        .with_client_cert_verifier(Arc::new(AcceptAny::new(provider, Vec::new())))
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificate of a directory, which is made where there is none.
fn kept(directory: &Path, name: &str) -> anyhow::Result<Shown> {
    Shown::kept(directory, name, || made().map(|(certificate, key)| (certificate.pem(), key.serialize_pem())))
}

fn made() -> anyhow::Result<(rcgen::Certificate, rcgen::KeyPair)> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    Ok((made.cert, made.signing_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once() {
        crate::client::ensure_crypto_provider();
        let directory = tempfile::tempdir().unwrap();
        let first = kept(directory.path(), "c").unwrap().now().cert[0].clone();
        assert_eq!(kept(directory.path(), "c").unwrap().now().cert[0], first);
    }
}
