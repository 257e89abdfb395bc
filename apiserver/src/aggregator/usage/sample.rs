//! Samples of what kubelets count (`/stats/summary`), and what two of them tell.
use crate::server::RequestBody;
use crate::streaming::Upstream;
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::BodyExt;
use knarr_api::Value;
use knarr_api::time::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for a kubelet's answer.
const TIMEOUT: Duration = Duration::from_secs(10);

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
pub async fn take(upstream: &Upstream, nodes: &[Arc<Value>]) -> Sample {
    let answers = join_all(nodes.iter().map(|node| ask(upstream, node))).await;
    let mut sample =
        Sample { at: Instant::now(), time: Timestamp::now(), nodes: HashMap::new(), pods: HashMap::new() };
    answers.iter().flatten().for_each(|summary| sample.add(summary));
    sample
}

async fn ask(upstream: &Upstream, node: &Value) -> Option<Value> {
    let name = node["metadata"]["name"].as_str()?;
    let mut target = upstream.kubelet(name, node).ok()?;
    target.path = "/stats/summary".to_owned();
    let request = http::Request::new(RequestBody::Full(Bytes::new()));
    let work = async {
        let response = upstream.forward(target, request).await.ok()?;
        let good = response.status().is_success();
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok().filter(|_| good)
    };
    let answer = tokio::time::timeout(TIMEOUT, work).await.ok().flatten();
    if answer.is_none() {
        tracing::debug!(node = name, "the kubelet told no statistics");
    }
    answer
}

impl Sample {
    fn add(&mut self, summary: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let node = &summary["node"];
        self.nodes.insert(text(&node["nodeName"]), count(node));
        for pod in summary["pods"].as_array().into_iter().flatten() {
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
        sample.add(&json!({"node": {"nodeName": "n", "cpu": cpu(node), "memory": {"workingSetBytes": 4096}},
            "pods": [{"podRef": {"uid": "u"}, "containers": [{"name": "c", "cpu": cpu(container),
                "memory": {"workingSetBytes": 2048}}]}]}));
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
