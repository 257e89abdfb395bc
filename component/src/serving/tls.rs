//! TLS of a component's server: its certificate, from files or of its own making, and any client certificate taken, which
//! is judged when a request comes.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use knarr_reload::{
    clients::AcceptAny,
    identity::{Shown, provider},
};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use crate::flags::{Minimum, SecureServing};

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
    let provider = Arc::new(suites(&flags.tls_cipher_suites)?);
    let versions: &[_] = match flags.tls_min_version {
        Minimum::Tls12 => &[&TLS13, &TLS12],
        Minimum::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .context("--tls-cipher-suites")?
        .with_client_cert_verifier(Arc::new(AcceptAny::new(provider, Vec::new())))
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The provider with only the suites of TLS 1.2 that have these names; all where none is named.
fn suites(names: &[String]) -> anyhow::Result<CryptoProvider> {
    let mut provider = (*provider()).clone();
    if names.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &rustls::SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        name.strip_prefix("TLS13").map_or_else(|| name.clone(), |rest| format!("TLS{rest}"))
    };
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    // Go knows these by a shorter name too.
    let wanted: Vec<String> = names
        .iter()
        .map(|name| match name.strip_suffix("_CHACHA20_POLY1305") {
            Some(_) => format!("{name}_SHA256"),
            None => name.clone(),
        })
        .collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("--tls-cipher-suites: {unknown} is not supported; supported are {}", known.join(", "));
    }
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted.contains(&name(suite)));
    Ok(provider)
}

/// The certificate of a directory, which is made where there is none.
fn kept(directory: &Path, name: &str) -> anyhow::Result<Shown> {
    let file = |end: &str| directory.join(format!("{name}.{end}"));
    let (certificate, key) = (file("crt"), file("key"));
    if !(certificate.exists() && key.exists()) {
        let failed = || format!("--cert-dir: cannot write to {}", directory.display());
        std::fs::create_dir_all(directory).with_context(failed)?;
        let (made, made_key) = made()?;
        std::fs::write(&certificate, made.pem()).with_context(failed)?;
        private(&key, &made_key.serialize_pem()).with_context(failed)?;
    }
    Shown::of_files(&certificate, &key)
}

fn private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
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
    fn cipher_suites_by_name() {
        crate::client::ensure_crypto_provider();
        let count = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            suites(&names).map(|provider| provider.cipher_suites.len()).ok()
        };
        let all = count(&[]).unwrap();
        let of_13 = count(&["TLS_AES_128_GCM_SHA256"]).unwrap();
        assert!(of_13 < all);
        assert_eq!(count(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]), Some(of_13 + 1));
        assert_eq!(count(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]), Some(of_13 + 1));
        assert_eq!(count(&["TLS_RSA_WITH_AES_128_CBC_SHA"]), None);
    }

    #[test]
    fn a_certificate_is_made_once() {
        crate::client::ensure_crypto_provider();
        let directory = tempfile::tempdir().unwrap();
        let first = kept(directory.path(), "c").unwrap().now().cert[0].clone();
        assert_eq!(kept(directory.path(), "c").unwrap().now().cert[0], first);
    }
}
