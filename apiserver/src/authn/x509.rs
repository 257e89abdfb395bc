//! Client certificates: the common name is the user, the organizations are the groups.
//!
//! The handshake takes any certificate whose key the client proves to hold; the chain is verified by [`Verifier`], so that a
//! bad one is a 401 and not a broken handshake.
use super::authenticated;
use crate::clock::now_seconds;
use crate::user::User;
use knarr_reload::clients::{CaError, Trust};
use rustls::DistinguishedName;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

/// The user id in a certificate's subject.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// What a verified certificate says.
#[derive(Debug)]
pub struct Identity {
    /// The user.
    pub user: Arc<User>,
    not_before: u64,
    not_after: u64,
}

impl Identity {
    /// Is the certificate valid now? A connection may outlive it.
    pub fn is_current(&self) -> bool {
        (self.not_before..=self.not_after).contains(&now_seconds())
    }

    /// Seconds until it ends.
    pub fn seconds_left(&self) -> u64 {
        self.not_after.saturating_sub(now_seconds())
    }
}

/// Verifies chains against a certificate authority.
pub struct Verifier(Trust);

impl Verifier {
    /// Trusts the certificates of a PEM bundle.
    ///
    /// # Errors
    /// Malformed PEM, or no certificate in it.
    pub fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, CaError> {
        Trust::new(pem, provider).map(Self)
    }

    /// The subjects of the authorities, to be named to clients.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.0.subjects()
    }

    /// Is the chain good now? Its leaf then tells the user.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<Identity, String> {
        identity(self.0.leaf(chain)?)
    }

    /// Is the chain good now? Gives the leaf's common name.
    pub fn common_name(&self, chain: &[CertificateDer<'static>]) -> Option<String> {
        let leaf = self.0.leaf(chain).ok()?;
        identity(leaf).ok().map(|identity| identity.user.name.clone())
    }
}

fn identity(leaf: &CertificateDer<'_>) -> Result<Identity, String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|e| format!("x509: {e}"))?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err("x509: certificate without a common name".to_owned());
    }
    let mut user = User {
        name: name.to_owned(),
        groups: subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect(),
        ..User::default()
    };
    let uid = subject.iter_attributes().find(|a| a.attr_type().to_id_string() == UID_OID);
    if let Some(uid) = uid.and_then(|a| a.as_str().ok()) {
        user.uid = uid.to_owned();
    }
    let mut id = "X509SHA256=".to_owned();
    for byte in Sha256::digest(leaf) {
        let _ = write!(id, "{byte:02x}");
    }
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    let validity = certificate.validity();
    Ok(Identity {
        user: Arc::new(authenticated(user)),
        not_before: seconds(validity.not_before),
        not_after: seconds(validity.not_after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, Issuer::new(params, key))
    }

    fn client(issuer: &Issuer<'static, KeyPair>, name: &str, groups: &[&str]) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    #[test]
    fn users_of_certificates() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (pem, issuer) = authority("ca");
        let (_, other) = authority("other");
        let verifier = Verifier::new(pem.as_bytes(), provider).unwrap();
        let identity = verifier.verify(&[client(&issuer, "ann", &["dev"])]).unwrap();
        assert_eq!(
            (identity.user.name.as_str(), &identity.user.groups[..]),
            ("ann", &["dev".into(), "system:authenticated".into()][..])
        );
        assert!(identity.is_current());
        assert!(verifier.verify(&[client(&other, "eve", &["system:masters"])]).is_err());
        assert!(verifier.verify(&[client(&issuer, "", &[])]).is_err());
    }
}
