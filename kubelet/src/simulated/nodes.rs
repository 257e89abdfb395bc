//! Simulated nodes: their objects, and when they fail and return.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use serde_json::{Value, json};

use super::life::RUNTIME;
use super::stages::{Delay, Failure, NodeStage};
use crate::node::status::{self, KUBELET_VERSION, architecture};

/// What every node has.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Amounts by resource, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// Port of the kubelet that nodes name.
    pub port: u16,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its address, as a list of one.
    pub ips: Vec<String>,
    /// Failures that last, by stage.
    failures: Vec<(usize, Failure)>,
    /// When it came to be, for this process.
    born: Timestamp,
    /// Since when it is as ready as it is.
    since: Timestamp,
}

/// All nodes, with the failures that lie before them.
#[derive(Debug, Default)]
pub struct Nodes {
    all: Vec<Node>,
    by_name: HashMap<String, usize>,
    scripts: Vec<Script>,
    /// Those whose statuses are to be written.
    changed: BTreeSet<usize>,
}

/// Where a stage of failures stands.
#[derive(Debug)]
struct Script {
    stage: NodeStage,
    next: Option<Timestamp>,
    /// The nodes that fail because of it now.
    struck: Option<Vec<usize>>,
}

impl Node {
    /// A node that is well.
    pub fn new(name: String, more: &BTreeMap<String, String>, ip: String, now: Timestamp) -> Self {
        let mut labels = status::labels(&name);
        labels.insert("knarr.dev/runtime".to_owned(), RUNTIME.to_owned());
        labels.extend(more.clone());
        Self { name, labels, ips: vec![ip], failures: Vec::new(), born: now, since: now }
    }

    /// Whether nothing is heard of it.
    pub fn is_lost(&self) -> bool {
        self.failures.iter().any(|(_, failure)| *failure == Failure::Lost)
    }

    fn is_ready(&self) -> bool {
        self.failures.is_empty()
    }

    /// The object to register.
    pub fn object(&self, machine: &Machine, now: Timestamp) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": self.name, "labels": self.labels,
                "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            },
            "status": self.status(machine, now),
        })
    }

    /// The status.
    pub fn status(&self, machine: &Machine, now: Timestamp) -> Value {
        let condition = |kind: &str, status: bool, reason: &str, message: &str, since: Timestamp| {
            json!({
                "type": kind, "status": if status { "True" } else { "False" }, "reason": reason, "message": message,
                "lastHeartbeatTime": seconds(now), "lastTransitionTime": seconds(since),
            })
        };
        let calm = |kind, reason, message| condition(kind, false, reason, message, self.born);
        let ready = match self.is_ready() {
            true => condition("Ready", true, "KubeletReady", "kubelet is posting ready status", self.since),
            false => condition("Ready", false, "KubeletNotReady", "a stage says so", self.since),
        };
        json!({
            "addresses": [
                {"type": "InternalIP", "address": self.ips.first()}, {"type": "Hostname", "address": self.name},
            ],
            "capacity": machine.capacity,
            "allocatable": machine.capacity,
            "conditions": [
                calm("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                calm("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                calm("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                ready,
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": machine.port}},
            "nodeInfo": {
                "architecture": architecture(), "bootID": "", "kernelVersion": "", "kubeProxyVersion": "",
                "containerRuntimeVersion": format!("{RUNTIME}://{}", env!("CARGO_PKG_VERSION")),
                "kubeletVersion": KUBELET_VERSION, "machineID": self.name, "operatingSystem": "linux",
                "osImage": "simulated", "systemUUID": self.name,
            },
        })
    }
}

/// A time as objects hold it.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Nodes {
    /// These nodes; failures are counted from now.
    pub fn new(all: Vec<Node>, stages: &[NodeStage], now: Timestamp, random: &mut impl Rng) -> Self {
        let by_name = all.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        let script = |stage: &NodeStage| Script {
            next: Some(after(now, &stage.after, random)),
            stage: stage.clone(),
            struck: None,
        };
        Self { all, by_name, scripts: stages.iter().map(script).collect(), changed: BTreeSet::new() }
    }

    /// The place of a node of ours.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The node at a place that `find` gave.
    pub fn get(&self, index: usize) -> &Node {
        &self.all[index]
    }

    /// All nodes.
    pub fn all(&self) -> &[Node] {
        &self.all
    }

    /// A node whose status is to be written and can be; it is not told of again until it changes.
    pub fn take_changed(&mut self) -> Option<usize> {
        // A lost one changes again when it returns.
        std::iter::from_fn(|| self.changed.pop_first()).find(|index| !self.all[*index].is_lost())
    }

    /// Whether there is such a node.
    pub fn any_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Has a node's status written once more.
    pub fn mark_changed(&mut self, index: usize) {
        self.changed.insert(index);
    }

    /// When the next failure or return is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.scripts.iter().filter_map(|script| script.next).min()
    }

    /// Lets failures begin and end that are due; answers which nodes are heard of again.
    pub fn pass(&mut self, now: Timestamp, random: &mut impl Rng) -> Vec<usize> {
        let mut returned = Vec::new();
        for number in 0..self.scripts.len() {
            while self.scripts[number].next.is_some_and(|at| at <= now) {
                returned.extend(self.turn(number, now, random));
            }
        }
        returned.retain(|index| !self.all[*index].is_lost());
        returned
    }

    /// Begins or ends the failure of one stage; answers the nodes for which it ended.
    fn turn(&mut self, number: usize, now: Timestamp, random: &mut impl Rng) -> Vec<usize> {
        let script = &mut self.scripts[number];
        let (stage, due) = (&script.stage, script.next.unwrap_or(now));
        if let Some(struck) = script.struck.take() {
            script.next = stage.every.map(|every| after(due, &every, random));
            for index in &struck {
                let node = &mut self.all[*index];
                node.failures.retain(|(by, _)| *by != number);
                node.since = now;
            }
            self.changed.extend(&struck);
            return struck;
        }
        let struck: Vec<usize> =
            (0..self.all.len()).filter(|index| stage.strikes(&self.all[*index].labels, random)).collect();
        script.next = Some(after(due, &stage.lasts, random));
        tracing::info!(stage = stage.name, failure = ?stage.failure, nodes = struck.len(), "nodes fail");
        for index in &struck {
            let node = &mut self.all[*index];
            node.failures.push((number, stage.failure));
            node.since = now;
        }
        self.changed.extend(&struck);
        script.struck = Some(struck);
        Vec::new()
    }
}

fn after(time: Timestamp, delay: &Delay, random: &mut impl Rng) -> Timestamp {
    let span = SignedDuration::try_from(delay.draw(random)).unwrap_or(SignedDuration::MAX);
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::stages::Stages;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("time")
    }

    fn nodes(stages: &str, random: &mut StdRng) -> Nodes {
        let head = "apiVersion: knarr.dev/v1\nkind: SimulatedStages\n";
        let stages = Stages::parse(&format!("{head}{stages}")).expect("stages");
        let node = |number: usize| {
            let zone = BTreeMap::from([("zone".to_owned(), format!("z{}", number % 2))]);
            Node::new(format!("n{number}"), &zone, format!("192.0.2.{number}"), at(0))
        };
        Nodes::new((0..4).map(node).collect(), &stages.nodes, at(0), random)
    }

    /// The nodes at a moment: `.` is well, `-` lost, `!` not ready.
    fn look(nodes: &Nodes) -> String {
        let sign = |node: &Node| match (node.is_lost(), node.is_ready()) {
            (true, _) => '-',
            (_, true) => '.',
            _ => '!',
        };
        nodes.all().iter().map(sign).collect()
    }

    #[test]
    fn failures_begin_end_and_repeat() {
        let mut random = StdRng::seed_from_u64(1);
        let mut nodes = nodes(
            "nodes:
            - {match: 'zone=z1', after: {delay: 10s}, lasts: {delay: 5s}, every: {delay: 20s}, failure: Lost}
            - {after: {delay: 12s}, lasts: {delay: 10s}, failure: NotReady}",
            &mut random,
        );
        let mut check = |second: i64, expected: &str, returned: &[usize], next: Option<i64>| {
            assert_eq!(nodes.pass(at(second), &mut random), returned, "at {second}");
            assert_eq!((look(&nodes).as_str(), nodes.next()), (expected, next.map(at)), "at {second}");
        };
        check(9, "....", &[], Some(10));
        check(10, ".-.-", &[], Some(12));
        check(12, "!-!-", &[], Some(15));
        check(15, "!!!!", &[1, 3], Some(22));
        check(22, "....", &[0, 1, 2, 3], Some(35));
        check(35, ".-.-", &[], Some(40));
    }

    #[test]
    fn lost_nodes_write_nothing_until_they_return() {
        let mut random = StdRng::seed_from_u64(1);
        let mut nodes = nodes("nodes: [{match: 'zone=z1', lasts: {delay: 5s}, failure: Lost}]", &mut random);
        nodes.pass(at(0), &mut random);
        assert_eq!(nodes.take_changed(), None);
        nodes.pass(at(5), &mut random);
        assert_eq!(
            (nodes.take_changed(), nodes.take_changed(), nodes.take_changed()),
            (Some(1), Some(3), None)
        );
    }

    #[test]
    fn the_object_is_a_node() {
        let mut random = StdRng::seed_from_u64(1);
        let nodes = nodes("", &mut random);
        let machine = Machine { capacity: BTreeMap::from([("cpu".to_owned(), "4".to_owned())]), port: 10250 };
        let object = nodes.get(0).object(&machine, at(60));
        let node: k8s_openapi::api::core::v1::Node = serde_json::from_value(object).expect("a node");
        let status = node.status.expect("a status");
        assert!(status::is_ready(&status));
        assert_eq!(status.addresses.expect("addresses")[0].address, "192.0.2.0");
    }
}
