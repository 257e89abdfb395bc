//! CertificateSigningRequests: approves what kubelets ask for themselves, signs what is approved
//! and removes what is old.

mod approve;
mod clean;
mod der;
mod request;
mod serving;
mod sign;

pub(crate) use approve::run as run_approver;
pub(crate) use clean::run as run_cleaner;
pub(crate) use serving::run as run_serving_approver;
pub(crate) use sign::run as run_signer;

use k8s_openapi::{
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_component::{informer::Informer, queue::Queue, store::Key};

use crate::meta::now;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// A queue of all requests that come or change.
fn queue_of(requests: &Informer<CertificateSigningRequest>) -> Queue<Key> {
    let queue = Queue::new();
    let added = queue.clone();
    requests.on_change(move |change| {
        if !change.is_deletion() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    queue
}

/// Whether a condition of this kind is true.
fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).any(|condition| condition.type_ == kind && condition.status == "True")
}

fn conditions(
    request: &CertificateSigningRequest,
) -> impl Iterator<Item = &CertificateSigningRequestCondition> {
    request.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

/// Whether it has its certificate.
fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

/// The request with one more condition that is true.
fn with_condition(
    mut request: CertificateSigningRequest,
    kind: &str,
    reason: &str,
    text: &str,
) -> CertificateSigningRequest {
    let at: Option<Time> = Some(now());
    let condition = CertificateSigningRequestCondition {
        type_: kind.to_string(),
        status: "True".to_string(),
        reason: Some(reason.to_string()),
        message: Some(text.to_string()),
        last_transition_time: at.clone(),
        last_update_time: at,
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    request
}
