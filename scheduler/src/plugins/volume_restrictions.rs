//! A claim that one pod only may use is not given to a second one.
//!
//! Source: KEP-2485 (ReadWriteOncePod).
use crate::node::NodeInfo;
use crate::node::NodeView;
use crate::plugin::{Check, Event, Filter, Prepared, Refusal};
use crate::pod::PodView;
use crate::world::World;
use knarr_component::store::Key;
use std::collections::HashSet;

/// The access mode `ReadWriteOncePod`.
pub struct VolumeRestrictions;

const IN_USE: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";

struct Users {
    claims: HashSet<Key>,
    /// Placed pods that use one of the claims.
    count: i64,
}

impl Check for Users {
    fn check(&self, _: &NodeInfo) -> Option<Refusal> {
        (self.count > 0).then(|| Refusal::passing(IN_USE))
    }

    fn count(&mut self, pod: &PodView, _: &NodeView, by: i64) {
        let uses = pod.claims.iter().map(|(name, _)| Key::new(pod.key.namespace.clone(), name.clone()));
        self.count += by * uses.filter(|key| self.claims.contains(key)).count() as i64;
    }
}

impl Filter for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a> {
        let keys = pod.claims.iter().map(|(name, _)| Key::new(pod.key.namespace.clone(), name.clone()));
        let exclusive = |key: &Key| {
            let claim = world.storage.claims.get(key);
            claim.is_some_and(|claim| claim.modes.iter().any(|mode| mode == "ReadWriteOncePod"))
        };
        let claims: HashSet<Key> = keys.filter(exclusive).collect();
        if claims.is_empty() {
            return Prepared::Skip;
        }
        let count = claims.iter().map(|key| world.claim_users(key)).sum();
        Prepared::Check(Box::new(Users { claims, count }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::PodGone, Event::Volume]
    }
}
