//! What the scheduler keeps of objects that only bear on the place of pods.
use crate::selector::Selector;
use crate::world::Budget;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, ReplicationController, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::api::resource::v1beta2::{DeviceTaintRule, DeviceTaintRuleSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_component::store::{Key, Object};
use std::collections::BTreeMap;

/// A value with the identity of the object it was taken from.
#[derive(Clone, Debug, Default)]
pub struct Named<T> {
    /// Namespace and name.
    pub key: Key,
    uid: String,
    resource_version: String,
    /// What is kept.
    pub value: T,
}

impl<T> Named<T> {
    fn new(meta: ObjectMeta, value: T) -> Self {
        Self {
            key: Key::of(&meta),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            value,
        }
    }
}

impl<T: Send + Sync + 'static> Object for Named<T> {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

/// A claim on devices, whole.
pub fn resource_claim(mut object: ResourceClaim) -> Named<ResourceClaim> {
    object.metadata.managed_fields = None;
    Named::new(object.metadata.clone(), object)
}

/// What a driver offers, whole.
pub fn resource_slice(mut object: ResourceSlice) -> Named<ResourceSlice> {
    object.metadata.managed_fields = None;
    Named::new(object.metadata.clone(), object)
}

/// What a rule says of taints.
pub fn device_taint_rule(object: DeviceTaintRule) -> Named<DeviceTaintRuleSpec> {
    Named::new(object.metadata, object.spec)
}

/// A class of devices, whole.
pub fn device_class(mut object: DeviceClass) -> Named<DeviceClass> {
    object.metadata.managed_fields = None;
    Named::new(object.metadata.clone(), object)
}

/// Labels of a namespace.
pub fn namespace(object: Namespace) -> Named<BTreeMap<String, String>> {
    let labels = object.metadata.labels.clone().unwrap_or_default();
    Named::new(object.metadata, labels)
}

/// A disruption budget.
pub fn budget(object: PodDisruptionBudget) -> Named<Budget> {
    let status = object.status.unwrap_or_default();
    let budget = Budget {
        selector: Selector::new(object.spec.and_then(|spec| spec.selector).as_ref()),
        allowed: i64::from(status.disruptions_allowed.unwrap_or_default()),
        disrupted: status.disrupted_pods.unwrap_or_default().into_keys().collect(),
    };
    Named::new(object.metadata, budget)
}

/// What a Service selects; one without a selector selects nothing.
pub fn service(object: Service) -> Named<Selector> {
    let labels = object.spec.and_then(|spec| spec.selector).filter(|labels| !labels.is_empty());
    let selector = labels.map_or_else(|| Selector::new(None), |labels| Selector::of_labels(&labels));
    Named::new(object.metadata, selector)
}

/// What a ReplicationController selects.
pub fn replication_controller(object: ReplicationController) -> Named<Selector> {
    let labels = object.spec.and_then(|spec| spec.selector).unwrap_or_default();
    Named::new(object.metadata, Selector::of_labels(&labels))
}

/// What a ReplicaSet selects.
pub fn replica_set(object: ReplicaSet) -> Named<Selector> {
    let selector = object.spec.map(|spec| spec.selector);
    Named::new(object.metadata, Selector::new(selector.as_ref()))
}

/// What a StatefulSet selects.
pub fn stateful_set(object: StatefulSet) -> Named<Selector> {
    let selector = object.spec.map(|spec| spec.selector);
    Named::new(object.metadata, Selector::new(selector.as_ref()))
}
