//! Changes of the wanted number: all ReplicaSets of an unfinished rollout share in proportion.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::rollout::{World, is_rolling, max_surge, replicas, set_size, size};
use crate::meta::{annotation, created};

/// Annotation with the wanted number that a ReplicaSet was last sized for.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation with the most pods that were allowed then.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    annotation(&set.metadata, DESIRED)?.parse().ok()
}

pub(super) fn note(set: &mut ReplicaSet, desired: i32, max: i32) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED.to_string(), desired.to_string());
    annotations.insert(MAX.to_string(), max.to_string());
}

/// Sizes the ReplicaSets for the wanted number, without going on with a rollout.
pub(super) fn scale(world: &mut World) {
    let wanted = replicas(&world.deployment);
    let deployment = world.deployment.clone();
    if let Some(only) = only_active_or_latest(world) {
        if size(only) != wanted {
            set_size(only, wanted, &deployment);
        }
        return;
    }
    if is_saturated(world, wanted) {
        for old in world.old.iter_mut().filter(|old| size(old) > 0) {
            set_size(old, 0, &deployment);
        }
        return;
    }
    if is_rolling(&deployment) {
        proportionally(world, &deployment);
    }
}

/// The one ReplicaSet with pods, or the newest when none has any; `None` when several have.
fn only_active_or_latest(world: &mut World) -> Option<&mut ReplicaSet> {
    let active = world.all().filter(|set| size(set) > 0).count();
    match active {
        0 => world.new.as_mut().or(world.old.last_mut()),
        1 => world.old.iter_mut().chain(&mut world.new).find(|set| size(set) > 0),
        _ => None,
    }
}

/// Whether the new ReplicaSet is as large as wanted and all its pods are available.
fn is_saturated(world: &World, wanted: i32) -> bool {
    world.new.as_ref().is_some_and(|new| {
        size(new) == wanted && desired(new) == Some(wanted) && super::rollout::available(new) == wanted
    })
}

fn proportionally(world: &mut World, deployment: &Deployment) {
    let wanted = replicas(deployment);
    let allowed = if wanted > 0 { wanted + max_surge(deployment) } else { 0 };
    let to_add = allowed - world.total();
    let mut sets: Vec<&mut ReplicaSet> =
        world.old.iter_mut().chain(&mut world.new).filter(|set| size(set) > 0).collect();
    // Larger ones first; among equals, newer ones grow and older ones shrink first.
    if to_add > 0 {
        sets.sort_by_key(|set| (Reverse(size(set)), Reverse(created(&set.metadata))));
    } else {
        sets.sort_by_key(|set| (Reverse(size(set)), created(&set.metadata)));
    }
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(sets.len());
    for set in &sets {
        let share = proportion(set, deployment, to_add, added);
        added += share;
        sizes.push(size(set) + share);
    }
    // What rounding left over goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (set, target) in sets.into_iter().zip(sizes) {
        set_size(set, target, deployment);
    }
}

/// The part of `to_add` that a ReplicaSet takes when others have taken `added`.
fn proportion(set: &ReplicaSet, deployment: &Deployment, to_add: i32, added: i32) -> i32 {
    let left = to_add - added;
    if left == 0 {
        return 0;
    }
    let share = fraction(set, deployment);
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

fn fraction(set: &ReplicaSet, deployment: &Deployment) -> i32 {
    let wanted = replicas(deployment);
    if wanted == 0 {
        return -size(set);
    }
    let noted: i32 = annotation(&set.metadata, MAX).and_then(|max| max.parse().ok()).unwrap_or_default();
    let before = match noted {
        0 => deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or_default(),
        noted => noted,
    };
    if before == 0 {
        return 0;
    }
    let max = wanted + max_surge(deployment);
    let share = (f64::from(size(set)) * f64::from(max) / f64::from(before)).round();
    share as i32 - size(set)
}
