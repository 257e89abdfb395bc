//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction and ClusterTrustBundleAttest: who may decide on
//! and sign requests for certificates, what none may ask for, and who may speak of a signer's roots.
use super::{Attributes, Operation, Plugin};
use crate::authz::{self, Authorizer};
use crate::user::{MASTERS, User};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_api::Value;
use knarr_api::status::Status;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// CertificateApproval.
pub struct CertificateApproval {
    /// Says who may approve for a signer.
    pub authorizer: Authorizer,
}

/// CertificateSigning.
pub struct CertificateSigning {
    /// Says who may sign for a signer.
    pub authorizer: Authorizer,
}

/// CertificateSubjectRestriction.
pub struct CertificateSubjectRestriction;

/// ClusterTrustBundleAttest.
pub struct ClusterTrustBundleAttest {
    /// Says who may attest for a signer.
    pub authorizer: Authorizer,
}

fn is_request(attributes: &Attributes<'_>, subresource: &str) -> bool {
    attributes.subresource == subresource
        && &*attributes.kind.gvk.group == GROUP
        && &*attributes.kind.plural == "certificatesigningrequests"
}

fn signer(request: &Value) -> &str {
    request["spec"]["signerName"].as_str().unwrap_or_default()
}

/// May a user do this for a signer, or for all of its domain?
fn is_permitted(authorizer: &Authorizer, user: &User, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    let all = format!("{domain}/*");
    [signer, &all].into_iter().any(|name| {
        let wanted = authz::Attributes {
            verb,
            group: GROUP,
            version: "*",
            resource: "signers",
            name,
            is_resource: true,
            ..Default::default()
        };
        authorizer.authorize(user, &wanted).is_allowed()
    })
}

fn require(authorizer: &Authorizer, attributes: &Attributes<'_>, verb: &str) -> Result<(), Status> {
    let signer = attributes.old.as_ref().map(signer).unwrap_or_default();
    if is_permitted(authorizer, attributes.user, verb, signer) {
        return Ok(());
    }
    Err(attributes.forbidden(format!("user not permitted to {verb} requests with signerName {signer:?}")))
}

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Update && is_request(attributes, "approval")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        require(&self.authorizer, attributes, "approve")
    }
}

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Update && is_request(attributes, "status")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (&attributes.object, &attributes.old) else { return Ok(()) };
        // Whoever leaves certificate and decisions alone signs nothing.
        let (new, old) = (&new["status"], &old["status"]);
        if new["certificate"] == old["certificate"] && new["conditions"] == old["conditions"] {
            return Ok(());
        }
        require(&self.authorizer, attributes, "sign")
    }
}

#[async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && attributes.subresource.is_empty()
            && &*attributes.kind.gvk.group == GROUP
            && &*attributes.kind.plural == "clustertrustbundles"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let Some(bundle) = &attributes.object else { return Ok(()) };
        // Whoever leaves the roots alone attests nothing: garbage collection, migration.
        let is_same = attributes.old.as_ref().is_some_and(|old| old["spec"] == bundle["spec"]);
        let signer = signer(bundle);
        if signer.is_empty() || is_same || is_permitted(&self.authorizer, attributes.user, "attest", signer) {
            return Ok(());
        }
        Err(attributes.forbidden(format!("user not permitted to attest for signerName {signer:?}")))
    }
}

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && is_request(attributes, "")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let Some(request) = &attributes.object else { return Ok(()) };
        if signer(request) != CLIENT_SIGNER {
            return Ok(());
        }
        let text = request["spec"]["request"].as_str().unwrap_or_default();
        let organizations = organizations(text)
            .map_err(|error| attributes.forbidden(format!("unable to parse certificate request: {error}")))?;
        if organizations.iter().any(|name| name == MASTERS) {
            return Err(attributes
                .forbidden(format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")));
        }
        Ok(())
    }
}

/// The organizations in the subject of a request, PEM in base64: the groups of who shows the certificate.
fn organizations(request: &str) -> Result<Vec<String>, String> {
    // A name that is no text could be read as any group by others.
    subject(request, |subject| subject.iter_organization().map(text).collect())
}

/// The common name that a CertificateSigningRequest asks for; empty where it asks for none.
///
/// # Errors
/// A request that cannot be read.
pub(super) fn common_name(request: &Value) -> Result<String, String> {
    let request = request["spec"]["request"].as_str().unwrap_or_default();
    subject(request, |subject| subject.iter_common_name().last().map_or(Ok(String::new()), text))
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> Result<String, String> {
    attribute.as_str().map(str::to_owned).map_err(|error| error.to_string())
}

fn subject<T>(request: &str, read: impl FnOnce(&X509Name<'_>) -> Result<T, String>) -> Result<T, String> {
    let bytes = STANDARD.decode(request).map_err(|error| error.to_string())?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&bytes).map_err(|error| error.to_string())?;
    let (_, request) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    read(&request.certification_request_info.subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Mode;

    #[test]
    fn organizations_of_requests() {
        let check = |groups: &[&str]| {
            let mut parameters = rcgen::CertificateParams::default();
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            for group in groups {
                parameters.distinguished_name.push(rcgen::DnType::OrganizationName, *group);
            }
            let key = rcgen::KeyPair::generate().unwrap();
            let pem = parameters.serialize_request(&key).unwrap().pem().unwrap();
            assert_eq!(organizations(&STANDARD.encode(pem)).unwrap(), groups);
        };
        check(&[]);
        check(&[MASTERS]);
        assert!(organizations("eA==").is_err());
    }

    #[test]
    fn signers_are_permitted_by_name() {
        let user = |groups: &[&str]| User {
            name: "u".into(),
            groups: groups.iter().map(|g| (*g).into()).collect(),
            ..User::loopback()
        };
        let check = |mode, groups: &[&str], expected| {
            let authorizer = Authorizer::new(&[mode]);
            assert_eq!(is_permitted(&authorizer, &user(groups), "sign", "a.com/b"), expected, "{mode:?}");
        };
        check(Mode::AlwaysAllow, &[], true);
        check(Mode::AlwaysDeny, &[], false);
        check(Mode::AlwaysDeny, &[MASTERS], true);
    }
}
