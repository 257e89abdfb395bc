//! Client certificates: the handshake takes any whose key the client proves to hold ([`AcceptAny`]), and the chain is judged
//! by [`Trust`] afterwards, so that a bad one is an answer of HTTP and not a broken handshake.
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Why a certificate authority could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Not PEM.
    #[error("cannot read certificates: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// No usable certificate.
    #[error("no usable certificate authority: {0}")]
    Roots(String),
}

/// The authorities whose client certificates are good.
pub struct Trust(Arc<dyn ClientCertVerifier>);

impl Trust {
    /// Trusts the certificates of a PEM bundle.
    ///
    /// # Errors
    /// Malformed PEM, or no certificate in it.
    pub fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, CaError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?).map_err(|e| CaError::Roots(e.to_string()))?;
        }
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| CaError::Roots(e.to_string()))?;
        Ok(Self(inner))
    }

    /// The subjects of the authorities, to be named to clients.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.0.root_hint_subjects().to_vec()
    }

    /// Is the chain good now? Gives its leaf.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn leaf<'a, 'b>(&self, chain: &'a [CertificateDer<'b>]) -> Result<&'a CertificateDer<'b>, String> {
        let (leaf, intermediates) = chain.split_first().ok_or("no certificate")?;
        let verdict = self.0.verify_client_cert(leaf, intermediates, UnixTime::now());
        verdict.map(|_| leaf).map_err(|e| format!("x509: {e}"))
    }
}

/// Takes any client certificate at the handshake, or none; the client must still prove to hold its key.
#[derive(Debug)]
pub struct AcceptAny {
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
}

impl AcceptAny {
    /// Names `hints` to clients, so that they choose the right certificate.
    pub fn new(provider: Arc<CryptoProvider>, hints: Vec<DistinguishedName>) -> Self {
        Self { provider, hints }
    }
}

impl ClientCertVerifier for AcceptAny {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
