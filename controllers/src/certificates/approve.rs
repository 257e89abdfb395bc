//! Approves requests of kubelets for the certificate that they authenticate with.

use k8s_openapi::api::{
    authorization::v1::{
        ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
    },
    certificates::v1::CertificateSigningRequest,
};
use knarr_component::{informer::Informer, runner::SyncResult, store::Key};
use kube::api::PostParams;

use super::{KUBELET_CLIENT, has, is_issued, queue_of, request::Request, with_condition};
use crate::{context::Context, meta::ignore_absent};

/// A kind of request that is approved if its sender may ask for that.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Recognized {
    /// The permission: a subresource of the requests.
    permission: &'static str,
    text: &'static str,
}

const OWN: Recognized = Recognized {
    permission: "selfnodeclient",
    text: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const ANY: Recognized = Recognized {
    permission: "nodeclient",
    text: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

/// What a request may be, most special first.
fn recognize(csr: &CertificateSigningRequest) -> Vec<Recognized> {
    let usages: Vec<&str> = csr.spec.usages.iter().flatten().map(String::as_str).collect();
    let Ok(request) = Request::parse(&csr.spec.request.0) else { return Vec::new() };
    if csr.spec.signer_name != KUBELET_CLIENT || !request.is_kubelet_client(&usages) {
        return Vec::new();
    }
    if csr.spec.username.as_deref() == Some(&request.common_name) { vec![OWN, ANY] } else { vec![ANY] }
}

/// The question whether the sender of a request has a permission.
fn review(csr: &CertificateSigningRequest, recognized: Recognized) -> SubjectAccessReview {
    let spec = &csr.spec;
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_string()),
                resource: Some("certificatesigningrequests".to_string()),
                verb: Some("create".to_string()),
                subresource: Some(recognized.permission.to_string()),
                version: Some("*".to_string()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let requests: Informer<CertificateSigningRequest> = context.informers.get();
    let queue = queue_of(&requests);
    let (this, synced) = (context.clone(), requests.synced());
    context
        .work("certificatesigningrequest-approving-controller", synced, queue, 5, move |key| {
            let (context, requests) = (this.clone(), requests.clone());
            async move { sync(&context, &requests, &key).await }
        })
        .await
}

async fn sync(context: &Context, requests: &Informer<CertificateSigningRequest>, key: &Key) -> SyncResult {
    let Some(csr) = requests.get(key) else { return Ok(None) };
    if is_issued(&csr) || has(&csr, "Approved") || has(&csr, "Denied") {
        return Ok(None);
    }
    let recognized = recognize(&csr);
    for kind in &recognized {
        let api = context.api_all::<SubjectAccessReview>();
        let answer = api.create(&PostParams::default(), &review(&csr, *kind)).await?;
        if answer.status.is_some_and(|SubjectAccessReviewStatus { allowed, .. }| allowed) {
            let approved = with_condition((*csr).clone(), "Approved", "AutoApproved", kind.text);
            let api = context.api_all::<CertificateSigningRequest>();
            let answer =
                api.replace_subresource("approval", &key.name, &PostParams::default(), &approved).await;
            ignore_absent(answer)?;
            return Ok(None);
        }
    }
    if let Some(kind) = recognized.first() {
        // A permission may be given later, so it is tried again.
        anyhow::bail!(
            "recognized csr {:?} as [{}] but subject access review was not approved",
            key.name,
            kind.permission
        );
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequestSpec};
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn requests_of_kubelets() {
        let check = |name: &str, organization: &str, signer: &str, user: &str, expected: &[Recognized]| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.distinguished_name.push(DnType::OrganizationName, organization);
            let key = KeyPair::generate().unwrap();
            let pem = params.serialize_request(&key).unwrap().pem().unwrap();
            let csr = CertificateSigningRequest {
                spec: CertificateSigningRequestSpec {
                    request: ByteString(pem.into_bytes()),
                    signer_name: signer.into(),
                    usages: Some(vec!["client auth".into(), "digital signature".into()]),
                    username: Some(user.into()),
                    ..Default::default()
                },
                ..Default::default()
            };
            assert_eq!(recognize(&csr), expected, "{name} {organization} {signer} {user}");
        };
        let node = "system:node:n1";
        check(node, "system:nodes", KUBELET_CLIENT, node, &[OWN, ANY]);
        check(node, "system:nodes", KUBELET_CLIENT, "system:bootstrap:abcdef", &[ANY]);
        check(node, "system:nodes", super::super::KUBELET_SERVING, node, &[]);
        check(node, "system:masters", KUBELET_CLIENT, node, &[]);
        check("n1", "system:nodes", KUBELET_CLIENT, node, &[]);
    }
}
