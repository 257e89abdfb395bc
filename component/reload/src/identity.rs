//! Certificates with their keys, as servers and clients show them: of files, which may be replaced meanwhile. Connections
//! that are open keep what they were opened with.
use crate::Reloaded;
use anyhow::{Context, Result};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A chain and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a chain and its key from PEM files.
///
/// # Errors
/// A file that cannot be read or holds no certificate or key.
pub fn load(certificate: &Path, key: &Path) -> Result<Identity> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
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

/// A chain with its key, ready to be shown.
///
/// # Errors
/// A key that does not fit the certificate.
pub fn certified((chain, key): Identity) -> Result<CertifiedKey> {
    CertifiedKey::from_der(chain, key, &provider()).context("the key does not fit the certificate")
}

/// The cryptography of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// What a server or a client shows of itself, as its files have it now.
pub struct Shown(Reloaded<CertifiedKey>);

impl Shown {
    /// A certificate that stays.
    ///
    /// # Errors
    /// As [`certified`].
    pub fn fixed(identity: Identity) -> Result<Self> {
        Ok(Self(Reloaded::fixed(certified(identity)?)))
    }

    /// The certificate of files, which may be replaced.
    ///
    /// # Errors
    /// As [`load`] and [`certified`].
    pub fn of_files(certificate: &Path, key: &Path) -> Result<Self> {
        let paths = [certificate.to_owned(), key.to_owned()];
        let files = paths.clone();
        Self::followed(paths.into(), move || load(&files[0], &files[1]))
    }

    /// The certificate `NAME.crt` of a directory (`--cert-dir`) with its key `NAME.key` of mode 0600: those that `make`
    /// gives in PEM where they are missing.
    ///
    /// # Errors
    /// What `make` says, files that cannot be written, and as [`Shown::of_files`].
    pub fn kept(
        directory: &Path,
        name: &str,
        make: impl FnOnce() -> Result<(String, String)>,
    ) -> Result<Self> {
        let file = |end: &str| directory.join(format!("{name}.{end}"));
        let (certificate, key) = (file("crt"), file("key"));
        if !(certificate.exists() && key.exists()) {
            let failed = || format!("--cert-dir: cannot write to {}", directory.display());
            fs::create_dir_all(directory).with_context(failed)?;
            let (made, made_key) = make()?;
            fs::write(&certificate, made).with_context(failed)?;
            private(&key, &made_key).with_context(failed)?;
        }
        Self::of_files(&certificate, &key)
    }

    /// The certificate that `load` finds whenever one of `paths` changed.
    ///
    /// # Errors
    /// What `load` says the first time, and as [`certified`].
    pub fn followed(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<Identity> + Send + Sync + 'static,
    ) -> Result<Self> {
        let load = move || load().and_then(certified).map_err(|error| format!("{error:#}"));
        Reloaded::new(paths, load).map(Self).map_err(anyhow::Error::msg)
    }

    /// What is shown now: the same until the files are replaced.
    pub fn now(&self) -> Arc<CertifiedKey> {
        self.0.get()
    }
}

fn private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_files_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("crt"), directory.path().join("key"));
        let write = || {
            let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
            fs::write(&certificate, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            made.cert.der().clone()
        };
        let first = write();
        let shown = Shown::of_files(&certificate, &key).unwrap();
        let shows = || ResolvesClientCert::resolve(&shown, &[], &[]).unwrap().cert[0].clone();
        assert_eq!(shows(), first);
        let second = write();
        shown.0.look_at_once();
        assert_eq!(shows(), second);
        // A certificate without its key: what was good before stays.
        let made = rcgen::generate_simple_self_signed(vec!["b".to_owned()]).unwrap();
        fs::write(&certificate, made.cert.pem()).unwrap();
        shown.0.look_at_once();
        assert_eq!(shows(), second);
    }
}
