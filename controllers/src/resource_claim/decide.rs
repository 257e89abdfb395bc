//! What becomes of a claim when pods come and go.

use k8s_openapi::api::{
    core::v1::PodResourceClaim,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference},
};

use crate::{
    meta::{has_finalizer, is_deleting},
    pods::{Pod, is_finished, node_name},
};

/// Annotation of a claim: the entry of the pod that it was made for.
pub(super) const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// The scheduler sets it before it allocates devices.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// The entries of a pod.
pub(super) fn claims_of(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

/// The name that a pod's status gives for an entry: `Some(None)` says that no claim is needed.
pub(super) fn known_name<'a>(pod: &'a Pod, entry: &str) -> Option<Option<&'a str>> {
    let mut statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    statuses.find(|status| status.name == entry).map(|status| status.resource_claim_name.as_deref())
}

/// Those for whom a claim is reserved.
pub(super) fn holders(claim: &ResourceClaim) -> &[ResourceClaimConsumerReference] {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default()
}

/// Whether a pod does not need its claims any more.
pub(super) fn is_done(pod: &Pod) -> bool {
    is_finished(pod) || (is_deleting(&pod.metadata) && node_name(pod).is_empty())
}

/// What is to be done about a claim.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    /// Its status changes: holders leave, and the last one's devices become free.
    Update(Box<ResourceClaim>),
    /// Nothing is allocated any more, so that it may go.
    Unprotect,
    /// The pod that it was made for is done.
    Delete,
}

/// Decides by which holders are gone (by UID) and whether the pod that owns the claim is done.
pub(super) fn step(claim: &ResourceClaim, gone: &[String], owner_is_done: bool) -> Step {
    let left: Vec<_> = holders(claim).iter().filter(|holder| !gone.contains(&holder.uid)).cloned().collect();
    let status = claim.status.clone().unwrap_or_default();
    let frees = left.is_empty() && status.allocation.is_some() && has_finalizer(&claim.metadata, FINALIZER);
    if left.len() != holders(claim).len() || frees {
        let mut updated = claim.clone();
        let status = updated.status.get_or_insert_default();
        status.reserved_for = Some(left).filter(|left| !left.is_empty());
        if frees {
            status.allocation = None;
            status.devices = None;
        }
        return Step::Update(Box::new(updated));
    }
    if !left.is_empty() {
        return Step::Nothing;
    }
    if owner_is_done && !is_deleting(&claim.metadata) {
        return Step::Delete;
    }
    match status.allocation.is_none() && has_finalizer(&claim.metadata, FINALIZER) {
        true => Step::Unprotect,
        false => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn claims_are_given_back() {
        let check =
            |holders: &[&str], allocated: bool, protected: bool, gone: &[&str], done, expected: &str| {
                let reserved: Vec<_> =
                    holders.iter().map(|uid| json!({"resource": "pods", "name": "p", "uid": uid})).collect();
                let mut claim = json!({
                    "metadata": {"name": "c"}, "spec": {}, "status": {"reservedFor": reserved},
                });
                if allocated {
                    claim["status"]["allocation"] = json!({});
                }
                if protected {
                    claim["metadata"]["finalizers"] = json!([FINALIZER]);
                }
                let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
                let text = match step(&serde_json::from_value(claim).unwrap(), &gone, done) {
                    Step::Nothing => "nothing".to_string(),
                    Step::Unprotect => "unprotect".to_string(),
                    Step::Delete => "delete".to_string(),
                    Step::Update(updated) => {
                        let allocated = updated.status.as_ref().unwrap().allocation.is_some();
                        format!("{} left, allocated {allocated}", super::holders(&updated).len())
                    }
                };
                assert_eq!(text, expected, "{holders:?} {allocated} {protected} {gone:?} {done}");
            };
        check(&["a", "b"], true, true, &[], false, "nothing");
        check(&["a", "b"], true, true, &["a"], false, "1 left, allocated true");
        check(&["a"], true, true, &["a"], false, "0 left, allocated false");
        check(&["a"], true, false, &["a"], false, "0 left, allocated true");
        check(&[], true, true, &[], false, "0 left, allocated false");
        check(&[], false, true, &[], false, "unprotect");
        check(&[], false, true, &[], true, "delete");
        check(&[], false, false, &[], false, "nothing");
        check(&["a"], true, true, &[], true, "nothing");
    }

    #[test]
    fn pods_that_need_no_claims() {
        let mut leaving = pod("p", "Pending", "", None);
        assert!(!is_done(&leaving));
        leaving.metadata.deletion_timestamp = Some(crate::meta::now());
        assert!(is_done(&leaving));
        let mut leaving = pod("p", "Running", "n", None);
        leaving.metadata.deletion_timestamp = Some(crate::meta::now());
        assert!(!is_done(&leaving));
        assert!(is_done(&pod("p", "Succeeded", "n", None)));
    }
}
