//! Preemption: which pods must leave which node so that a pod of higher priority fits (`DefaultPreemption`).
//!
//! Victims have a lower priority; as many of them as possible are spared, first those whose disruption budget would
//! be violated. Among nodes the one is chosen where the least is lost.
//!
//! Source: documentation page "Pod Priority and Preemption".
use crate::algorithm::{Algorithm, Checks, Claims, Unschedulable};
use crate::node::NodeInfo;
use crate::plugin::Refusal;
use crate::pod::PodView;
use crate::world::{Budget, World};
use knarr_component::store::Key;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// How many nodes are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// At least that share of the nodes, in percent.
    pub min_percentage: usize,
    /// At least that many nodes.
    pub min_absolute: usize,
}

impl Default for Preemption {
    fn default() -> Self {
        Self { min_percentage: 10, min_absolute: 100 }
    }
}

/// The room that is to be made.
#[derive(Clone, Debug, Default)]
pub struct Eviction {
    /// The node.
    pub node: String,
    /// Pods that must leave it, the most important ones first.
    pub victims: Vec<Arc<PodView>>,
    /// Victims whose disruption budget is violated.
    pub violations: usize,
}

/// Why no room is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// As the original words it; empty when the profile makes no room at all.
    pub message: String,
    /// Room that was promised to the pod before is still its own.
    pub keeps_promise: bool,
}

impl NoRoom {
    fn not_eligible(message: &str) -> Self {
        Self { message: message.to_owned(), keeps_promise: true }
    }
}

impl Algorithm {
    /// Finds room for a pod that no node can run as it is.
    ///
    /// # Errors
    /// Why there is none, as the original words it.
    pub fn preempt(&self, pod: &PodView, world: &World, failure: &Unschedulable) -> Result<Eviction, NoRoom> {
        self.evictions(pod, world, failure).and_then(smallest)
    }

    /// The ways to make room for such a pod, one a node.
    ///
    /// # Errors
    /// Why there is none.
    pub fn evictions(
        &self,
        pod: &PodView,
        world: &World,
        failure: &Unschedulable,
    ) -> Result<Vec<Eviction>, NoRoom> {
        let asked = failure.nodes > 0 && failure.claims != Claims::Unseen;
        let Some(settings) = self.profile().preemption.filter(|_| asked) else {
            return Err(NoRoom::not_eligible(""));
        };
        eligible(pod, world, failure)?;
        let unhelpful = |failed: Unschedulable| NoRoom { message: failed.message(), keeps_promise: false };
        let total = world.nodes().len();
        let mut failed = Unschedulable { nodes: total, ..Unschedulable::default() };
        let hopeless = Refusal::lasting("Preemption is not helpful for scheduling");
        failed.refused(hopeless, total - failure.passing.len());
        failed.reasons.retain(|_, nodes| *nodes > 0);
        let mut checks = match Checks::prepare(&self.profile().filters, pod, world) {
            Ok(checks) if !failure.passing.is_empty() => checks,
            _ => return Err(unhelpful(failed)),
        };
        let wanted = (total * settings.min_percentage / 100).max(settings.min_absolute).min(total);
        let mut found: Vec<Eviction> = Vec::new();
        for info in failure.passing.iter().filter_map(|name| world.nodes().get(name)) {
            match victims(&mut checks, pod, world, info) {
                Ok(eviction) => found.push(eviction),
                Err(refusal) => failed.refused(refusal, 1),
            }
            if found.len() >= wanted && found.iter().any(|eviction| eviction.violations == 0) {
                break;
            }
        }
        if found.is_empty() { Err(unhelpful(failed)) } else { Ok(found) }
    }
}

/// The way by which the least is lost: the first of equals, so that the order of nodes decides.
///
/// # Errors
/// There is none; an extender has refused them all.
pub fn smallest(found: Vec<Eviction>) -> Result<Eviction, NoRoom> {
    let none = || NoRoom { message: "no candidate node for preemption".to_owned(), keeps_promise: false };
    found.into_iter().min_by_key(Eviction::loss).ok_or_else(none)
}

/// Whether the pod may make others leave at all.
fn eligible(pod: &PodView, world: &World, failure: &Unschedulable) -> Result<(), NoRoom> {
    if pod.never_preempts {
        return Err(NoRoom::not_eligible("not eligible due to preemptionPolicy=Never."));
    }
    let Some(node) = world.nominated.node_of(&pod.key) else { return Ok(()) };
    // A node that became impossible will not become possible by waiting.
    let waits = failure.passing.iter().any(|name| name == node);
    let leaving = |other: &Arc<PodView>| {
        other.priority < pod.priority && other.deleting && other.preempted
            || world.nominated.waits_for(&pod.key, other)
    };
    let leaves = world.nodes().get(node).is_some_and(|info| info.pods.values().any(leaving));
    if waits && leaves {
        return Err(NoRoom::not_eligible("not eligible due to a terminating pod on the nominated node."));
    }
    Ok(())
}

/// The pods that must leave a node for the pod to fit.
fn victims(
    checks: &mut Checks<'_>,
    pod: &PodView,
    world: &World,
    info: &NodeInfo,
) -> Result<Eviction, Refusal> {
    let mut lower: Vec<Arc<PodView>> =
        info.pods.values().filter(|other| other.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Refusal::lasting("No preemption victims found for incoming pod"));
    }
    let mut supposed = info.clone();
    for other in &lower {
        checks.remove(other, &mut supposed);
    }
    let refused = checks.refusal_with_nominated(pod, world, &supposed);
    if let Some((refusal, _)) = refused {
        lower.iter().for_each(|other| checks.add(other, &mut supposed));
        return Err(refusal);
    }
    lower.sort_by_key(importance);
    let (violating, harmless) = by_budget(&lower, &world.budgets);
    let mut victims = Vec::new();
    let mut spare = |other: &Arc<PodView>| {
        checks.add(other, &mut supposed);
        let fits = checks.refusal_with_nominated(pod, world, &supposed).is_none();
        if !fits {
            checks.remove(other, &mut supposed);
            victims.push(Arc::clone(other));
        }
        fits
    };
    let violations = violating.iter().filter(|other| !spare(other)).count();
    harmless.iter().for_each(|other| {
        spare(other);
    });
    // The next node's turn begins with the world as it is.
    victims.iter().for_each(|other| checks.add(other, &mut supposed));
    victims.sort_by_key(importance);
    Ok(Eviction { node: info.node.name.clone(), victims, violations })
}

/// Sorts the most important pods first: by priority, then by how long they have run.
fn importance(pod: &Arc<PodView>) -> (Reverse<i32>, bool, Option<jiff::Timestamp>, Key) {
    (Reverse(pod.priority), pod.started.is_none(), pod.started, pod.key.clone())
}

type Pods = Vec<Arc<PodView>>;

/// Pods whose leaving violates a disruption budget, given that those before them leave too, and the others.
fn by_budget(pods: &[Arc<PodView>], budgets: &HashMap<Key, Budget>) -> (Pods, Pods) {
    let mut allowed: HashMap<&Key, i64> = budgets.iter().map(|(key, budget)| (key, budget.allowed)).collect();
    pods.iter().cloned().partition(|pod| {
        let mut violates = false;
        for (key, budget) in budgets.iter().filter(|(key, _)| key.namespace == pod.key.namespace) {
            let concerned = !pod.labels.is_empty()
                && !budget.selector.is_empty()
                && budget.selector.selects(&pod.labels)
                && !budget.disrupted.contains(&pod.key.name);
            if let Some(left) = allowed.get_mut(key).filter(|_| concerned) {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    })
}

impl Eviction {
    /// What is lost, in the order in which nodes are compared; smaller is better.
    fn loss(&self) -> (usize, i32, i64, usize, Reverse<Option<jiff::Timestamp>>) {
        let highest = self.victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
        // Counted from the lowest possible priority, so that fewer victims are less even with negative ones.
        let sum = self.victims.iter().map(|pod| i64::from(pod.priority) - i64::from(i32::MIN)).sum();
        let oldest = self.victims.iter().filter(|pod| pod.priority == highest);
        let oldest = oldest.map(|pod| pod.started.unwrap_or(jiff::Timestamp::MAX)).min();
        (self.violations, highest, sum, self.victims.len(), Reverse(oldest))
    }
}

#[cfg(test)]
mod tests;
