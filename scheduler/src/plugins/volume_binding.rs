//! Claims and their volumes: bound ones can be reached from some nodes only, others are bound or provisioned where
//! their first consumer runs.
//!
//! Source: documentation page "Storage Classes", volume binding mode.
use super::node_affinity::selector_matches;
use crate::devices::Allocation;
use crate::devices::extended::Special;
use crate::node::{NodeInfo, NodeView};
use crate::plugin::{Event, Filter, Prepared, Reason, Refusal};
use crate::pod::PodView;
use crate::storage::{Claim, NO_PROVISIONER, Storage, Volume};
use crate::world::World;
use knarr_component::store::Key;
use std::collections::HashSet;
use std::sync::Arc;

/// Bound volumes and claims that wait for their first consumer.
pub struct VolumeBinding;

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const UNREACHABLE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_ROOM: &str = "node(s) did not have enough free storage";
const MISSING: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// What must happen to a pod's claims before it can run on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Volumes that are given to claims.
    pub bind: Vec<(Arc<Claim>, Arc<Volume>)>,
    /// Claims for which volumes are made near the node.
    pub provision: Vec<Arc<Claim>>,
    /// What its claims on devices get.
    pub devices: Vec<Allocation>,
    /// The claim that is made for its extended resources.
    pub special: Option<Special>,
}

impl Plan {
    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty() && self.devices.is_empty()
    }
}

/// A pod's claims: those that are bound, and those that are bound when the pod has a node.
type Claims = (Vec<Arc<Claim>>, Vec<Arc<Claim>>);

fn claims(pod: &PodView, storage: &Storage) -> Result<Claims, Reason> {
    let (mut bound, mut waiting) = (Vec::new(), Vec::new());
    for (name, ephemeral) in &pod.claims {
        let key = Key::new(pod.key.namespace.clone(), name.clone());
        let Some(claim) = storage.claims.get(&key) else {
            return Err(if *ephemeral {
                format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                )
            } else {
                format!("persistentvolumeclaim {name:?} not found")
            }
            .into());
        };
        if claim.lost {
            let volume = &claim.volume;
            return Err(format!(
                "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
            )
            .into());
        }
        if claim.deleting {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted").into());
        }
        if *ephemeral && claim.owner != pod.uid {
            return Err(format!("PVC {key} was not created for pod {} (pod is not owner)", pod.key).into());
        }
        if claim.bound {
            bound.push(Arc::clone(claim));
            continue;
        }
        // A class that is not there does not wait for a node.
        if !claim.volume.is_empty() || !storage.class_of(claim).is_some_and(|class| class.waits) {
            return Err(UNBOUND.into());
        }
        waiting.push(Arc::clone(claim));
    }
    Ok((bound, waiting))
}

/// Whether every bound claim's volume can be reached from the node.
fn reachable(bound: &[Arc<Claim>], storage: &Storage, node: &NodeView) -> Result<(), Reason> {
    for claim in bound {
        let Some(volume) = storage.volume_of(claim) else { return Err(MISSING.into()) };
        if volume.affinity.as_ref().is_some_and(|affinity| !selector_matches(affinity, node)) {
            return Err(UNREACHABLE.into());
        }
    }
    Ok(())
}

/// Finds a volume for each waiting claim, or sees that one can be made near the node.
fn assign(waiting: &[Arc<Claim>], storage: &Storage, node: &NodeView) -> Result<Plan, &'static str> {
    let mut plan = Plan::default();
    let mut taken: HashSet<&str> = HashSet::new();
    for claim in waiting {
        let selected = storage.selected.get(&claim.key).unwrap_or(&claim.selected_node);
        if !selected.is_empty() && *selected != node.name {
            return Err(NO_VOLUME);
        }
        let found = if selected.is_empty() { find(claim, storage, node, &taken) } else { None };
        if let Some(volume) = found {
            taken.insert(&volume.name);
            plan.bind.push((Arc::clone(claim), Arc::clone(volume)));
            continue;
        }
        let class = storage.class_of(claim).ok_or(NO_VOLUME)?;
        let made = !class.provisioner.is_empty() && class.provisioner != NO_PROVISIONER;
        let near = class.topologies.is_empty()
            || class.topologies.iter().any(|term| {
                term.match_label_expressions.iter().flatten().all(|expression| {
                    let found = node.labels.get(&expression.key);
                    found.is_some_and(|found| expression.values.contains(found))
                })
            });
        if !made || !near {
            return Err(NO_VOLUME);
        }
        if !storage.has_room(claim, class, &node.labels) {
            return Err(NO_ROOM);
        }
        plan.provision.push(Arc::clone(claim));
    }
    Ok(plan)
}

/// The smallest volume that fits the claim and can be reached from the node.
fn find<'s>(
    claim: &Claim,
    storage: &'s Storage,
    node: &NodeView,
    taken: &HashSet<&str>,
) -> Option<&'s Arc<Volume>> {
    let fits = |volume: &&Arc<Volume>| {
        let own = match &volume.claim {
            None => true,
            Some((key, uid)) => *key == claim.key && (uid.is_empty() || *uid == claim.uid),
        };
        let assumed = storage.assumed.get(&volume.name);
        own && assumed.is_none_or(|key| *key == claim.key)
            && volume.available
            && !volume.deleting
            && !taken.contains(volume.name.as_str())
            && volume.class == claim.class
            && volume.capacity >= claim.request
            && volume.mode == claim.mode
            && claim.modes.iter().all(|mode| volume.modes.contains(mode))
            && claim.selector.as_ref().is_none_or(|selector| selector.selects(&volume.labels))
            && volume.affinity.as_ref().is_none_or(|affinity| selector_matches(affinity, node))
    };
    let fitting = storage.volumes.values().filter(fits);
    // One that is reserved for the claim goes first.
    fitting.min_by_key(|volume| (volume.claim.is_none(), volume.capacity))
}

/// What must happen to the pod's claims for the node; none when it cannot.
pub fn plan(pod: &PodView, storage: &Storage, node: &NodeView) -> Option<Plan> {
    let (_, waiting) = claims(pod, storage).ok()?;
    assign(&waiting, storage, node).ok()
}

impl Filter for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        if pod.claims.is_empty() {
            return Prepared::Skip;
        }
        let storage = &world.storage;
        let (bound, waiting) = match claims(pod, storage) {
            Ok(claims) => claims,
            Err(reason) => return Prepared::Refuse(reason),
        };
        Prepared::check(move |info: &NodeInfo| {
            let mut reasons: Vec<Reason> = reachable(&bound, storage, &info.node).err().into_iter().collect();
            if let Err(reason) = assign(&waiting, storage, &info.node) {
                reasons.push(reason.into());
            }
            (!reasons.is_empty()).then_some(Refusal { reasons, passing: false, fault: false })
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::Volume]
    }
}

#[cfg(test)]
mod tests;
