//! How servers' certificates are verified: as webpki does, but that a certificate which is itself among the
//! authorities vouches for itself, as with the original (Go's crypto/x509).
//!
//! `openssl req -x509` makes such certificates, and webhooks, token issuers and kubelets are run with them.
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

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
        if !self.given.iter().any(|given| given.as_ref() == end_entity.as_ref()) {
            return self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        }
        check_alone(end_entity, now)?;
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
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

/// Whether a trusted certificate is in its time and made for servers.
fn check_alone(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).map_err(|_| CertificateError::BadEncoding)?;
    let time = ASN1Time::from_timestamp(seconds).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.validity();
    if time < validity.not_before {
        return Err(CertificateError::NotValidYet);
    }
    if time > validity.not_after {
        return Err(CertificateError::Expired);
    }
    match parsed.extended_key_usage() {
        Ok(Some(usage)) if !usage.value.server_auth && !usage.value.any => {
            Err(CertificateError::InvalidPurpose)
        }
        Ok(_) => Ok(()),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
    use std::time::Duration;

    /// In 2026.
    const NOW: Duration = Duration::from_secs(1_780_000_000);

    /// A certificate that signs itself, as `openssl req -x509 -addext subjectAltName=DNS:a.example` makes it.
    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        change(&mut params);
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
        let plain = certificate(|_| ());
        check(plain.clone(), plain.clone(), "a.example", "trusted");
        check(plain.clone(), plain.clone(), "b.example", "InvalidCertificate(NotValidForNameContext");
        check(certificate(|_| ()), plain, "a.example", "InvalidCertificate(");
        let same = |change: fn(&mut CertificateParams), expected: &str| {
            let one = certificate(change);
            check(one.clone(), one, "a.example", expected);
        };
        same(|params| params.not_after = date_time_ymd(2021, 1, 1), "InvalidCertificate(Expired");
        same(|params| params.not_before = date_time_ymd(2039, 1, 1), "InvalidCertificate(NotValidYet");
        let client = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        same(client, "InvalidCertificate(InvalidPurpose");
        same(|params| params.is_ca = IsCa::NoCa, "trusted");
    }
}
