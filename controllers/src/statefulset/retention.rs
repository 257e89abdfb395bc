//! Which objects the claims of a StatefulSet are removed with: the set, their pod, or none.
//!
//! Source: documentation page "StatefulSets", PersistentVolumeClaim retention.

use k8s_openapi::{
    api::apps::v1::StatefulSet,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;

use crate::meta::{controller_reference, uid};
use crate::pods::Pod;

/// Whether the policy of a set says `Delete` for its own deletion, and for scaling down.
fn policy(set: &StatefulSet) -> (bool, bool) {
    let spec = set.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |value: Option<&String>| value.is_some_and(|value| value == "Delete");
    (
        deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
        deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
    )
}

/// A reference by which a claim goes with its owner, but does not keep it.
fn reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference { block_owner_deletion: None, ..controller_reference(owner) }
}

/// The owners that a claim of `pod` should have, if they differ from those it has. `condemned` says that the pod is
/// beyond the set's range.
pub(super) fn owners(
    set: &StatefulSet,
    pod: Option<&Pod>,
    condemned: bool,
    claim: &ObjectMeta,
) -> Option<Vec<OwnerReference>> {
    let (when_deleted, when_scaled) = policy(set);
    let by_pod = when_scaled && condemned;
    let by_set = when_deleted && !by_pod;
    let have = claim.owner_references.clone().unwrap_or_default();
    let is_ours = |owner: &OwnerReference| {
        owner.uid == uid(&set.metadata) || pod.is_some_and(|pod| owner.uid == uid(&pod.metadata))
    };
    // A pod that is gone may still be named; anybody else manages the claim instead of the set.
    let is_pod = |owner: &OwnerReference| owner.kind == "Pod" && owner.api_version == "v1";
    let manages = |owner: &&OwnerReference| owner.controller == Some(true) && !is_ours(owner);
    if have.iter().filter(manages).any(|owner| !is_pod(owner)) {
        return None;
    }
    let others = have.iter().filter(|owner| !is_ours(owner) && !manages(owner));
    let mut wanted: Vec<OwnerReference> = others.cloned().collect();
    if by_set {
        wanted.push(reference(set));
    }
    if let Some(pod) = pod.filter(|_| by_pod) {
        wanted.push(reference(pod));
    }
    let uids = |owners: &[OwnerReference]| {
        let mut uids: Vec<String> = owners.iter().map(|owner| owner.uid.clone()).collect();
        uids.sort();
        uids
    };
    (uids(&have) != uids(&wanted)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn claims_go_with_whom_the_policy_names() {
        let pod = pod("db-0", "Running", "n", None);
        let check = |policy: [&str; 2], condemned: bool, have: &[&str], expected: Option<&[&str]>| {
            let set: StatefulSet = serde_json::from_value(json!({
                "metadata": {"name": "db", "uid": "set"},
                "spec": {"selector": {}, "template": {}, "serviceName": "", "persistentVolumeClaimRetentionPolicy":
                    {"whenDeleted": policy[0], "whenScaled": policy[1]}},
            }))
            .unwrap();
            let owners: Vec<OwnerReference> = have
                .iter()
                .map(|uid| OwnerReference {
                    api_version: "v1".into(),
                    kind: if uid.contains("pod") { "Pod" } else { "Other" }.into(),
                    uid: (*uid).into(),
                    controller: Some(true),
                    ..Default::default()
                })
                .collect();
            let claim = ObjectMeta { owner_references: Some(owners), ..Default::default() };
            let found = super::owners(&set, Some(&pod), condemned, &claim);
            let found: Option<Vec<String>> = found.map(|list| list.into_iter().map(|o| o.uid).collect());
            let expected = expected.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(found, expected, "{policy:?} {condemned} {have:?}");
        };
        let own = "uid-db-0";
        check(["Retain", "Retain"], true, &[], None);
        check(["Retain", "Retain"], false, &["set"], Some(&[]));
        check(["Delete", "Retain"], true, &[], Some(&["set"]));
        check(["Delete", "Retain"], true, &["set"], None);
        check(["Retain", "Delete"], true, &[], Some(&[own]));
        check(["Retain", "Delete"], false, &[own], Some(&[]));
        check(["Delete", "Delete"], true, &["set"], Some(&[own]));
        check(["Delete", "Delete"], false, &[], Some(&["set"]));
        check(["Delete", "Delete"], false, &["old-pod"], Some(&["set"]));
        check(["Delete", "Delete"], false, &["stranger"], None);
    }
}
