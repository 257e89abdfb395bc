//! Whom a called server must be vouched for by.
use super::verify::Verifier;
use crate::streaming::TrustAll;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_reload::identity::Shown;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, LazyLock};

const MALFORMED: &str = "unable to load root certificates: unable to parse bytes as PEM block";

/// Who may sign a server's certificate, and whether this server shows its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// Authorities in PEM; empty: those of the system.
    authorities: Vec<u8>,
    /// Any certificate will do.
    pub insecure: bool,
    /// Show the front proxy's certificate.
    pub identified: bool,
}

impl Trust {
    /// The authorities of a `caBundle`, base64 of PEM; empty: those of the system.
    ///
    /// # Errors
    /// A bundle without a certificate.
    pub fn bundle(text: &str) -> Result<Self, String> {
        Self::pem(STANDARD.decode(text).map_err(|_| MALFORMED)?)
    }

    /// Authorities in PEM; empty: those of the system.
    ///
    /// # Errors
    /// A text without a certificate.
    pub fn pem(authorities: Vec<u8>) -> Result<Self, String> {
        let first = CertificateDer::pem_slice_iter(&authorities).next();
        if !authorities.is_empty() && !matches!(first, Some(Ok(_))) {
            return Err(MALFORMED.to_owned());
        }
        Ok(Self { authorities, ..Self::default() })
    }

    /// TLS settings that trust so.
    ///
    /// # Errors
    /// A malformed authority, a key that does not fit.
    pub fn config(
        &self,
        provider: &Arc<CryptoProvider>,
        identity: Option<&Arc<Shown>>,
        protocols: &[&[u8]],
    ) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let verified = if self.insecure {
            let trusting = Arc::new(TrustAll(provider.clone()));
            builder.dangerous().with_custom_certificate_verifier(trusting)
        } else if self.authorities.is_empty() {
            builder.with_root_certificates(system_roots())
        } else {
            let given = CertificateDer::pem_slice_iter(&self.authorities).collect::<Result<_, _>>();
            let given = given.map_err(|error| error.to_string())?;
            builder.dangerous().with_custom_certificate_verifier(Verifier::new(given, provider)?)
        };
        let mut config = match identity.filter(|_| self.identified) {
            Some(shown) => verified.with_client_cert_resolver(shown.clone()),
            None => verified.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

fn system_roots() -> Arc<RootCertStore> {
    static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    SYSTEM.clone()
}
