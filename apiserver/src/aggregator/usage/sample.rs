//! Samples of what kubelets count (`/stats/summary`), and what two of them tell.
use crate::objects::Objects;
use crate::registry::object;
use crate::server::RequestBody;
use crate::streaming::Upstream;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, Limited};
use knarr_api::Value;
use knarr_api::time::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for a kubelet's answer: whoever asks for usage waits for the slowest.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// Kubelets asked at the same time.
const AT_ONCE: usize = 64;

/// What one thing used so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    nanoseconds: u64,
    bytes: u64,
}

/// What one thing uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Billionths of a processor.
    pub nanocores: u64,
    /// Working set.
    pub bytes: u64,
}

/// Containers of a pod by name.
type Containers = Vec<(String, Count)>;

/// The counts of all nodes.
#[derive(Debug)]
pub struct Sample {
    /// When it was taken.
    pub at: Instant,
    /// The same for people.
    pub time: Timestamp,
    nodes: HashMap<String, Count>,
    /// By uid.
    pods: HashMap<String, Containers>,
}

/// Two samples.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The first.
    pub earlier: Arc<Sample>,
    /// The second.
    pub later: Arc<Sample>,
}

/// Asks the kubelets of all nodes; those that do not answer are not in it.
pub async fn take(upstream: &Upstream, objects: &dyn Objects) -> Sample {
    let nodes = objects.list("", "nodes", None);
    let asked: Vec<_> = nodes.into_iter().map(|node| ask(upstream, node)).collect();
    let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let pods = objects.list("", "pods", None);
    let node_of = |pod: &Arc<Value>| {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        (object::uid(pod).to_owned(), node.to_owned())
    };
    let placed: HashMap<String, String> = pods.iter().map(node_of).collect();
    let mut sample =
        Sample { at: Instant::now(), time: Timestamp::now(), nodes: HashMap::new(), pods: HashMap::new() };
    answers.iter().flatten().for_each(|(node, summary)| sample.add(node, summary, &placed));
    sample
}

async fn ask(upstream: &Upstream, node: Arc<Value>) -> Option<(String, Value)> {
    let name = object::name(&node);
    let mut target = upstream.kubelet(name, &node).ok()?;
    target.path = "/stats/summary".to_owned();
    let request = http::Request::new(RequestBody::Full(Bytes::new()));
    let work = async {
        let response = upstream.forward(target, request).await.ok()?;
        let good = response.status().is_success();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER).collect().await.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok().filter(|_| good)
    };
    let answer = tokio::time::timeout(TIMEOUT, work).await.ok().flatten();
    if answer.is_none() {
        tracing::debug!(node = name, "the kubelet told no statistics");
    }
    answer.map(|answer| (name.to_owned(), answer))
}

impl Sample {
    /// Adds what a node told. It is believed of itself and of the pods that are `placed` (node by uid) on it.
    fn add(&mut self, node: &str, summary: &Value, placed: &HashMap<String, String>) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.nodes.insert(node.to_owned(), count(&summary["node"]));
        let is_here = |pod: &&Value| {
            let uid = pod["podRef"]["uid"].as_str().unwrap_or_default();
            placed.get(uid).is_some_and(|placed| placed == node)
        };
        for pod in summary["pods"].as_array().into_iter().flatten().filter(is_here) {
            let containers = pod["containers"].as_array().into_iter().flatten();
            let containers = containers.map(|container| (text(&container["name"]), count(container)));
            self.pods.insert(text(&pod["podRef"]["uid"]), containers.collect());
        }
    }
}

fn count(of: &Value) -> Count {
    Count {
        nanoseconds: of["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap_or(0),
        bytes: of["memory"]["workingSetBytes"].as_u64().unwrap_or(0),
    }
}

impl Pair {
    /// The time between them.
    pub fn seconds(&self) -> f64 {
        self.later.at.duration_since(self.earlier.at).as_secs_f64().max(0.001)
    }

    fn between(&self, earlier: Count, later: Count) -> Usage {
        // What started anew began at zero.
        let since = if later.nanoseconds < earlier.nanoseconds { 0 } else { earlier.nanoseconds };
        let used = (later.nanoseconds - since) as f64;
        Usage { nanocores: (used / self.seconds()) as u64, bytes: later.bytes }
    }

    /// What a node uses.
    pub fn node(&self, name: &str) -> Option<Usage> {
        Some(self.between(*self.earlier.nodes.get(name)?, *self.later.nodes.get(name)?))
    }

    /// What the containers of a pod use; none for a pod of which one sample knows nothing.
    pub fn pod(&self, uid: &str) -> Option<Vec<(String, Usage)>> {
        let (earlier, later) = (self.earlier.pods.get(uid)?, self.later.pods.get(uid)?);
        let usages = later.iter().filter_map(|(name, count)| {
            let (_, before) = earlier.iter().find(|(known, _)| known == name)?;
            Some((name.clone(), self.between(*before, *count)))
        });
        Some(usages.collect::<Vec<_>>()).filter(|usages| !usages.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(at: Instant, node: u64, container: u64) -> Arc<Sample> {
        let mut sample = Sample { at, time: Timestamp::now(), nodes: HashMap::new(), pods: HashMap::new() };
        let cpu = |used: u64| json!({"usageCoreNanoSeconds": used});
        let summary = |node: u64, container: u64| {
            json!({"node": {"nodeName": "n", "cpu": cpu(node), "memory": {"workingSetBytes": 4096}},
                "pods": [{"podRef": {"uid": "u"}, "containers": [{"name": "c", "cpu": cpu(container),
                    "memory": {"workingSetBytes": 2048}}]}]})
        };
        let placed = HashMap::from([("u".to_owned(), "n".to_owned())]);
        sample.add("n", &summary(node, container), &placed);
        // Another node that speaks for the first is not believed.
        sample.add("liar", &summary(7 * node, 7 * container), &placed);
        Arc::new(sample)
    }

    #[test]
    fn differences() {
        let now = Instant::now();
        let second = 1_000_000_000;
        let pair = |first: u64, then: u64| Pair {
            earlier: sample(now, 0, first),
            later: sample(now + Duration::from_secs(2), second, then),
        };
        assert_eq!(pair(0, 0).node("n"), Some(Usage { nanocores: second / 2, bytes: 4096 }));
        assert_eq!(pair(0, 0).node("m"), None);
        let used = |first, then| pair(first, then).pod("u").unwrap()[0].1.nanocores;
        assert_eq!((used(second, 3 * second), used(5 * second, second)), (second, second / 2));
        assert_eq!(pair(0, 0).pod("v"), None);
    }
}
