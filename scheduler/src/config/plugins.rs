//! Which plugins a profile has: the default ones, less those it disables, with those it enables.
use super::{ConfigError, arguments::Arguments};
use crate::plugin::{Filter, Score};
use crate::plugins;
use crate::profile::Profile;
use serde::Deserialize;

/// The plugins of the default profile in order, with their weights where they score.
const DEFAULTS: &[(&str, i64)] = &[
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 0),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
];

/// `plugins` of a profile.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sets {
    multi_point: Set,
    filter: Set,
    post_filter: Set,
    score: Set,
    pre_enqueue: Set,
    queue_sort: Set,
    pre_filter: Set,
    pre_score: Set,
    reserve: Set,
    permit: Set,
    pre_bind: Set,
    bind: Set,
    post_bind: Set,
}

/// Plugins of one extension point.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Set {
    enabled: Vec<Named>,
    disabled: Vec<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    weight: Option<i64>,
}

/// Names with weights, in order.
type Chosen = Vec<(String, i64)>;

impl Set {
    /// What remains of `inherited` with the changes of the set.
    fn apply(&self, inherited: &[(String, i64)]) -> Chosen {
        let disabled =
            |name: &str| self.disabled.iter().any(|plugin| plugin.name == "*" || plugin.name == name);
        let mut chosen: Chosen = inherited.iter().filter(|(name, _)| !disabled(name)).cloned().collect();
        for plugin in &self.enabled {
            let weight = plugin.weight.filter(|weight| *weight != 0);
            match chosen.iter_mut().find(|(name, _)| *name == plugin.name) {
                Some((_, known)) => *known = weight.unwrap_or(*known),
                None => {
                    let default = DEFAULTS.iter().find(|(name, _)| *name == plugin.name);
                    let default = default.map_or(1, |(_, weight)| (*weight).max(1));
                    chosen.push((plugin.name.clone(), weight.unwrap_or(default)));
                }
            }
        }
        chosen
    }
}

impl Sets {
    fn all(&self) -> [&Set; 13] {
        [
            &self.pre_enqueue,
            &self.queue_sort,
            &self.pre_filter,
            &self.filter,
            &self.post_filter,
            &self.pre_score,
            &self.score,
            &self.reserve,
            &self.permit,
            &self.pre_bind,
            &self.bind,
            &self.post_bind,
            &self.multi_point,
        ]
    }

    /// The profile of that name with these plugins and arguments.
    pub fn profile(
        &self,
        name: String,
        percentage: usize,
        arguments: &Arguments,
    ) -> Result<Profile, ConfigError> {
        let known = |plugin: &str| DEFAULTS.iter().any(|(name, _)| *name == plugin);
        for plugin in self.all().iter().flat_map(|set| &set.enabled) {
            if !known(&plugin.name) {
                let plugin = &plugin.name;
                return Err(ConfigError::Invalid(format!(
                    "initializing profiles: creating profile for scheduler name {name}: {plugin:?} does not exist"
                )));
            }
        }
        let defaults: Chosen = DEFAULTS.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
        let everywhere = self.multi_point.apply(&defaults);
        let filters = self.filter.apply(&everywhere);
        let scores = self.score.apply(&everywhere);
        let preempts = self.post_filter.apply(&everywhere);
        let preempts = preempts.iter().any(|(name, _)| name == "DefaultPreemption");
        let score = |(name, weight): &(String, i64)| Some((score(name, arguments)?, *weight));
        Ok(Profile {
            filters: filters.iter().filter_map(|(name, _)| filter(name, arguments)).collect(),
            scores: scores.iter().filter_map(score).collect(),
            preemption: preempts.then_some(arguments.preemption),
            percentage,
            bind_timeout: arguments.bind_timeout.unwrap_or(Profile::default().bind_timeout),
            name,
        })
    }
}

fn spread(arguments: &Arguments) -> plugins::PodTopologySpread {
    match &arguments.spread {
        Some(constraints) => plugins::PodTopologySpread { defaults: constraints.clone(), system: false },
        None => plugins::PodTopologySpread::default(),
    }
}

/// The filter of that name, where it is one.
fn filter(name: &str, arguments: &Arguments) -> Option<Box<dyn Filter>> {
    Some(match name {
        "NodeUnschedulable" => Box::new(plugins::NodeUnschedulable),
        "NodeName" => Box::new(plugins::NodeName),
        "TaintToleration" => Box::new(plugins::TaintToleration),
        "NodeAffinity" => Box::new(plugins::NodeAffinity { added: arguments.added_affinity.clone() }),
        "NodePorts" => Box::new(plugins::NodePorts),
        "NodeResourcesFit" => Box::new(arguments.fit.clone()),
        "VolumeRestrictions" => Box::new(plugins::VolumeRestrictions),
        "NodeVolumeLimits" => Box::new(plugins::NodeVolumeLimits),
        "VolumeBinding" => Box::new(plugins::VolumeBinding),
        "VolumeZone" => Box::new(plugins::VolumeZone),
        "PodTopologySpread" => Box::new(spread(arguments)),
        "InterPodAffinity" => Box::new(arguments.inter_pod_affinity),
        "DynamicResources" => Box::new(plugins::DynamicResources),
        "NodeDeclaredFeatures" => Box::new(plugins::NodeDeclaredFeatures),
        _ => return None,
    })
}

/// The score of that name, where it is one.
fn score(name: &str, arguments: &Arguments) -> Option<Box<dyn Score>> {
    Some(match name {
        "TaintToleration" => Box::new(plugins::TaintToleration),
        "NodeAffinity" => Box::new(plugins::NodeAffinity { added: arguments.added_affinity.clone() }),
        "NodeResourcesFit" => Box::new(arguments.fit.clone()),
        "NodeResourcesBalancedAllocation" => Box::new(arguments.balance.clone()),
        "PodTopologySpread" => Box::new(spread(arguments)),
        "InterPodAffinity" => Box::new(arguments.inter_pod_affinity),
        "ImageLocality" => Box::new(plugins::ImageLocality),
        _ => return None,
    })
}
