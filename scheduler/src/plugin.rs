//! What a plugin is: a filter says why a node cannot run a pod, a score says how well it would.
use crate::node::NodeInfo;
use crate::plugins;
use crate::pod::PodView;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// All nodes, by name.
pub type Nodes = BTreeMap<String, NodeInfo>;

/// Events that may make a pod schedulable that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node was added, or got labels, taints or resources it had not.
    Node,
    /// A pod left its node or stopped using it.
    PodGone,
    /// A pod was placed on a node.
    PodPlaced,
    /// A claim or volume changed.
    Volume,
}

/// Why a node cannot run a pod, in the original's words: `Insufficient cpu`.
pub type Reason = Cow<'static, str>;

/// Decides whether a node can run a pod.
///
/// `prepare` is called once a pod and computes what all nodes share; the returned check is called for each node
/// and must be cheap. Neither may do I/O nor keep state between pods.
pub trait Filter: Send + Sync {
    /// Name of the plugin, the original's.
    fn name(&self) -> &'static str;

    /// The check for one pod; none when the plugin has nothing to say about it.
    fn prepare<'a>(&self, pod: &'a PodView, nodes: &'a Nodes) -> Option<Check<'a>>;

    /// What may change the answer.
    fn events(&self) -> &'static [Event];
}

/// Why one node is no place for the pod; empty when it is. All reasons are given, not just the first.
pub type Check<'a> = Box<dyn Fn(&NodeInfo) -> Vec<Reason> + 'a>;

/// Rates nodes for a pod.
pub trait Score: Send + Sync {
    /// Name of the plugin, the original's.
    fn name(&self) -> &'static str;

    /// How much the plugin counts.
    fn weight(&self) -> i64;

    /// The rating of one node, larger is better; none when the plugin has nothing to say about the pod.
    fn prepare<'a>(&self, pod: &'a PodView, nodes: &'a Nodes) -> Option<Rating<'a>>;
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
}

/// The best score a plugin gives.
pub const MAX_SCORE: i64 = 100;

impl Normalize {
    /// Brings the raw scores of all candidates into range.
    pub fn apply(self, scores: &mut [i64]) {
        let largest = scores.iter().copied().max().unwrap_or_default();
        if self == Self::No {
            return;
        }
        for score in scores {
            let scaled = if largest == 0 { 0 } else { *score * MAX_SCORE / largest };
            *score = if self == Self::Smaller { MAX_SCORE - scaled } else { scaled };
        }
    }
}

/// The filters, in the order in which they are asked.
pub fn filters() -> Vec<Box<dyn Filter>> {
    vec![
        Box::new(plugins::NodeUnschedulable),
        Box::new(plugins::NodeName),
        Box::new(plugins::TaintToleration),
        Box::new(plugins::NodeAffinity),
        Box::new(plugins::NodePorts),
        Box::new(plugins::NodeResourcesFit),
        Box::new(plugins::PodTopologySpread),
        Box::new(plugins::InterPodAffinity),
    ]
}

/// The scores, with the weights of the original's default profile.
pub fn scores() -> Vec<Box<dyn Score>> {
    vec![
        Box::new(plugins::TaintToleration),
        Box::new(plugins::NodeAffinity),
        Box::new(plugins::NodeResourcesFit),
        Box::new(plugins::NodeResourcesBalancedAllocation),
        Box::new(plugins::ImageLocality),
        Box::new(plugins::PodTopologySpread),
    ]
}
