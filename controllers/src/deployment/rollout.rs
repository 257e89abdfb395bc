//! How a rollout goes on: which ReplicaSets grow, shrink, appear and disappear.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    progress,
    revision::{self, revision},
    scale,
};
use crate::{
    meta::{controller_of, created, is_deleting, name, scaled, uid, whole_seconds},
    pods::{self, Pod},
};

/// What to do, in this order; then comes the status.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The ReplicaSet of a template that is new.
    pub create: Option<ReplicaSet>,
    pub updates: Vec<Update>,
    /// Names of ReplicaSets beyond the history limit.
    pub delete: Vec<String>,
    /// The revision to note at the Deployment.
    pub revision: Option<String>,
    pub status: DeploymentStatus,
    /// When a deadline has to be looked at.
    pub requeue: Option<Duration>,
}

/// A ReplicaSet to send back.
#[derive(Debug)]
pub(super) struct Update {
    pub set: ReplicaSet,
    /// Its size before, when that changed.
    pub scaled_from: Option<i32>,
}

/// The world of one Deployment: copies that the steps below change.
pub(super) struct World {
    pub deployment: Deployment,
    /// The ReplicaSet of the current template.
    pub new: Option<ReplicaSet>,
    /// All others, oldest first.
    pub old: Vec<ReplicaSet>,
    pub now: Timestamp,
}

/// Number of pods a ReplicaSet is told to have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

/// Number of pods a Deployment is told to have.
pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn strategy(deployment: &Deployment) -> &str {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    strategy(deployment) == "RollingUpdate"
}

/// Pods above and below the wanted number that a rolling update may cause. They are never both
/// zero, or nothing could move.
fn bounds(deployment: &Deployment) -> (i32, i32) {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let wanted = replicas(deployment);
    let surge = rolling.and_then(|rolling| scaled(rolling.max_surge.as_ref()?, wanted, true)).unwrap_or(0);
    let unavailable =
        rolling.and_then(|rolling| scaled(rolling.max_unavailable.as_ref()?, wanted, false)).unwrap_or(0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { bounds(deployment).0 } else { 0 }
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) || wanted == 0 { 0 } else { bounds(deployment).1.min(wanted) }
}

/// Decides the next step of a Deployment.
pub(super) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Plan {
    let mut world = World::new(deployment, sets, now);
    let spec = deployment.spec.as_ref();
    let paused = spec.and_then(|spec| spec.paused).unwrap_or(false);
    let mut plan = Plan::default();
    if is_deleting(&deployment.metadata) {
        plan.status = world.status();
        return world.finish(sets, plan);
    }
    let mut conditions = progress::pause(deployment, paused, &world.time());
    std::mem::swap(&mut world.deployment.status.get_or_insert_default().conditions, &mut conditions);
    world.adopt_revision(&mut plan);
    if paused || world.is_resized() {
        scale::scale(&mut world);
        if paused {
            plan.delete = world.surplus_history();
        }
        plan.status = world.status();
        return world.finish(sets, plan);
    }
    if strategy(deployment) == "Recreate" {
        world.recreate(pods, &mut plan);
    } else {
        world.roll(&mut plan);
    }
    plan.status = world.rollout_status();
    if progress::is_complete(deployment, &plan.status) {
        plan.delete = world.surplus_history();
    }
    plan.requeue = progress::until_deadline(deployment, &plan.status, now);
    world.finish(sets, plan)
}

impl World {
    pub(super) fn new(deployment: &Deployment, sets: &[Arc<ReplicaSet>], now: Timestamp) -> Self {
        let mut old: Vec<ReplicaSet> = sets.iter().map(|set| (**set).clone()).collect();
        sort_by_age(&mut old);
        let new = old.iter().position(|set| revision::same_template(deployment, set));
        let new = new.map(|index| old.remove(index));
        Self { deployment: deployment.clone(), new, old, now }
    }

    pub(super) fn time(&self) -> Time {
        Time(whole_seconds(self.now))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    pub(super) fn total(&self) -> i32 {
        self.all().map(size).sum()
    }

    /// Gives the ReplicaSet of the current template the newest revision and the Deployment's
    /// annotations, and says which revision the Deployment gets.
    fn adopt_revision(&mut self, plan: &mut Plan) {
        let newest = self.old.iter().map(revision).max().unwrap_or_default() + 1;
        let Some(new) = &mut self.new else { return };
        revision::annotate(&self.deployment, new, newest);
        let spec = new.spec.get_or_insert_default();
        spec.min_ready_seconds = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        plan.revision = revision::for_deployment(&self.deployment, new);
        progress::found_new(&mut self.deployment, new, &Time(whole_seconds(self.now)));
    }

    /// Makes the ReplicaSet of a new template.
    fn create_new(&mut self, plan: &mut Plan) {
        if self.new.is_some() {
            return;
        }
        let newest = self.old.iter().map(revision).max().unwrap_or_default() + 1;
        let mut set = revision::new_set(&self.deployment, newest);
        let initial = self.new_size(0);
        set_size(&mut set, initial, &self.deployment);
        plan.revision = revision::for_deployment(&self.deployment, &set);
        let now = self.time();
        progress::created_new(&mut self.deployment, &set, &now);
        plan.create = Some(set.clone());
        self.new = Some(set);
    }

    /// Whether the wanted number changed since the ReplicaSets were told of it.
    fn is_resized(&self) -> bool {
        let wanted = replicas(&self.deployment);
        self.all()
            .filter(|set| size(set) > 0)
            .any(|set| scale::desired(set).is_some_and(|told| told != wanted))
    }

    /// To what a new ReplicaSet of a size may grow.
    fn new_size(&self, current: i32) -> i32 {
        let wanted = replicas(&self.deployment);
        if !is_rolling(&self.deployment) {
            return wanted;
        }
        let limit = wanted + max_surge(&self.deployment);
        let total = self.total();
        if total >= limit { current } else { current + (limit - total).min(wanted - current) }
    }

    /// Grows (or shrinks) the new ReplicaSet; whether it changed.
    fn resize_new(&mut self) -> bool {
        let wanted = replicas(&self.deployment);
        let Some(current) = self.new.as_ref().map(size) else { return false };
        let target = if current > wanted { wanted } else { self.new_size(current) };
        match &mut self.new {
            Some(new) if target != current => {
                set_size(new, target, &self.deployment);
                true
            }
            _ => false,
        }
    }

    fn roll(&mut self, plan: &mut Plan) {
        self.create_new(plan);
        if !self.resize_new() {
            self.shrink_old();
        }
    }

    /// Shrinks old ReplicaSets as far as enough pods stay available: first by pods that are not
    /// available anyway.
    fn shrink_old(&mut self) {
        let wanted = replicas(&self.deployment);
        let min_available = wanted - max_unavailable(&self.deployment);
        let new_unavailable = self.new.as_ref().map_or(0, |new| size(new) - available(new));
        let mut budget = self.total() - min_available - new_unavailable;
        if budget <= 0 || self.old.iter().all(|set| size(set) == 0) {
            return;
        }
        for set in &mut self.old {
            let unhealthy = (size(set) - available(set)).max(0).min(budget);
            if size(set) > 0 && unhealthy > 0 {
                set_size(set, size(set) - unhealthy, &self.deployment);
                budget -= unhealthy;
            }
        }
        let available: i32 = self.all().map(available).sum();
        let mut surplus = available - min_available;
        for set in &mut self.old {
            let step = size(set).min(surplus);
            if step > 0 {
                set_size(set, size(set) - step, &self.deployment);
                surplus -= step;
            }
        }
    }

    fn recreate(&mut self, pods: &[Arc<Pod>], plan: &mut Plan) {
        if self.old.iter().any(|set| size(set) > 0) {
            for set in self.old.iter_mut().filter(|set| size(set) > 0) {
                set_size(set, 0, &self.deployment);
            }
            return;
        }
        let new_uid = self.new.as_ref().map(|new| uid(&new.metadata)).unwrap_or_default();
        let is_old = |pod: &Pod| controller_of(&pod.metadata).is_some_and(|owner| owner.uid != new_uid);
        if pods.iter().any(|pod| is_old(pod) && !pods::is_finished(pod)) {
            return;
        }
        self.create_new(plan);
        self.resize_new();
    }

    /// Names of old, empty ReplicaSets beyond the history limit, lowest revision first.
    fn surplus_history(&self) -> Vec<String> {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return Vec::new() };
        let mut alive: Vec<&ReplicaSet> = self.old.iter().filter(|set| !is_deleting(&set.metadata)).collect();
        alive.sort_by_key(|set| (revision(set), created(&set.metadata)));
        let surplus = alive.len().saturating_sub(limit);
        alive.truncate(surplus);
        let is_settled = |set: &&ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            size(set) == 0 && status.replicas == 0 && set.metadata.generation <= status.observed_generation
        };
        alive.into_iter().filter(is_settled).map(|set| name(&set.metadata).to_string()).collect()
    }

    /// Collects the ReplicaSets that changed.
    fn finish(self, before: &[Arc<ReplicaSet>], mut plan: Plan) -> Plan {
        for set in self.old.into_iter().chain(self.new) {
            let known = before.iter().find(|known| known.metadata.uid == set.metadata.uid);
            if let Some(known) = known
                && **known != set
            {
                let scaled_from = (size(known) != size(&set)).then(|| size(known));
                plan.updates.push(Update { set, scaled_from });
            }
        }
        // What grows comes last: its pods should find room.
        plan.updates.sort_by_key(|update| update.scaled_from.is_some_and(|from| size(&update.set) > from));
        plan
    }
}

/// Sets a ReplicaSet's size and notes for which size of the Deployment that was.
pub(super) fn set_size(set: &mut ReplicaSet, size: i32, deployment: &Deployment) {
    set.spec.get_or_insert_default().replicas = Some(size);
    let wanted = replicas(deployment);
    scale::note(set, wanted, wanted + max_surge(deployment));
}

pub(super) fn sort_by_age(sets: &mut [ReplicaSet]) {
    sets.sort_by(|a, b| {
        created(&a.metadata).cmp(&created(&b.metadata)).then_with(|| name(&a.metadata).cmp(name(&b.metadata)))
    });
}

#[cfg(test)]
mod tests;
