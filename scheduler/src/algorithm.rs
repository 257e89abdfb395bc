//! Chooses a node for a pod: pure decision code over the world as it is known.
use crate::metrics::Took;
use crate::node::NodeInfo;
use crate::plugin::{Check, Event, Filter, Prepared, Reason, Refusal};
use crate::pod::PodView;
use crate::profile::Profile;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// With fewer nodes than this, all are looked at.
const MIN_FEASIBLE: usize = 100;
/// The share of nodes that is looked at in the largest clusters, in percent.
const MIN_PERCENT: usize = 5;

/// One attempt in so many has its plugins timed alone.
const SAMPLE: u64 = 10;
/// So many nodes of such an attempt.
const SAMPLED_NODES: usize = 10;

/// Why no node can run a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// All nodes there are.
    pub nodes: usize,
    /// The reason why no node at all can run the pod, when that is known without looking at nodes.
    pub whole: Option<Reason>,
    /// How many nodes gave each reason.
    pub reasons: BTreeMap<String, usize>,
    /// Nodes that could run the pod if other pods left them.
    pub passing: Vec<String>,
    /// What may change that.
    pub events: Vec<Event>,
    /// What came of preemption, when it made no room.
    pub preemption: Option<String>,
    /// What the plugin of resource claims says when it is asked, before preemption, whether claims can be given back.
    pub claims: Claims,
    /// Why the attempt cannot go on, where a plugin failed rather than refused.
    pub fault: Option<String>,
}

/// What the plugin of resource claims says once no node was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claims {
    /// Nothing: the profile has not got it.
    #[default]
    NotAsked,
    /// There is nothing to give back.
    Nothing,
    /// Another plugin refused the pod before it had seen it. That is a failure of its own, which ends the attempt before
    /// preemption is asked.
    Unseen,
}

impl Unschedulable {
    /// Why no node was found, before anything was done about it.
    pub fn refusal(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut message = format!("0/{} nodes are available:", self.nodes);
        let mut parts: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        match &self.whole {
            Some(whole) => message.push_str(&format!(" {whole}.")),
            None if parts.is_empty() => {}
            None => message.push_str(&format!(" {}.", parts.join(", "))),
        }
        message
    }

    /// The message of the `PodScheduled` condition, as the original words it.
    pub fn message(&self) -> String {
        let mut message = self.refusal();
        if self.nodes == 0 {
            return message;
        }
        let claims = match self.claims {
            Claims::NotAsked => None,
            Claims::Nothing => Some("no new claims to deallocate".to_owned()),
            Claims::Unseen => Some("not found".to_owned()),
        };
        let preemption = self.preemption.as_ref().map(|text| format!("preemption: {text}"));
        let asked: Vec<String> = claims.into_iter().chain(preemption).collect();
        if !asked.is_empty() {
            message.push_str(&format!(" {}", asked.join(", ")));
        }
        message
    }

    /// Counts the refusal of `nodes` nodes.
    pub(crate) fn refused(&mut self, refusal: Refusal, nodes: usize) {
        for reason in refusal.reasons {
            match self.reasons.get_mut(reason.as_ref()) {
                Some(count) => *count += nodes,
                None => drop(self.reasons.insert(reason.into_owned(), nodes)),
            }
        }
    }

    fn may_change_by(&mut self, events: &[Event]) {
        for event in events {
            if !self.events.contains(event) {
                self.events.push(*event);
            }
        }
    }
}

/// The checks of all filters for one pod.
pub(crate) struct Checks<'a> {
    checks: Vec<(&'a dyn Filter, Box<dyn Check + 'a>)>,
    /// The only nodes that can be meant, and the plugins that say so.
    only: Option<(BTreeSet<String>, BTreeSet<&'static str>)>,
}

impl<'a> Checks<'a> {
    /// Asks all filters; the first that refuses the pod altogether is returned with its reason.
    pub(crate) fn prepare(
        filters: &'a [Box<dyn Filter>],
        pod: &'a PodView,
        world: &'a World,
    ) -> Result<Self, (&'a dyn Filter, Reason)> {
        Self::prepare_timed(filters, pod, world, None)
    }

    /// As [`Self::prepare`], and tells how long each of them took.
    fn prepare_timed(
        filters: &'a [Box<dyn Filter>],
        pod: &'a PodView,
        world: &'a World,
        mut took: Option<&mut Vec<Took>>,
    ) -> Result<Self, (&'a dyn Filter, Reason)> {
        let mut all = Self { checks: Vec::new(), only: None };
        for filter in filters {
            let filter = filter.as_ref();
            let started = took.is_some().then(Instant::now);
            let prepared = filter.prepare(pod, world);
            if let (Some(took), Some(started)) = (took.as_mut(), started) {
                let (plugin, status) = (Some(filter.name()), prepared.status());
                took.push(Took { point: "PreFilter", plugin, status, time: started.elapsed() });
            }
            match prepared {
                Prepared::Skip => {}
                Prepared::Refuse(reason) => return Err((filter, reason)),
                Prepared::Check(check) => all.checks.push((filter, check)),
                Prepared::Only(names, check) => {
                    all.checks.push((filter, check));
                    all.only = Some(match all.only {
                        None => (names, BTreeSet::from([filter.name()])),
                        Some((others, mut by)) => {
                            by.insert(filter.name());
                            (others.intersection(&names).cloned().collect(), by)
                        }
                    });
                }
            }
        }
        Ok(all)
    }

    /// How long the filters take for a node, up to the first that refuses it.
    fn time(&self, info: &NodeInfo, took: &mut Vec<Took>) {
        for (filter, check) in &self.checks {
            let started = Instant::now();
            let refusal = check.check(info);
            let status = match &refusal {
                None => "Success",
                Some(refusal) if refusal.passing => "Unschedulable",
                Some(_) => "UnschedulableAndUnresolvable",
            };
            took.push(Took { point: "Filter", plugin: Some(filter.name()), status, time: started.elapsed() });
            if refusal.is_some() {
                return;
            }
        }
    }

    /// The refusal of the first filter that has one, and the events that may change it.
    pub(crate) fn refusal(&self, info: &NodeInfo) -> Option<(Refusal, &'static [Event])> {
        self.checks.iter().find_map(|(filter, check)| Some((check.check(info)?, filter.events())))
    }

    /// As [`Self::refusal`], also with the pods of at least the pod's priority on the node that were promised room
    /// there: the pod must fit with and without them, since it may depend on them (affinity) or they may never come.
    pub(crate) fn refusal_with_nominated(
        &mut self,
        pod: &PodView,
        world: &World,
        info: &NodeInfo,
    ) -> Option<(Refusal, &'static [Event])> {
        if world.nominated.is_empty() {
            return self.refusal(info);
        }
        let promised = world.nominated.on(&info.node.name);
        let promised: Vec<_> = promised
            .filter(|other| {
                other.priority >= pod.priority && other.key != pod.key && !info.pods.contains_key(&other.key)
            })
            .collect();
        if !promised.is_empty() {
            let mut crowded = info.clone();
            for other in &promised {
                self.add(other, &mut crowded);
            }
            let refusal = self.refusal(&crowded);
            for other in &promised {
                self.remove(other, &mut crowded);
            }
            if refusal.is_some() {
                return refusal;
            }
        }
        self.refusal(info)
    }

    /// Supposes that the pod is on the node.
    pub(crate) fn add(&mut self, pod: &Arc<PodView>, info: &mut NodeInfo) {
        info.add(pod);
        self.checks.iter_mut().for_each(|(_, check)| check.count(pod, &info.node, 1));
    }

    /// Supposes that the pod is not on the node.
    pub(crate) fn remove(&mut self, pod: &PodView, info: &mut NodeInfo) {
        info.remove(pod);
        self.checks.iter_mut().for_each(|(_, check)| check.count(pod, &info.node, -1));
    }
}

/// A node that can run the pod, and how well.
pub type Candidate = (String, i64);

/// A profile's decisions, and where the search went on last time.
pub struct Algorithm {
    profile: Profile,
    next_start: usize,
    attempts: u64,
    /// How long the parts of the last attempt took.
    took: Vec<Took>,
}

impl Algorithm {
    /// The decisions of a profile.
    pub fn new(profile: Profile) -> Self {
        Self { profile, next_start: 0, attempts: 0, took: Vec::new() }
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// How long the parts of the last attempt took; asked for once.
    pub fn took(&mut self) -> Vec<Took> {
        std::mem::take(&mut self.took)
    }

    /// The best node for the pod.
    ///
    /// # Errors
    /// Why there is none.
    pub fn schedule(&mut self, pod: &PodView, world: &mut World) -> Result<String, Box<Unschedulable>> {
        let (feasible, scores) = self.rated(pod, world)?;
        let best = scores.iter().copied().max().unwrap_or_default();
        // The first of equals, since the ring's turning start spreads ties over the nodes.
        let chosen = feasible.iter().zip(&scores).find(|(_, score)| **score == best);
        Ok(chosen.map(|(info, _)| info.node.name.clone()).unwrap_or_default())
    }

    /// Nodes that can run the pod, with their scores.
    ///
    /// # Errors
    /// Why there is none.
    pub fn candidates(
        &mut self,
        pod: &PodView,
        world: &mut World,
    ) -> Result<Vec<Candidate>, Box<Unschedulable>> {
        let (feasible, scores) = self.rated(pod, world)?;
        Ok(feasible.iter().map(|info| info.node.name.clone()).zip(scores).collect())
    }

    fn rated<'n>(
        &mut self,
        pod: &PodView,
        world: &'n mut World,
    ) -> Result<(Vec<&'n NodeInfo>, Vec<i64>), Box<Unschedulable>> {
        self.profile.ask(pod, world);
        self.attempts += 1;
        self.took.clear();
        let world = &*world;
        let feasible = self.feasible(pod, world)?;
        let started = Instant::now();
        let scores = self.rate(pod, world, &feasible);
        if feasible.len() > 1 {
            self.took.push(point("Score", "Success", started));
        }
        Ok((feasible, scores))
    }

    /// Nodes that can run the pod: enough of them to choose from, starting where the last search ended.
    fn feasible<'n>(
        &mut self,
        pod: &PodView,
        world: &'n World,
    ) -> Result<Vec<&'n NodeInfo>, Box<Unschedulable>> {
        let nodes = world.nodes();
        let claims = self.profile.claims();
        let mut failure = Box::new(Unschedulable { nodes: nodes.len(), claims, ..Unschedulable::default() });
        if nodes.is_empty() {
            failure.events.push(Event::Node);
            return Err(failure);
        }
        let mut took = Vec::new();
        let started = Instant::now();
        let sampled = (self.attempts % SAMPLE == 1).then_some(&mut took);
        let mut checks = match Checks::prepare_timed(&self.profile.filters, pod, world, sampled) {
            Ok(checks) => checks,
            Err((filter, reason)) => {
                if self.profile.is_before_claims(filter.name()) {
                    failure.claims = Claims::Unseen;
                }
                failure.whole = Some(reason);
                failure.may_change_by(filter.events());
                self.took.push(point("PreFilter", "UnschedulableAndUnresolvable", started));
                self.took.extend(took);
                return Err(failure);
            }
        };
        self.took.push(point("PreFilter", "Success", started));
        if !took.is_empty() {
            nodes.values().take(SAMPLED_NODES).for_each(|info| checks.time(info, &mut took));
            self.took.extend(took);
        }
        let started = Instant::now();
        let found = search(&self.profile, &mut self.next_start, pod, world, &mut checks, failure);
        drop(checks);
        self.took.push(point("Filter", "Success", started));
        found
    }

    /// The sum of all plugins' scores for each of the nodes.
    fn rate(&self, pod: &PodView, world: &World, feasible: &[&NodeInfo]) -> Vec<i64> {
        let mut totals = vec![0; feasible.len()];
        if feasible.len() > 1 {
            for (plugin, weight) in &self.profile.scores {
                let Some(rating) = plugin.prepare(pod, world, feasible) else { continue };
                let mut scores: Vec<i64> = feasible.iter().map(|info| (rating.score)(info)).collect();
                rating.normalize.apply(&mut scores);
                for (total, score) in totals.iter_mut().zip(&scores) {
                    *total += score * weight;
                }
            }
        }
        totals
    }
}

/// How long a whole extension point took.
fn point(point: &'static str, status: &'static str, since: Instant) -> Took {
    Took { point, plugin: None, status, time: since.elapsed() }
}

/// Nodes that the checks let through, enough of them, from `next_start` on; `failure` becomes why there is none.
fn search<'n>(
    profile: &Profile,
    next_start: &mut usize,
    pod: &PodView,
    world: &'n World,
    checks: &mut Checks<'_>,
    mut failure: Box<Unschedulable>,
) -> Result<Vec<&'n NodeInfo>, Box<Unschedulable>> {
    let nodes = world.nodes();
    // Room that was made for the pod is looked at first.
    let promised = world.nominated.node_of(&pod.key).and_then(|node| nodes.get(node));
    if let Some(info) = promised
        && checks.refusal_with_nominated(pod, world, info).is_none()
    {
        return Ok(vec![info]);
    }
    let only = checks.only.take();
    let named: Option<Vec<&NodeInfo>> =
        only.as_ref().map(|(names, _)| names.iter().filter_map(|name| nodes.get(name)).collect());
    let start = *next_start % nodes.len();
    let ring: Box<dyn Iterator<Item = &NodeInfo>> = match named {
        Some(named) => Box::new(named.into_iter()),
        None => Box::new(nodes.values().skip(start).chain(nodes.values().take(start))),
    };
    let wanted = enough(nodes.len(), profile.percentage);
    let (mut feasible, mut looked_at) = (Vec::new(), 0);
    for info in ring {
        looked_at += 1;
        let Some((refusal, events)) = checks.refusal_with_nominated(pod, world, info) else {
            feasible.push(info);
            if feasible.len() >= wanted {
                break;
            }
            continue;
        };
        if refusal.fault {
            failure.fault = refusal.reasons.into_iter().next().map(Reason::into_owned);
            return Err(failure);
        }
        if refusal.passing {
            failure.passing.push(info.node.name.clone());
        }
        failure.refused(refusal, 1);
        failure.may_change_by(events);
    }
    if let Some((_, plugins)) = only {
        let others = nodes.len() - looked_at;
        let plugins = plugins.into_iter().collect::<Vec<_>>().join(" ");
        if others > 0 && feasible.is_empty() {
            failure
                .refused(Refusal::lasting(format!("node(s) didn't satisfy plugin(s) [{plugins}]")), others);
            failure.may_change_by(&[Event::Node]);
        }
    } else {
        *next_start = start + looked_at;
    }
    if feasible.is_empty() { Err(failure) } else { Ok(feasible) }
}

/// The node with the best score; the first of equals, since the ring's turning start spreads ties over the nodes.
pub fn best(candidates: Vec<Candidate>) -> String {
    let best = candidates.iter().map(|(_, score)| *score).max().unwrap_or_default();
    let chosen = candidates.into_iter().find(|(_, score)| *score == best);
    chosen.map(|(name, _)| name).unwrap_or_default()
}

/// How many feasible nodes are enough to choose from, as the original counts; `percentage` 0 lets the number of nodes
/// decide.
fn enough(nodes: usize, percentage: usize) -> usize {
    if nodes <= MIN_FEASIBLE {
        return nodes.max(1);
    }
    let adaptive = || 50_usize.saturating_sub(nodes / 125).max(MIN_PERCENT);
    let percent = if percentage == 0 { adaptive() } else { percentage };
    (nodes * percent / 100).max(MIN_FEASIBLE).min(nodes)
}

#[cfg(test)]
mod tests;
