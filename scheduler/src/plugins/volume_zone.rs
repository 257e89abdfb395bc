//! Volumes that name their zone by labels are used in that zone only.
use crate::node::NodeInfo;
use crate::plugin::{Event, Filter, Prepared, Refusal};
use crate::pod::PodView;
use crate::world::World;
use knarr_component::store::Key;

/// Zone labels of bound volumes.
pub struct VolumeZone;

/// Labels of volumes, each with the newer name that nodes may have in its place.
const LABELS: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

impl Filter for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        let storage = &world.storage;
        let keys = pod.claims.iter().map(|(name, _)| Key::new(pod.key.namespace.clone(), name.clone()));
        let volumes = keys.filter_map(|key| storage.volume_of(storage.claims.get(&key)?));
        let wanted: Vec<_> = volumes
            .flat_map(|volume| {
                LABELS.iter().filter_map(|(label, newer)| {
                    let values = volume.labels.get(*label)?;
                    // A volume of several zones joins their names.
                    Some((*label, *newer, values.split("__").collect::<Vec<_>>()))
                })
            })
            .collect();
        if wanted.is_empty() {
            return Prepared::Skip;
        }
        Prepared::check(move |info: &NodeInfo| {
            let labels = &info.node.labels;
            // Nodes that say nothing of zones may be anywhere.
            if !LABELS.iter().any(|(label, _)| labels.contains_key(*label)) {
                return None;
            }
            let fits = wanted.iter().all(|(label, newer, values)| {
                let found = labels.get(*label).or_else(|| labels.get(*newer));
                found.is_some_and(|found| values.contains(&found.as_str()))
            });
            (!fits).then(|| Refusal::lasting("node(s) had no available volume zone"))
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::Volume]
    }
}
