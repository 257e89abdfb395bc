//! Watches all pods of the namespace and says what must never have been: a pod on two nodes, more pods than the quota
//! allows, fewer healthy ones than the disruption budget demands.
use crate::api::{Api, condition, is_deleting, is_over, path, text};
use crate::changes::{GUARDED, MIN_AVAILABLE, QUOTA};
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use kube::core::WatchEvent;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause after the server went away.
const RETRY: Duration = Duration::from_millis(20);

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// Changes of pods.
    pub events: usize,
    /// Pods that there were.
    pub pods: usize,
    /// Pods that were evicted.
    pub evictions: usize,
    /// What must not be.
    pub faults: Vec<String>,
}

/// A running witness.
pub struct Witness {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Seen>>,
}

/// Begins to watch; everything is healthy now.
pub async fn start(api: Api) -> Result<Witness> {
    let (stop, stopped) = watch::channel(false);
    let list = api.send("GET", &path("pods"), &Value::Null).await?;
    let task = tokio::spawn(follow(api, list, stopped));
    Ok(Witness { stop, task })
}

impl Witness {
    /// Ends it and returns what it saw.
    pub async fn finish(self) -> Result<Seen> {
        self.stop.send_replace(true);
        self.task.await.context("the witness panicked")?
    }
}

/// What the witness knows.
#[derive(Default)]
struct Known {
    pods: BTreeMap<String, Value>,
    /// Where each pod that ever was has been bound to.
    nodes: BTreeMap<String, String>,
    evicted: BTreeSet<String>,
    seen: Seen,
}

async fn follow(api: Api, list: Value, mut stopped: watch::Receiver<bool>) -> Result<Seen> {
    let mut known = Known::default();
    for pod in list["items"].as_array().into_iter().flatten() {
        known.apply(pod.clone());
    }
    let mut version = text(&list, "/metadata/resourceVersion").to_owned();
    loop {
        let watching = attend(&api, &mut known, &mut version);
        let ended = tokio::select! {
            ended = watching => ended,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        if let Err(e) = ended {
            // Its history reaches over all restarts: a gap in it would be a fault.
            if e.to_string().contains("410") {
                known.seen.faults.push(format!("the watch cannot go on: {e}"));
                break;
            }
            tokio::time::sleep(RETRY).await; // nothing announces that a server is back
        }
    }
    known.seen.pods = known.nodes.len();
    known.seen.evictions = known.evicted.len();
    Ok(known.seen)
}

/// Watches from a version on until the connection ends.
async fn attend(api: &Api, known: &mut Known, version: &mut String) -> Result<()> {
    let path = format!("{}?watch=1&resourceVersion={version}", path("pods"));
    let request = http::Request::get(path).body(Vec::new())?;
    let mut events = api.client.request_events::<Value>(request).await?.boxed();
    while let Some(event) = events.try_next().await? {
        let (pod, gone) = match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
            WatchEvent::Deleted(pod) => (pod, true),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => anyhow::bail!("{} {}", status.code, status.message),
        };
        text(&pod, "/metadata/resourceVersion").clone_into(version);
        known.seen.events += 1;
        if gone {
            known.pods.remove(text(&pod, "/metadata/uid"));
        } else {
            known.apply(pod);
        }
        known.judge();
    }
    Ok(())
}

impl Known {
    fn apply(&mut self, pod: Value) {
        let (uid, node) = (text(&pod, "/metadata/uid").to_owned(), text(&pod, "/spec/nodeName").to_owned());
        let name = text(&pod, "/metadata/name");
        let before = self.nodes.entry(uid.clone()).or_default();
        if !before.is_empty() && *before != node {
            self.seen.faults.push(format!("pod {name} was on {before} and is on {node:?}"));
        }
        *before = node;
        if condition(&pod, "DisruptionTarget") {
            self.evicted.insert(uid.clone());
        }
        self.pods.insert(uid, pod);
    }

    /// Whether what holds at every revision holds at this one.
    fn judge(&mut self) {
        let counted = self.pods.values().filter(|pod| !is_over(pod)).count();
        if counted > QUOTA {
            self.seen.faults.push(format!("{counted} pods, where the quota allows {QUOTA}"));
        }
        let healthy = |pod: &&Value| {
            text(pod, "/metadata/labels/app") == GUARDED && condition(pod, "Ready") && !is_deleting(pod)
        };
        let healthy = self.pods.values().filter(healthy).count();
        if healthy < MIN_AVAILABLE {
            self.seen
                .faults
                .push(format!("{healthy} healthy pods, where the budget demands {MIN_AVAILABLE}"));
        }
    }
}
