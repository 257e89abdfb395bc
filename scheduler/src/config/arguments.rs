//! Arguments of plugins: `pluginConfig` of a profile.
use super::{ConfigError, aggregate, shape};
use crate::plugins::{
    InterPodAffinity, NodeResourcesBalancedAllocation, NodeResourcesFit, Strategy, Weights,
};
use crate::preemption::Preemption;
use crate::terms::Spread;
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Arguments as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Given {
    name: String,
    args: Value,
}

/// Arguments of all plugins.
#[derive(Default)]
pub struct Arguments {
    pub preemption: Preemption,
    pub inter_pod_affinity: InterPodAffinity,
    pub added_affinity: Option<NodeAffinity>,
    pub balance: NodeResourcesBalancedAllocation,
    pub fit: NodeResourcesFit,
    /// Constraints for pods that have none; none for the system's.
    pub spread: Option<Vec<Spread>>,
    pub bind_timeout: Option<Duration>,
}

impl Arguments {
    /// The arguments of the profile at that position.
    pub fn read(profile: usize, given: &[Given]) -> Result<Self, ConfigError> {
        let mut arguments = Self::default();
        for (argument, one) in given.iter().enumerate() {
            let fault = |message: String| ConfigError::Arguments { profile, argument, message };
            if given[..argument].iter().any(|other| other.name == one.name) {
                let path = format!("profiles[{profile}].pluginConfig[{argument}]");
                return Err(ConfigError::Invalid(format!("{path}: Duplicate value: {:?}", one.name)));
            }
            check(one).map_err(fault)?;
            let faults = arguments.take(one).map_err(|error| fault(error.to_string()))?;
            if !faults.is_empty() {
                let path = format!("profiles[{profile}].pluginConfig[{argument}].args.");
                let faults: Vec<String> = faults.iter().map(|fault| format!("{path}{fault}")).collect();
                return Err(ConfigError::Invalid(aggregate(&faults)));
            }
        }
        Ok(arguments)
    }

    /// Takes one plugin's arguments; returns what is out of bounds.
    fn take(&mut self, given: &Given) -> Result<Vec<String>, serde_json::Error> {
        let mut faults = Vec::new();
        let args = || if given.args.is_null() { serde_json::json!({}) } else { given.args.clone() };
        match given.name.as_str() {
            "DefaultPreemption" => {
                let args: PreemptionArgs = serde_json::from_value(args())?;
                let (share, least) = (args.min_candidate_nodes_percentage, args.min_candidate_nodes_absolute);
                bounds(
                    &mut faults,
                    "minCandidateNodesPercentage",
                    share,
                    0..=100,
                    "not in valid range [0, 100]",
                );
                bounds(
                    &mut faults,
                    "minCandidateNodesAbsolute",
                    least,
                    0..=i64::MAX,
                    "not in valid range [0, inf)",
                );
                let number = |value: Option<i64>, default| {
                    value.and_then(|v| usize::try_from(v).ok()).unwrap_or(default)
                };
                self.preemption =
                    Preemption { min_percentage: number(share, 10), min_absolute: number(least, 100) };
            }
            "InterPodAffinity" => {
                let args: AffinityArgs = serde_json::from_value(args())?;
                let weight = args.hard_pod_affinity_weight;
                bounds(&mut faults, "hardPodAffinityWeight", weight, 0..=100, "not in valid range [0-100]");
                self.inter_pod_affinity = InterPodAffinity {
                    hard_weight: weight.and_then(|weight| i32::try_from(weight).ok()).unwrap_or(1),
                    ignore_others: args.ignore_preferred_terms_of_existing_pods,
                };
            }
            "NodeAffinity" => {
                self.added_affinity = serde_json::from_value::<NodeAffinityArgs>(args())?.added_affinity;
            }
            "NodeResourcesBalancedAllocation" => {
                let args: BalanceArgs = serde_json::from_value(args())?;
                if !args.resources.is_empty() {
                    self.balance = NodeResourcesBalancedAllocation { resources: weights(&args.resources) };
                }
            }
            "NodeResourcesFit" => self.take_fit(serde_json::from_value(args())?, &mut faults),
            "PodTopologySpread" => self.take_spread(serde_json::from_value(args())?, &mut faults),
            "VolumeBinding" => {
                let args: VolumeArgs = serde_json::from_value(args())?;
                let rule = "invalid BindTimeoutSeconds, should not be a negative value";
                bounds(&mut faults, "bindTimeoutSeconds", args.bind_timeout_seconds, 0..=i64::MAX, rule);
                let seconds = args.bind_timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                self.bind_timeout = seconds.map(Duration::from_secs);
            }
            _ => {}
        }
        Ok(faults)
    }

    fn take_fit(&mut self, args: FitArgs, faults: &mut Vec<String>) {
        self.fit.ignored = args.ignored_resources.into_iter().collect();
        self.fit.ignored_groups = args.ignored_resource_groups.into_iter().collect();
        let Some(strategy) = args.scoring_strategy else { return };
        if !strategy.resources.is_empty() {
            self.fit.resources = weights(&strategy.resources);
        }
        for (at, resource) in strategy.resources.iter().enumerate() {
            let path = format!("scoringStrategy.resources[{at}].weight");
            let rule = format!("resource weight of {} not in valid range (0, 100]", resource.name);
            bounds(faults, &path, resource.weight, 1..=100, &rule);
        }
        let shape = strategy.requested_to_capacity_ratio.unwrap_or_default().shape;
        self.fit.strategy = match strategy.kind.as_deref() {
            None | Some("" | "LeastAllocated") => Strategy::LeastAllocated,
            Some("MostAllocated") => Strategy::MostAllocated,
            Some("RequestedToCapacityRatio") => {
                let path = "scoringStrategy.requestedToCapacityRatio.shape";
                if shape.is_empty() {
                    faults.push(format!("{path}: Required value: at least one point must be specified"));
                }
                for (at, pair) in shape.windows(2).enumerate() {
                    if pair[0].utilization >= pair[1].utilization {
                        let (path, value) = (format!("{path}[{}].utilization", at + 1), pair[1].utilization);
                        let rule = "utilization values must be sorted in increasing order";
                        faults.push(format!("{path}: Invalid value: {value}: {rule}"));
                    }
                }
                for (at, point) in shape.iter().enumerate() {
                    let rule = "not in valid range [0-100]";
                    let path_of = |field: &str| format!("{path}[{at}].{field}");
                    bounds(faults, &path_of("utilization"), Some(point.utilization), 0..=100, rule);
                    bounds(faults, &path_of("score"), Some(point.score), 0..=10, "not in valid range [0-10]");
                }
                let points = shape.iter().map(|point| (point.utilization, point.score));
                Strategy::RequestedToCapacityRatio(points.collect())
            }
            Some(other) => {
                let known =
                    "supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"";
                faults.push(format!("scoringStrategy.type: Unsupported value: {other:?}: {known}"));
                Strategy::default()
            }
        };
    }

    fn take_spread(&mut self, args: SpreadArgs, faults: &mut Vec<String>) {
        let constraints = &args.default_constraints;
        match args.defaulting_type.as_deref() {
            None | Some("" | "System") => {
                if !constraints.is_empty() {
                    let rule = "when .defaultingType is System";
                    faults.push(format!("defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty, {rule}"));
                }
            }
            Some("List") => {
                let compile = |one: &TopologySpreadConstraint| Spread::new(one, &BTreeMap::new());
                self.spread = Some(constraints.iter().map(compile).collect());
            }
            Some(other) => faults.push(format!(
                "defaultingType: Unsupported value: {other:?}: supported values: \"List\", \"System\""
            )),
        }
        for (at, constraint) in constraints.iter().enumerate() {
            if constraint.label_selector.is_some() {
                let rule = "constraint must not define a selector, as they deduced for each pod";
                faults.push(format!("defaultConstraints[{at}].labelSelector: Forbidden: {rule}"));
            }
            let (path, skew) = (format!("defaultConstraints[{at}].maxSkew"), i64::from(constraint.max_skew));
            bounds(faults, &path, Some(skew), 1..=i64::MAX, "not in valid range (0, inf)");
            if constraint.topology_key.is_empty() {
                faults
                    .push(format!("defaultConstraints[{at}].topologyKey: Required value: can not be empty"));
            }
        }
    }
}

/// Refuses arguments of another kind and unknown fields.
fn check(given: &Given) -> Result<(), String> {
    let name = &given.name;
    let Some((_, shape)) = shape::ARGUMENTS.iter().find(|(plugin, _)| plugin == name) else {
        return Ok(());
    };
    let field = |field: &str| given.args[field].as_str().unwrap_or_default();
    let (kind, version) = (field("kind"), field("apiVersion"));
    if !kind.is_empty() && kind != format!("{name}Args") {
        let group = version.split('/').next().unwrap_or_default();
        return Err(format!(
            "args for plugin {name} were not of type {name}Args.kubescheduler.config.k8s.io, got {kind}.{group}"
        ));
    }
    let unknown = shape::unknown(&given.args, shape);
    if unknown.is_empty() {
        return Ok(());
    }
    let list = unknown.join(", ");
    Err(format!("strict decoding error: decoding args for plugin {name}: strict decoding error: {list}"))
}

fn bounds(
    faults: &mut Vec<String>,
    path: &str,
    value: Option<i64>,
    range: std::ops::RangeInclusive<i64>,
    rule: &str,
) {
    if let Some(value) = value.filter(|value| !range.contains(value)) {
        faults.push(format!("{path}: Invalid value: {value}: {rule}"));
    }
}

fn weights(resources: &[Resource]) -> Weights {
    resources.iter().map(|resource| (resource.name.clone(), resource.weight.unwrap_or(1))).collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    name: String,
    weight: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Point {
    utilization: i64,
    score: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PreemptionArgs {
    min_candidate_nodes_percentage: Option<i64>,
    min_candidate_nodes_absolute: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AffinityArgs {
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeAffinityArgs {
    added_affinity: Option<NodeAffinity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BalanceArgs {
    resources: Vec<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FitArgs {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<StrategyArgs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StrategyArgs {
    #[serde(rename = "type")]
    kind: Option<String>,
    resources: Vec<Resource>,
    requested_to_capacity_ratio: Option<RatioArgs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RatioArgs {
    shape: Vec<Point>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpreadArgs {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeArgs {
    bind_timeout_seconds: Option<i64>,
}
