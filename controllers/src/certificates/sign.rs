//! Signs approved requests for the signers that are built in.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequest};
use knarr_component::{informer::Informer, runner::SyncResult, store::Key};
use kube::api::PostParams;
use rcgen::KeyPair;
use x509_parser::{
    certification_request::X509CertificationRequest, extensions::ParsedExtension, prelude::FromDer,
};

use super::{
    CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY,
    der::{Contents, certificate},
    has, is_issued, queue_of,
    request::Request,
    with_condition,
};
use crate::{context::Context, manager::pem, meta::ignore_absent};

/// Clocks of those who check a certificate may be slow by this much.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// A certificate that is valid for less than this is not shortened by what it is dated back.
const SHORT: Duration = Duration::from_secs(8 * 3600);
/// The shortest time that may be asked for.
const SHORTEST: Duration = Duration::from_secs(600);

/// A certificate authority.
struct Authority {
    /// Its name in DER.
    name: Vec<u8>,
    identifier: Option<Vec<u8>>,
    until: Timestamp,
    key: KeyPair,
}

impl Authority {
    fn read(certificate: &std::path::Path, key: &std::path::Path) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        Self::parse(&read(certificate)?, &read(key)?)
            .with_context(|| format!("cannot sign with {}", certificate.display()))
    }

    fn parse(certificate: &str, key: &str) -> anyhow::Result<Self> {
        let (_, block) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())?;
        let parsed = block.parse_x509()?;
        let key = KeyPair::from_pem(key)?;
        let identifier =
            parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
                _ => None,
            });
        let until = Timestamp::from_second(parsed.validity().not_after.timestamp())?;
        Ok(Self { name: parsed.subject().as_raw().to_vec(), identifier, until, key })
    }

    /// The certificate in PEM that a request gets.
    fn sign(
        &self,
        csr: &CertificateSigningRequest,
        longest: Duration,
        now: Timestamp,
    ) -> Result<String, String> {
        let block = x509_parser::pem::parse_x509_pem(&csr.spec.request.0).map(|(_, block)| block);
        let block = block.map_err(|error| error.to_string())?;
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
        request
            .verify_signature()
            .map_err(|error| format!("unable to verify certificate request signature: {error}"))?;
        let usages: Vec<&str> = csr.spec.usages.iter().flatten().map(String::as_str).collect();
        let (from, until) = validity(csr.spec.expiration_seconds, longest, self.until, now);
        if until <= now {
            return Err("refusing to sign a certificate that expired in the past".to_string());
        }
        let mut serial: [u8; 16] = rand::random();
        serial[0] &= 0x7f;
        let contents = Contents {
            serial,
            issuer: &self.name,
            authority: self.identifier.as_deref(),
            from,
            until,
            usages: &usages,
        };
        certificate(&request, &contents, &self.key).map(|der| pem(&der))
    }
}

/// From when until when a certificate is valid.
fn validity(
    asked: Option<i32>,
    longest: Duration,
    authority: Timestamp,
    now: Timestamp,
) -> (Timestamp, Timestamp) {
    let asked = asked.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
    let length = asked.map_or(longest, |asked| asked.max(SHORTEST).min(longest));
    let length = if length < SHORT { length } else { length - BACKDATE };
    (now - BACKDATE, (now + length).min(authority))
}

/// Runs the controller; it has nothing to do without an authority.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let args = &context.args;
    let (Some(certificate), Some(key)) = (&args.cluster_signing_cert_file, &args.cluster_signing_key_file)
    else {
        tracing::info!("no --cluster-signing-cert-file: no certificates are signed");
        return Ok(());
    };
    let authority = Arc::new(Authority::read(certificate, key)?);
    let requests: Informer<CertificateSigningRequest> = context.informers.get();
    let queue = queue_of(&requests);
    let (this, synced) = (context.clone(), requests.synced());
    context
        .work("certificatesigningrequest-signing-controller", synced, queue, 5, move |key| {
            let (context, requests, authority) = (this.clone(), requests.clone(), authority.clone());
            async move { sync(&context, &requests, &authority, &key).await }
        })
        .await
}

/// Whether a request waits for a signature of ours.
fn is_due(csr: &CertificateSigningRequest) -> bool {
    let ours = [CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&csr.spec.signer_name.as_str());
    ours && has(csr, "Approved") && !has(csr, "Denied") && !has(csr, "Failed") && !is_issued(csr)
}

async fn sync(
    context: &Context,
    requests: &Informer<CertificateSigningRequest>,
    authority: &Authority,
    key: &Key,
) -> SyncResult {
    let Some(csr) = requests.get(key).filter(|csr| is_due(csr)) else { return Ok(None) };
    let usages: Vec<&str> = csr.spec.usages.iter().flatten().map(String::as_str).collect();
    let checked =
        Request::parse(&csr.spec.request.0).and_then(|request| request.check(&csr.spec.signer_name, &usages));
    let updated = match checked {
        Err(text) => with_condition((*csr).clone(), "Failed", "SignerValidationFailure", &text),
        Ok(()) => {
            let longest = context.args.cluster_signing_duration;
            match authority.sign(&csr, longest, Timestamp::now()) {
                Err(text) => bail!("error auto signing csr: {text}"),
                Ok(signed) => {
                    let mut updated = (*csr).clone();
                    updated.status.get_or_insert_default().certificate =
                        Some(ByteString(signed.into_bytes()));
                    updated
                }
            }
        }
    };
    let api = context.api_all::<CertificateSigningRequest>();
    ignore_absent(api.replace_status(&key.name, &PostParams::default(), &updated).await)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, SanType};
    use x509_parser::time::ASN1Time;

    use super::*;

    fn authority() -> (Authority, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        let certificate = params.self_signed(&key).unwrap().pem();
        (Authority::parse(&certificate, &key.serialize_pem()).unwrap(), certificate)
    }

    #[test]
    fn certificates_say_what_was_asked() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:n1");
        params.subject_alt_names.push(SanType::DnsName("n1".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("10.0.0.1".parse().unwrap()));
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let csr = CertificateSigningRequest {
            spec: CertificateSigningRequestSpec {
                request: ByteString(pem.into_bytes()),
                signer_name: KUBELET_SERVING.into(),
                usages: Some(vec!["server auth".into(), "digital signature".into()]),
                expiration_seconds: Some(3600),
                ..Default::default()
            },
            ..Default::default()
        };
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (authority, ca) = authority();
        let signed = authority.sign(&csr, Duration::from_secs(1_000_000), now).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let certificate = block.parse_x509().unwrap();
        let (_, ca) = x509_parser::pem::parse_x509_pem(ca.as_bytes()).unwrap();
        let ca = ca.parse_x509().unwrap();
        certificate.verify_signature(Some(ca.public_key())).expect("signed by the authority");
        assert_eq!(certificate.issuer(), ca.subject());
        assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:n1");
        let time = |second: i64| ASN1Time::from_timestamp(now.as_second() + second).unwrap();
        assert_eq!(certificate.validity().not_before, time(-300));
        assert_eq!(certificate.validity().not_after, time(3600));
        let names = certificate.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 2);
        assert!(!certificate.is_ca());
        assert!(certificate.key_usage().unwrap().unwrap().value.digital_signature());
        let extended = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth);
        let odd = CertificateSigningRequest {
            spec: CertificateSigningRequestSpec { usages: Some(vec!["magic".into()]), ..csr.spec },
            ..Default::default()
        };
        let refused = authority.sign(&odd, Duration::from_secs(1_000_000), now);
        assert_eq!(refused, Err("unrecognized usage values: [\"magic\"]".to_string()));
    }

    #[test]
    fn how_long_certificates_are_valid() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let check = |asked: Option<i32>, authority: i64, expected: i64| {
            let longest = Duration::from_secs(1_000_000);
            let found = validity(asked, longest, at(authority), at(1000));
            assert_eq!(found, (at(700), at(expected)), "{asked:?} {authority}");
        };
        check(None, i64::from(u32::MAX), 1_000_700);
        check(Some(3600), i64::from(u32::MAX), 4600);
        check(Some(5), i64::from(u32::MAX), 1600);
        check(Some(36_000), i64::from(u32::MAX), 36_700);
        check(Some(2_000_000), i64::from(u32::MAX), 1_000_700);
        check(None, 5000, 5000);
    }
}
