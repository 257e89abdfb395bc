//! Nodes whose resources would be used to a like degree are better.
use super::node_resources_fit::{Weights, default_weights, usage};
use crate::node::NodeInfo;
use crate::plugin::{MAX_SCORE, Normalize, Rating, Score};
use crate::pod::PodView;
use crate::resources::Resources;
use crate::world::World;

/// Balance of CPU and memory, or of other resources.
#[derive(Clone, Debug)]
pub struct NodeResourcesBalancedAllocation {
    /// The resources; weights do not matter here.
    pub resources: Weights,
}

impl Default for NodeResourcesBalancedAllocation {
    fn default() -> Self {
        Self { resources: default_weights() }
    }
}

impl Score for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World, _: &[&NodeInfo]) -> Option<Rating<'a>> {
        // A pod that requests nothing changes no balance.
        if pod.requests == Resources::default() {
            return None;
        }
        let score = |info: &NodeInfo| {
            let fractions: Vec<f64> = self
                .resources
                .iter()
                .filter_map(|(name, _)| usage(pod, info, name))
                .map(|(used, all)| (used as f64 / all as f64).min(1.0))
                .collect();
            ((1.0 - deviation(&fractions)) * MAX_SCORE as f64) as i64
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::No })
    }
}

/// The standard deviation of fractions.
fn deviation(fractions: &[f64]) -> f64 {
    if fractions.is_empty() {
        return 0.0;
    }
    let count = fractions.len() as f64;
    let mean = fractions.iter().sum::<f64>() / count;
    (fractions.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / count).sqrt()
}
