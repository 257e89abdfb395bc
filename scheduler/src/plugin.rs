//! What a plugin is: a filter says why a node cannot run a pod, a score says how well it would.
use crate::index::Query;
use crate::node::{NodeInfo, NodeView};
use crate::pod::PodView;
use crate::world::World;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Events that may make a pod schedulable that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A node was added, or got labels, taints or resources it had not.
    Node,
    /// A pod left its node or stopped using it.
    PodGone,
    /// A pod was placed on a node.
    PodPlaced,
    /// A claim, volume, storage class or what a node can attach changed.
    Volume,
    /// A resource claim, a class of devices or what drivers offer changed.
    Device,
    /// The labels of a namespace changed.
    Namespace,
}

impl Event {
    /// The original's name of it in metrics; of several that are one here, the commonest.
    pub fn label(self) -> &'static str {
        match self {
            Self::Node => "NodeUpdate",
            Self::PodGone => "AssignedPodDelete",
            Self::PodPlaced => "AssignedPodAdd",
            Self::Volume => "PersistentVolumeClaimUpdate",
            Self::Device => "ResourceClaimUpdate",
            Self::Namespace => "NamespaceUpdate",
        }
    }
}

/// A part of the message that says why a pod has no node, in the original's words: `Insufficient cpu`.
pub type Reason = Cow<'static, str>;

/// Why a node cannot run a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// All reasons, not just the first.
    pub reasons: Vec<Reason>,
    /// Other pods' leaving could change it, so that preemption may help.
    pub passing: bool,
    /// The plugin failed: the attempt ends with this reason, whatever other nodes say.
    pub fault: bool,
}

impl Refusal {
    /// A failure of a plugin, in the original's words.
    pub fn fault(plugin: &str, reason: &str) -> Self {
        let reason = format!("running {plugin:?} filter plugin: {reason}");
        Self { reasons: vec![reason.into()], passing: false, fault: true }
    }

    /// One that ends when other pods leave.
    pub fn passing(reason: impl Into<Reason>) -> Self {
        Self { reasons: vec![reason.into()], passing: true, fault: false }
    }

    /// One that other pods' leaving does not change.
    pub fn lasting(reason: impl Into<Reason>) -> Self {
        Self { reasons: vec![reason.into()], passing: false, fault: false }
    }
}

/// The check of nodes for one pod.
pub trait Check {
    /// Why the node is no place for the pod; none when it is one. Must be cheap.
    fn check(&self, info: &NodeInfo) -> Option<Refusal>;

    /// From now on takes `pod` to be on the node (`by` is 1) or gone from it (-1), beside what the [`NodeInfo`] says.
    /// A change is always taken back by its opposite. Only plugins that look beyond the node itself care.
    fn count(&mut self, _pod: &PodView, _node: &NodeView, _by: i64) {}
}

impl<F: Fn(&NodeInfo) -> Option<Refusal>> Check for F {
    fn check(&self, info: &NodeInfo) -> Option<Refusal> {
        self(info)
    }
}

/// What a filter says once it has seen the pod.
pub enum Prepared<'a> {
    /// Nothing: it admits all nodes.
    Skip,
    /// It must see each node.
    Check(Box<dyn Check + 'a>),
    /// Only these nodes can be meant.
    Only(BTreeSet<String>, Box<dyn Check + 'a>),
    /// No node at all, for this reason; preemption does not help.
    Refuse(Reason),
}

impl<'a> Prepared<'a> {
    /// What it is in metrics.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Skip => "Skip",
            Self::Check(_) | Self::Only(..) => "Success",
            Self::Refuse(_) => "UnschedulableAndUnresolvable",
        }
    }

    /// A check that looks at a node alone.
    pub fn check(check: impl Fn(&NodeInfo) -> Option<Refusal> + 'a) -> Self {
        Self::Check(Box::new(check))
    }
}

/// Decides whether a node can run a pod.
///
/// `prepare` is called once a pod and computes what all nodes share; the returned check is called for each node.
/// Neither may do I/O nor keep state between pods.
pub trait Filter: Send + Sync {
    /// Name of the plugin, the original's.
    fn name(&self) -> &'static str;

    /// Counts it will want from the index, with the topology keys by which. Default: none.
    fn queries(&self, _pod: &PodView, _world: &World) -> Vec<(Query, String)> {
        Vec::new()
    }

    /// The check for one pod.
    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World) -> Prepared<'a>;

    /// What may change the answer.
    fn events(&self) -> &'static [Event];
}

/// Rates nodes for a pod.
pub trait Score: Send + Sync {
    /// Name of the plugin, the original's.
    fn name(&self) -> &'static str;

    /// Counts it will want from the index, with the topology keys by which. Default: none.
    fn queries(&self, _pod: &PodView, _world: &World) -> Vec<(Query, String)> {
        Vec::new()
    }

    /// The rating of one node, larger is better; none when the plugin has nothing to say about the pod. `feasible`
    /// are the nodes that will be rated.
    fn prepare<'a>(
        &'a self,
        pod: &'a PodView,
        world: &'a World,
        feasible: &[&NodeInfo],
    ) -> Option<Rating<'a>>;
}

/// A score for each node, in a range of its own.
pub struct Rating<'a> {
    /// The raw score of a node.
    pub score: Box<dyn Fn(&NodeInfo) -> i64 + 'a>,
    /// How raw scores become 0 to 100.
    pub normalize: Normalize,
}

/// From raw scores to 0 to [`MAX_SCORE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// Already in range.
    No,
    /// The largest becomes 100, the others in proportion.
    Larger,
    /// As `Larger`, turned around: the largest raw score is the worst.
    Smaller,
    /// The smallest becomes 0, the largest 100.
    Range,
    /// The smallest becomes 100, the others less by what they exceed it; [`IGNORED`] becomes 0.
    Even,
}

/// The best score a plugin gives.
pub const MAX_SCORE: i64 = 100;
/// Raw score of a node that `Normalize::Even` leaves out.
pub const IGNORED: i64 = i64::MIN;

impl Normalize {
    /// Brings the raw scores of all candidates into range.
    pub fn apply(self, scores: &mut [i64]) {
        let counted = || scores.iter().copied().filter(|score| *score != IGNORED);
        let largest = counted().max().unwrap_or_default();
        let smallest = counted().min().unwrap_or_default();
        for score in scores {
            *score = match self {
                Self::No => *score,
                Self::Larger | Self::Smaller => {
                    let scaled = if largest == 0 { 0 } else { *score * MAX_SCORE / largest };
                    if self == Self::Smaller { MAX_SCORE - scaled } else { scaled }
                }
                Self::Range if largest == smallest => 0,
                Self::Range => MAX_SCORE * (*score - smallest) / (largest - smallest),
                Self::Even if *score == IGNORED => 0,
                Self::Even if largest == 0 => MAX_SCORE,
                Self::Even => MAX_SCORE * (largest + smallest - *score) / largest,
            };
        }
    }
}
