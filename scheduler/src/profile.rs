//! A profile: the plugins of one scheduler name, with weights and arguments.
use crate::algorithm::Claims;
use crate::plugin::{Filter, Score};
use crate::plugins;
use crate::pod::PodView;
use crate::preemption::Preemption;
use crate::world::World;
use std::time::Duration;

/// Name of the scheduler that pods have by default.
pub const DEFAULT_NAME: &str = "default-scheduler";

/// Name of the plugin of resource claims.
const CLAIMS: &str = "DynamicResources";

/// The plugins of one scheduler name.
pub struct Profile {
    /// Pods choose it by `spec.schedulerName`.
    pub name: String,
    /// The filters, in the order in which they are asked.
    pub filters: Vec<Box<dyn Filter>>,
    /// The scores with their weights.
    pub scores: Vec<(Box<dyn Score>, i64)>,
    /// Whether and how room is made for pods of higher priority.
    pub preemption: Option<Preemption>,
    /// Share of the nodes that is looked at, in percent; 0 lets the number of nodes decide.
    pub percentage: usize,
    /// How long a placed pod waits for its volumes.
    pub bind_timeout: Duration,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            filters: vec![
                Box::new(plugins::NodeUnschedulable),
                Box::new(plugins::NodeName),
                Box::new(plugins::TaintToleration),
                Box::new(plugins::NodeAffinity::default()),
                Box::new(plugins::NodePorts),
                Box::new(plugins::NodeResourcesFit::default()),
                Box::new(plugins::VolumeRestrictions),
                Box::new(plugins::NodeVolumeLimits),
                Box::new(plugins::VolumeBinding),
                Box::new(plugins::VolumeZone),
                Box::new(plugins::PodTopologySpread::default()),
                Box::new(plugins::InterPodAffinity::default()),
                Box::new(plugins::DynamicResources),
                Box::new(plugins::NodeDeclaredFeatures),
            ],
            scores: vec![
                (Box::new(plugins::TaintToleration), 3),
                (Box::new(plugins::NodeAffinity::default()), 2),
                (Box::new(plugins::NodeResourcesFit::default()), 1),
                (Box::new(plugins::PodTopologySpread::default()), 2),
                (Box::new(plugins::InterPodAffinity::default()), 2),
                (Box::new(plugins::NodeResourcesBalancedAllocation::default()), 1),
                (Box::new(plugins::ImageLocality), 1),
            ],
            preemption: Some(Preemption::default()),
            percentage: 0,
            bind_timeout: Duration::from_secs(600),
        }
    }
}

impl Profile {
    /// What the plugin of resource claims says once no node was found.
    pub(crate) fn claims(&self) -> Claims {
        match self.filters.iter().any(|filter| filter.name() == CLAIMS) {
            true => Claims::Nothing,
            false => Claims::NotAsked,
        }
    }

    /// Whether a filter is asked before the one of resource claims.
    pub(crate) fn is_before_claims(&self, name: &str) -> bool {
        let mut rest = self.filters.iter().skip_while(|filter| filter.name() != name).skip(1);
        rest.any(|filter| filter.name() == CLAIMS)
    }

    /// Makes sure that the index counts what the plugins will want to know for the pod.
    pub(crate) fn ask(&self, pod: &PodView, world: &mut World) {
        let filters = self.filters.iter().flat_map(|plugin| plugin.queries(pod, world));
        let scores = self.scores.iter().flat_map(|(plugin, _)| plugin.queries(pod, world));
        let queries: Vec<_> = filters.chain(scores).collect();
        for (query, key) in queries {
            world.ask(query, &key);
        }
    }
}
