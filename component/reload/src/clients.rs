//! Client certificates: the handshake takes any whose key the client proves to hold ([`AcceptAny`]), and the chain is judged
//! by [`Trust`] afterwards, so that a bad one is an answer of HTTP and not a broken handshake.
use crate::unusual::{self, Purpose};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
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
pub struct Trust {
    authorities: Vec<CertificateDer<'static>>,
    chains: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Trusts the certificates of a PEM bundle.
    ///
    /// # Errors
    /// Malformed PEM, or no certificate in it.
    pub fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, CaError> {
        let authorities = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
        let mut roots = RootCertStore::empty();
        for certificate in &authorities {
            roots.add(certificate.clone()).map_err(|e| CaError::Roots(e.to_string()))?;
        }
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| CaError::Roots(e.to_string()))?;
        Ok(Self { authorities, chains })
    }

    /// The subjects of the authorities, to be named to clients.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.chains.root_hint_subjects().to_vec()
    }

    /// Is the chain good now? Gives its leaf.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn leaf<'a, 'b>(&self, chain: &'a [CertificateDer<'b>]) -> Result<&'a CertificateDer<'b>, String> {
        let (leaf, intermediates) = chain.split_first().ok_or("no certificate")?;
        let now = UnixTime::now();
        let verdict = match unusual::verdict(leaf, &self.authorities, Purpose::Client, now) {
            Some(verdict) => verdict.map_err(Error::from),
            None => self.chains.verify_client_cert(leaf, intermediates, now).map(drop),
        };
        verdict.map(|()| leaf).map_err(|e| format!("x509: {e}"))
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
        // With the key alone: of certificates of version 1 the function for certificates reads nothing.
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
