//! A node attaches so many volumes of a CSI driver and no more.
use crate::node::NodeInfo;
use crate::plugin::{Event, Filter, Prepared, Refusal};
use crate::pod::PodView;
use crate::storage::Storage;
use crate::world::World;
use knarr_component::store::Key;
use std::collections::{BTreeMap, BTreeSet};

/// The limits that `CSINode` objects give.
pub struct NodeVolumeLimits;

/// Volumes by driver. A claim without a volume yet counts by its own name, as a volume of its class's provisioner.
type Volumes = BTreeMap<String, BTreeSet<String>>;

fn volumes(pod: &PodView, storage: &Storage, into: &mut Volumes) {
    for (name, _) in &pod.claims {
        let key = Key::new(pod.key.namespace.clone(), name.clone());
        let Some(claim) = storage.claims.get(&key) else { continue };
        let volume = match storage.volume_of(claim) {
            Some(volume) => volume.csi.clone(),
            None => storage.class_of(claim).map(|class| (class.provisioner.clone(), format!("claim {key}"))),
        };
        if let Some((driver, handle)) = volume {
            into.entry(driver).or_default().insert(handle);
        }
    }
}

impl Filter for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        if pod.claims.is_empty() || world.storage.attachable.is_empty() {
            return Prepared::Skip;
        }
        let mut wanted = Volumes::new();
        volumes(pod, &world.storage, &mut wanted);
        if wanted.is_empty() {
            return Prepared::Skip;
        }
        Prepared::check(move |info: &NodeInfo| {
            let limits = &world.storage.attachable.get(&info.node.name)?.limits;
            if !wanted.keys().any(|driver| limits.contains_key(driver)) {
                return None;
            }
            let mut attached = Volumes::new();
            info.pods.values().for_each(|other| volumes(other, &world.storage, &mut attached));
            let exceeds = wanted.iter().any(|(driver, new)| {
                let Some(limit) = limits.get(driver) else { return false };
                let held = attached.get(driver);
                let more =
                    new.iter().filter(|handle| !held.is_some_and(|held| held.contains(*handle))).count();
                more > 0 && (held.map_or(0, BTreeSet::len) + more) as i64 > *limit
            });
            exceeds.then(|| Refusal::passing("node(s) exceed max volume count"))
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::PodGone, Event::Volume]
    }
}
