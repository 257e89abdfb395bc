//! Extended resources that classes of devices stand for: a pod that asks for some gets a claim on devices for those that its
//! node does not have by itself.
//!
//! Source: KEP-5004, "DRA: Handle extended resource requests via DRA Driver".
use super::Devices;
use crate::node::NodeInfo;
use crate::pod::{Extended, PodView};
use crate::views::{self, Named};
use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What stands before a class's name in the resource that every class is.
const BY_CLASS: &str = "deviceclass.resource.kubernetes.io/";
/// Tells such claims from others.
const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";

/// A claim that is made for a pod once it has a node.
#[derive(Clone, Debug)]
pub struct Special {
    /// The claim. Its name is one that no object can have.
    pub claim: Arc<Named<ResourceClaim>>,
    /// Which request of it is for which container, as the pod's status tells it.
    pub mappings: Value,
}

impl PartialEq for Special {
    fn eq(&self, other: &Self) -> bool {
        self.claim.key == other.claim.key && self.mappings == other.mappings
    }
}

impl Devices {
    /// The class that serves an extended resource: of several that name it the youngest, then the first by name.
    pub fn class_of(&self, resource: &str) -> Option<&str> {
        if let Some((name, _)) =
            resource.strip_prefix(BY_CLASS).and_then(|name| self.classes.get_key_value(name))
        {
            return Some(name);
        }
        let names_it = self
            .classes
            .iter()
            .filter(|(_, class)| class.value.spec.extended_resource_name.as_deref() == Some(resource));
        let age = |class: &Named<_>| class_time(class);
        let first = names_it.min_by_key(|(name, class)| (std::cmp::Reverse(age(class)), (*name).clone()));
        first.map(|(name, _)| name.as_str())
    }

    /// The resources of a pod that classes serve.
    pub fn served<'a>(&self, pod: &'a PodView) -> BTreeSet<&'a str> {
        if pod.extended.is_empty() || !knarr_api::gates::enabled("DRAExtendedResource") {
            return BTreeSet::new();
        }
        let names = pod.extended.iter().map(|wanted| wanted.resource.as_str());
        names.filter(|name| self.class_of(name).is_some()).collect()
    }

    /// The claim that was made for a pod's resources, if it is still there.
    pub fn made_for(&self, pod: &PodView) -> Option<&Arc<Named<ResourceClaim>>> {
        let key = pod.key.clone();
        let name = pod.extended_claim.clone()?;
        self.claims.get(&knarr_component::store::Key::new(key.namespace, name))
    }

    /// The claim that a pod needs on a node; none where the node has its resources, or it has its claim.
    pub fn special(&self, pod: &PodView, info: &NodeInfo) -> Option<Special> {
        let served = self.served(pod);
        let lacks = |wanted: &&Extended| {
            served.contains(wanted.resource.as_str()) && info.node.allocatable.amount(&wanted.resource) == 0
        };
        let wanted: Vec<&Extended> = pod.extended.iter().filter(lacks).collect();
        if wanted.is_empty() || self.made_for(pod).is_some() {
            return None;
        }
        let requests: Vec<Value> = wanted
            .iter()
            .map(|wanted| {
                let class = self.class_of(&wanted.resource);
                json!({"name": wanted.request, "exactly": {
                    "deviceClassName": class, "allocationMode": "ExactCount", "count": wanted.amount,
                }})
            })
            .collect();
        let mapping = |wanted: &&Extended| json!({"containerName": wanted.container, "resourceName": wanted.resource, "requestName": wanted.request});
        let owner = json!({
            "apiVersion": "v1", "kind": "Pod", "name": pod.key.name, "uid": pod.uid, "controller": true,
            "blockOwnerDeletion": true,
        });
        let claim = json!({
            "metadata": {
                "name": format!("{}/extended-resources", pod.key.name), "namespace": pod.key.namespace,
                "generateName": format!("{}-extended-resources-", pod.key.name),
                "annotations": {ANNOTATION: "true"}, "ownerReferences": [owner],
            },
            "spec": {"devices": {"requests": requests}},
        });
        // What was just made is of its form.
        let claim = serde_json::from_value(claim).ok()?;
        let mappings = wanted.iter().map(mapping).collect();
        Some(Special { claim: Arc::new(views::resource_claim(claim)), mappings })
    }
}

fn class_time(class: &Named<k8s_openapi::api::resource::v1::DeviceClass>) -> Option<jiff::Timestamp> {
    class.value.metadata.creation_timestamp.as_ref().map(|time| time.0)
}
