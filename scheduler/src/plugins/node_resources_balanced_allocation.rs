//! Nodes whose CPU and memory would be used to a like degree are better.
use super::node_resources_fit::fractions;
use crate::node::NodeInfo;
use crate::plugin::{MAX_SCORE, Nodes, Normalize, Rating, Score};
use crate::pod::PodView;

/// Balance of CPU and memory.
pub struct NodeResourcesBalancedAllocation;

impl Score for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Rating<'a>> {
        let score = |info: &NodeInfo| {
            let [cpu, memory] =
                fractions(pod, info).map(|(used, all)| (used as f64 / all.max(1) as f64).min(1.0));
            // The standard deviation of two numbers is half their distance.
            ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::No })
    }
}
