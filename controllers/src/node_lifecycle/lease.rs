//! The lease of a node as it is kept: there is one for each node, and it is renewed all the time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use knarr_component::{meta::without_managers, view_of};
use serde::{Deserialize, Deserializer};

/// What is kept of a lease.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lease {
    #[serde(deserialize_with = "identity")]
    pub metadata: ObjectMeta,
    pub spec: Option<LeaseSpec>,
}

/// What is kept of its specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LeaseSpec {
    pub renew_time: Option<MicroTime>,
}

view_of!(Lease => k8s_openapi::api::coordination::v1::Lease);

/// Metadata by which an object is told apart; leases are never looked for by their owners.
fn identity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let ObjectMeta { name, namespace, uid, resource_version, .. } = without_managers(deserializer)?;
    Ok(ObjectMeta { name, namespace, uid, resource_version, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_is_kept_without_its_owner() {
        let lease: Lease = serde_json::from_value(json!({
            "metadata": {
                "name": "n", "resourceVersion": "5",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
            },
            "spec": {"holderIdentity": "n", "leaseDurationSeconds": 40, "renewTime": "2026-11-30T05:00:00.250000Z"},
        }))
        .unwrap();
        assert_eq!(lease.metadata.name.as_deref(), Some("n"));
        assert_eq!(lease.metadata.owner_references, None);
        let renewed = lease.spec.and_then(|spec| spec.renew_time);
        assert_eq!(renewed.map(|time| time.0.as_millisecond() % 1000), Some(250));
    }
}
