//! How servers' certificates are verified: as webpki does, and those that it takes for nobody's as the original does.
use knarr_reload::unusual::{self, Purpose};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Verifies by a set of authorities.
#[derive(Debug)]
pub struct Verifier {
    /// Those that were given as certificates, in DER.
    given: Vec<CertificateDer<'static>>,
    chains: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    /// One that trusts these authorities.
    ///
    /// # Errors
    /// One of them is malformed, or there is none.
    pub fn new(
        given: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, String> {
        let mut roots = RootCertStore::empty();
        for certificate in &given {
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Arc::new(Self { given, chains: chains.map_err(|error| error.to_string())? }))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match unusual::verdict(end_entity, &self.given, Purpose::Server, now) {
            None => self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp, now),
            Some(verdict) => {
                verdict?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use std::time::Duration;

    /// In 2026.
    const NOW: Duration = Duration::from_secs(1_780_000_000);

    /// A certificate that signs itself, as `openssl req -x509 -addext subjectAltName=DNS:a.example` makes it.
    fn certificate() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn an_authority_may_vouch_for_itself() {
        let check =
            |shown: CertificateDer<'static>, given: CertificateDer<'static>, name: &str, expected: &str| {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let verifier = Verifier::new(vec![given], &provider).unwrap();
                let name = ServerName::try_from(name.to_owned()).unwrap();
                let found =
                    verifier.verify_server_cert(&shown, &[], &name, &[], UnixTime::since_unix_epoch(NOW));
                let told = found.map_or_else(|error| format!("{error:?}"), |_| "trusted".to_owned());
                assert!(told.starts_with(expected), "{told}");
            };
        let plain = certificate();
        check(plain.clone(), plain.clone(), "a.example", "trusted");
        check(plain.clone(), plain.clone(), "b.example", "InvalidCertificate(NotValidForNameContext");
        check(certificate(), plain, "a.example", "InvalidCertificate(");
    }
}
