//! Resource claims: a pod runs where its devices are, or where free ones can be given to its claims.
use crate::devices::{MAX_HOLDERS, nodes_of};
use crate::node::NodeInfo;
use crate::plugin::{Event, Filter, Prepared, Reason, Refusal};
use crate::plugins::selector_matches;
use crate::pod::PodView;
use crate::views::Named;
use crate::world::World;
use k8s_openapi::api::resource::v1::ResourceClaim;
use knarr_component::store::Key;
use std::sync::Arc;

/// `spec.resourceClaims`.
pub struct DynamicResources;

/// The claims of a pod, or why it cannot be scheduled yet.
pub fn claims_of(pod: &PodView, world: &World) -> Result<Vec<Arc<Named<ResourceClaim>>>, Reason> {
    let mut claims: Vec<Arc<Named<ResourceClaim>>> = Vec::new();
    for (_, name) in &pod.resource_claims {
        let Some(name) = name else {
            return Err(format!("pod {:?}: ResourceClaim not created yet", pod.key.to_string()).into());
        };
        let key = Key::new(pod.key.namespace.clone(), name.clone());
        let Some(claim) = world.devices.claims.get(&key) else {
            return Err(format!("resourceclaim.resource.k8s.io {name:?} not found").into());
        };
        if claim.value.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim {name:?} is being deleted").into());
        }
        let status = claim.value.status.clone().unwrap_or_default();
        let holders = status.reserved_for.unwrap_or_default();
        let held = holders.iter().any(|holder| holder.uid == pod.uid);
        if !held && holders.len() >= MAX_HOLDERS {
            return Err("resourceclaim in use".into());
        }
        if status.allocation.is_none() {
            check_classes(&claim.value, world)?;
            if world.devices.assumed.contains_key(&key) {
                return Err(format!("resource claim {key} is in the process of being allocated").into());
            }
        }
        claims.push(Arc::clone(claim));
    }
    claims.extend(world.devices.made_for(pod).cloned());
    Ok(claims)
}

fn check_classes(claim: &ResourceClaim, world: &World) -> Result<(), Reason> {
    for request in claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten()) {
        let exact = request.exactly.iter().map(|exact| (request.name.clone(), &exact.device_class_name));
        let several = request.first_available.iter().flatten();
        let several = several.map(|sub| (format!("{}/{}", request.name, sub.name), &sub.device_class_name));
        for (name, class) in exact.chain(several) {
            if !world.devices.classes.contains_key(class) {
                return Err(format!("request {name}: device class {class} does not exist").into());
            }
        }
    }
    Ok(())
}

impl Filter for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        if pod.resource_claims.is_empty() && world.devices.served(pod).is_empty() {
            return Prepared::Skip;
        }
        let claims = match claims_of(pod, world) {
            Ok(claims) => claims,
            Err(reason) => return Prepared::Refuse(reason),
        };
        Prepared::check(move |info: &NodeInfo| {
            let special = world.devices.special(pod, info).map(|special| special.claim);
            let claims: Vec<_> = claims.iter().cloned().chain(special).collect();
            let elsewhere = claims.iter().any(|claim| {
                nodes_of(&claim.value).is_some_and(|nodes| !selector_matches(nodes, &info.node))
            });
            if elsewhere {
                return Some(Refusal::lasting("resourceclaim not available on the node"));
            }
            match world.devices.allocate(&claims, &info.node) {
                Ok(Some(_)) => None,
                Ok(None) => Some(Refusal::lasting("cannot allocate all claims")),
                Err(fault) => Some(Refusal::fault(self.name(), &fault)),
            }
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Device, Event::Node]
    }
}
