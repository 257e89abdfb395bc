//! The stages file: how simulated pods and nodes behave.
//!
//! The whole form with its meaning is `docs/examples/stages.yaml`.
//!
//! Without an entry, containers start at once, are ready at once, and run until they are stopped; those of pods whose
//! restart policy is not `Always` succeed after a second.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use knarr_api::selector::LabelSelector;
use rand::Rng;
use serde::{Deserialize, Deserializer};

use crate::pod;

/// How long containers run by default where they are expected to end.
const WORK: Duration = Duration::from_secs(1);

/// A parsed and checked stages file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stages {
    api_version: String,
    kind: String,
    /// Behaviours of pods, the first match counts.
    #[serde(default)]
    pub pods: Vec<PodStage>,
    /// Failures of nodes.
    #[serde(default)]
    pub nodes: Vec<NodeStage>,
}

/// How some pods behave.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodStage {
    /// For messages.
    pub name: String,
    r#match: PodMatch,
    /// From the binding to running containers.
    pub start: Delay,
    /// From running to ready.
    pub ready: Ready,
    /// From the deletion to the end.
    pub stop: Delay,
    /// Ends of a container's run.
    pub outcomes: Vec<Outcome>,
}

/// Which pods; an empty condition matches all.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PodMatch {
    namespaces: Vec<String>,
    labels: Selector,
    /// Kind of the controlling owner.
    owner: Option<String>,
    nodes: Selector,
}

/// A label selector in the form of query parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector(LabelSelector);

impl Default for Selector {
    fn default() -> Self {
        Self(LabelSelector::everything())
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A time that varies: at least `delay`, at most `delay` and `jitter` together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Delay {
    #[serde(deserialize_with = "duration")]
    delay: Duration,
    #[serde(deserialize_with = "duration")]
    jitter: Duration,
}

/// When containers become ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ready {
    #[serde(deserialize_with = "duration")]
    delay: Duration,
    #[serde(deserialize_with = "duration")]
    jitter: Duration,
    never: bool,
}

/// One way in which a container's run ends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outcome {
    #[serde(default = "one")]
    weight: u32,
    /// Only containers of this name.
    container: Option<String>,
    after: Option<Delay>,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// How a container's run will end.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Counted from its start.
    pub after: Duration,
    /// Exit code.
    pub exit_code: i32,
    /// The runtime's reason; empty for the usual one.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What a node suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Failure {
    /// Nothing is heard of it or its pods.
    Lost,
    /// It says that it is not ready; its pods go on.
    NotReady,
}

/// When some nodes fail.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeStage {
    /// For messages.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    r#match: Selector,
    #[serde(default = "whole")]
    share: f64,
    /// From the start of the process to the failure.
    #[serde(default)]
    pub after: Delay,
    /// From the failure to the return.
    pub lasts: Delay,
    /// From the return to the next failure.
    pub every: Option<Delay>,
    /// What happens.
    pub failure: Failure,
}

fn one() -> u32 {
    1
}

fn whole() -> f64 {
    1.0
}

fn duration<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    knarr_component::flags::duration(&String::deserialize(input)?).map_err(serde::de::Error::custom)
}

impl Delay {
    /// Draws a time.
    pub fn draw(&self, random: &mut impl Rng) -> Duration {
        self.delay + self.jitter.mul_f64(random.random())
    }
}

impl Stages {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no file of stages", path.display()))
    }

    /// Reads and checks the text of a file.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let stages: Self = serde_yaml_ng::from_str(text)?;
        ensure!(
            stages.api_version == "knarr.dev/v1" && stages.kind == "SimulatedStages",
            "expected apiVersion knarr.dev/v1 and kind SimulatedStages"
        );
        for (index, stage) in stages.pods.iter().enumerate() {
            stage.check().with_context(|| format!("pods[{index}]"))?;
        }
        for (index, stage) in stages.nodes.iter().enumerate() {
            ensure!((0.0..=1.0).contains(&stage.share), "nodes[{index}].share: must be from 0 to 1");
            let endless = stage.every.is_some() && stage.lasts == Delay::default();
            ensure!(!endless, "nodes[{index}].lasts: must not be zero where the failure repeats");
        }
        Ok(stages)
    }

    /// The behaviour of a pod on a node with these labels.
    pub fn of_pod(&self, pod: &Pod, node_labels: &BTreeMap<String, String>) -> Option<&PodStage> {
        self.pods.iter().find(|stage| stage.r#match.fits(pod, node_labels))
    }
}

impl PodMatch {
    fn fits(&self, pod: &Pod, node_labels: &BTreeMap<String, String>) -> bool {
        let labels = pod.metadata.labels.as_ref();
        let owner = || {
            let owners = pod.metadata.owner_references.iter().flatten();
            owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.kind.as_str())
        };
        let namespace = pod::namespace(pod);
        (self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == namespace))
            && self.labels.0.matches(&labels)
            && self.owner.as_deref().is_none_or(|kind| owner() == Some(kind))
            && self.nodes.0.matches(node_labels)
    }
}

impl PodStage {
    fn check(&self) -> anyhow::Result<()> {
        for (index, outcome) in self.outcomes.iter().enumerate() {
            ensure!(outcome.weight > 0, "outcomes[{index}].weight: must not be zero");
            ensure!(
                (0..=255).contains(&outcome.exit_code),
                "outcomes[{index}].exitCode: must be from 0 to 255"
            );
            let told = outcome.exit_code != 0 || !outcome.reason.is_empty() || !outcome.message.is_empty();
            ensure!(
                outcome.after.is_some() || !told,
                "outcomes[{index}].after: a run that ends needs a time"
            );
        }
        let late = self.ready.delay + self.ready.jitter > Duration::ZERO;
        ensure!(!(self.ready.never && late), "ready.never: excludes a delay");
        Ok(())
    }

    /// When a container that has just started becomes ready, if ever.
    pub fn ready_after(&self, random: &mut impl Rng) -> Option<Duration> {
        let Ready { delay, jitter, never } = self.ready;
        (!never).then(|| Delay { delay, jitter }.draw(random))
    }

    /// How the run of a container that has just started will end, if it does by itself.
    fn draw_end(&self, container: &str, random: &mut impl Rng) -> Option<Option<End>> {
        let fitting = |outcome: &&Outcome| outcome.container.as_deref().is_none_or(|name| name == container);
        let sum: u32 = self.outcomes.iter().filter(fitting).map(|outcome| outcome.weight).sum();
        let mut left = random.random_range(0..sum.max(1));
        let drawn = self.outcomes.iter().filter(fitting).find(|outcome| {
            let here = left < outcome.weight;
            left = left.saturating_sub(outcome.weight);
            here
        })?;
        Some(drawn.after.map(|after| End {
            after: after.draw(random),
            exit_code: drawn.exit_code,
            reason: drawn.reason.clone(),
            message: drawn.message.clone(),
        }))
    }
}

/// How the run of a container will end: by the stage, else by what the pod is for.
pub fn end_of(
    stage: Option<&PodStage>,
    container: &str,
    expected_to_end: bool,
    random: &mut impl Rng,
) -> Option<End> {
    let scripted = stage.and_then(|stage| stage.draw_end(container, random));
    let usual = || End { after: WORK, exit_code: 0, reason: String::new(), message: String::new() };
    scripted.unwrap_or_else(|| expected_to_end.then(usual))
}

impl NodeStage {
    /// Whether a node with these labels fails this time.
    pub fn strikes(&self, labels: &BTreeMap<String, String>, random: &mut impl Rng) -> bool {
        self.r#match.0.matches(labels) && random.random::<f64>() < self.share
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::pod::tests::pod as yaml;

    const HEAD: &str = "apiVersion: knarr.dev/v1\nkind: SimulatedStages\n";

    fn stages(body: &str) -> Stages {
        Stages::parse(&format!("{HEAD}{body}")).expect("stages")
    }

    /// The example of the file's documentation is understood.
    #[test]
    fn the_documented_form() {
        let example = include_str!("../../../docs/examples/stages.yaml");
        let stages = Stages::parse(example).expect("the example");
        assert_eq!((stages.pods.len(), stages.nodes.len()), (1, 1));
        assert_eq!(stages.pods[0].outcomes[1].exit_code, 137);
        assert_eq!(stages.nodes[0].failure, Failure::Lost);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| {
            let error = Stages::parse(text).expect_err(text);
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        };
        check("{}", "missing field `apiVersion`");
        check("apiVersion: v1\nkind: SimulatedStages", "expected apiVersion knarr.dev/v1");
        check(&format!("{HEAD}pods: [{{begin: {{}}}}]"), "unknown field `begin`");
        check(&format!("{HEAD}pods: [{{start: {{delay: 3}}}}]"), "pods[0].start");
        check(&format!("{HEAD}pods: [{{match: {{labels: 'a in b'}}}}]"), "match");
        check(&format!("{HEAD}pods: [{{outcomes: [{{weight: 0}}]}}]"), "pods[0]: outcomes[0].weight");
        check(&format!("{HEAD}pods: [{{outcomes: [{{exitCode: 1}}]}}]"), "a run that ends needs a time");
        check(&format!("{HEAD}pods: [{{ready: {{never: true, delay: 1s}}}}]"), "excludes a delay");
        check(&format!("{HEAD}nodes: [{{lasts: {{}}, failure: Lost, share: 2}}]"), "must be from 0 to 1");
        check(&format!("{HEAD}nodes: [{{lasts: {{}}, every: {{}}, failure: Lost}}]"), "must not be zero");
    }

    #[test]
    fn the_first_match_counts() {
        let stages = stages(
            "pods:
            - {name: jobs, match: {owner: Job}}
            - {name: web, match: {namespaces: [shop], labels: 'app=web'}}
            - {name: zone, match: {nodes: 'zone=a'}}",
        );
        let check = |pod: &str, zone: &str, expected: Option<&str>| {
            let labels = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
            let found = stages.of_pod(&yaml(pod), &labels).map(|stage| stage.name.as_str());
            assert_eq!(found, expected, "{pod} {zone}");
        };
        let job = "{metadata: {namespace: shop, labels: {app: web}, ownerReferences: [{kind: Job, controller: true, apiVersion: batch/v1, name: j, uid: u}]}}";
        check(job, "b", Some("jobs"));
        check("{metadata: {namespace: shop, labels: {app: web}}}", "a", Some("web"));
        check("{metadata: {namespace: other, labels: {app: web}}}", "a", Some("zone"));
        check("{metadata: {namespace: other, labels: {app: web}}}", "b", None);
    }

    #[test]
    fn ends_are_drawn_by_weight() {
        let stages = stages(
            "pods: [{outcomes: [{weight: 3}, {weight: 1, after: {delay: 2s, jitter: 1s}, exitCode: 7, container: a}]}]",
        );
        let mut random = StdRng::seed_from_u64(1);
        let mut draw = |name: &str| {
            let ends = (0..4000).filter_map(|_| end_of(stages.pods.first(), name, true, &mut random));
            ends.map(|end| {
                assert!(end.exit_code == 7 && (2.0..=3.0).contains(&end.after.as_secs_f64()), "{end:?}");
            })
            .count()
        };
        let failed = draw("a");
        assert!((900..1100).contains(&failed), "{failed} of 4000");
        assert_eq!(draw("b"), 0);
        assert_eq!(
            end_of(None, "a", true, &mut random).map(|end| (end.after, end.exit_code)),
            Some((WORK, 0))
        );
        assert_eq!(end_of(None, "a", false, &mut random), None);
    }
}
