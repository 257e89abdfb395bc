//! Metadata of objects as client processes keep them.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{Deserialize, Deserializer};

/// Makes a type with a field `metadata` stand for a kind of the API of which it has a part only, so that clients can ask
/// for it by its own name: `view_of!(Lean => Pod)`.
#[macro_export]
macro_rules! view_of {
    ($view:ty => $whole:ty) => {
        impl kube::Resource for $view {
            type DynamicType = ();
            type Scope = <$whole as kube::Resource>::Scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                <$whole as kube::Resource>::kind(&())
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                <$whole as kube::Resource>::group(&())
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                <$whole as kube::Resource>::version(&())
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                <$whole as kube::Resource>::plural(&())
            }

            fn meta(&self) -> &kube::api::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// The metadata of an object of any kind, for which the server is asked alone (`PartialObjectMetadata`). Unlike kube's
/// own type it is decoded without a copy of the whole, and without managed fields.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// The metadata.
    #[serde(default, deserialize_with = "without_managers")]
    pub metadata: ObjectMeta,
}

impl Resource for Metadata {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn metadata_api() -> bool {
        true
    }
}

/// Metadata without what only writers of an object need.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

/// Decodes metadata without the managed fields, which are passed over: they are several times the rest and would be
/// made a tree of maps only to be dropped. Lists have no room for more.
///
/// # Errors
///
/// What is kept is not of its type.
pub fn without_managers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let kept = Option::<Kept>::deserialize(deserializer)?.unwrap_or_default();
    Ok(ObjectMeta {
        annotations: kept.annotations,
        creation_timestamp: kept.creation_timestamp,
        deletion_grace_period_seconds: kept.deletion_grace_period_seconds,
        deletion_timestamp: kept.deletion_timestamp,
        finalizers: kept.finalizers.map(exact),
        generate_name: kept.generate_name,
        generation: kept.generation,
        labels: kept.labels,
        managed_fields: None,
        name: kept.name,
        namespace: kept.namespace,
        owner_references: kept.owner_references.map(exact),
        resource_version: kept.resource_version,
        self_link: None,
        uid: kept.uid,
    })
}

/// A list without room for more.
pub fn exact<T>(list: Vec<T>) -> Vec<T> {
    list.into_boxed_slice().into_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_but_the_managers_is_kept() {
        let mut whole = json!({
            "annotations": {"a": "1"}, "creationTimestamp": "2026-11-30T05:00:00Z", "deletionGracePeriodSeconds": 30,
            "deletionTimestamp": "2026-11-30T05:01:00Z", "finalizers": ["f"], "generateName": "n-", "generation": 2,
            "labels": {"l": "1"}, "name": "n-1", "namespace": "ns", "resourceVersion": "7", "uid": "u",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "ou"}],
        });
        let expected = whole.clone();
        whole["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:spec": {}}}]);
        let kept = without_managers(whole).unwrap();
        assert_eq!(serde_json::to_value(&kept).unwrap(), expected);
        assert_eq!(without_managers(serde_json::Value::Null).unwrap(), ObjectMeta::default());
    }
}
