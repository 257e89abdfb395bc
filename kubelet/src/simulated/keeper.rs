//! Keeps the objects of simulated nodes: registers them, renews their leases, writes their statuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use kube::api::ObjectMeta;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::nodes::Machine;
use super::world::World;

/// How long a lease that is not renewed stays valid, as kubelets write it.
const LEASE_SECONDS: u64 = 40;
/// In so many steps of a second all leases are renewed once: half as often as by a kubelet, still well before anybody
/// takes a node for lost.
const STEPS: usize = 20;
/// After so many rounds a status is written though nothing has changed: five minutes.
const REPORT_ROUNDS: usize = 15;
/// Between two renewals of a lease; after more than that somebody may have taken the node for lost, and its status is
/// written anew.
const PUNCTUAL: Duration = Duration::from_secs(STEPS as u64 + 5);
/// Requests under way at once.
const PARALLEL: usize = 16;
/// Pause after a failed request.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps all nodes of a world.
pub struct Keeper {
    /// The API server.
    pub client: Client,
    /// The nodes.
    pub world: Arc<Mutex<World>>,
    /// What each node has.
    pub machine: Machine,
    /// Told when statuses of nodes have changed.
    pub changed: Arc<Notify>,
    /// UIDs of the objects, which own the leases.
    uids: Mutex<Vec<String>>,
    /// When each lease was renewed last.
    renewed: Mutex<Vec<Instant>>,
}

#[derive(Deserialize)]
struct Object {
    metadata: ObjectMeta,
}

impl Keeper {
    /// A keeper of nodes that are not registered yet.
    pub fn new(
        client: Client,
        world: Arc<Mutex<World>>,
        machine: Machine,
        changed: Arc<Notify>,
    ) -> Arc<Self> {
        let count = world.lock().nodes.all().len();
        let uids = Mutex::new(vec![String::new(); count]);
        let renewed = Mutex::new(vec![Instant::now(); count]);
        Arc::new(Self { client, world, machine, changed, uids, renewed })
    }

    /// Registers all nodes; returns when each has an object and a lease.
    pub async fn register(&self) {
        let count = self.uids.lock().len();
        let all = futures::stream::iter(0..count).map(async |index| {
            while let Err(error) = self.begin(index).await {
                tracing::info!(%error, "node not registered yet");
                tokio::time::sleep(RETRY).await; // nothing tells when the server will have it
            }
        });
        all.buffer_unordered(PARALLEL).collect::<()>().await;
    }

    /// Keeps leases and statuses until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let statuses = Arc::clone(&self);
        let written = tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                statuses.write_statuses().await;
                statuses.changed.notified().await;
            }
        }));
        let leases = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            for round in 0_usize.. {
                for step in 0..STEPS {
                    tick.tick().await;
                    self.renew_part(step, round).await;
                }
            }
        };
        stop.run_until_cancelled(leases).await;
        // It ends by the same token.
        let _ = written.await;
    }

    /// Renews the leases whose turn it is.
    async fn renew_part(&self, step: usize, round: usize) {
        let due: Vec<usize> = {
            let mut world = self.world.lock();
            let count = world.nodes.all().len();
            let due: Vec<usize> = (step..count).step_by(STEPS).collect();
            for index in due.iter().filter(|index| (*index + round).is_multiple_of(REPORT_ROUNDS)) {
                world.nodes.mark_changed(*index);
            }
            due.into_iter().filter(|index| !world.nodes.get(*index).is_lost()).collect()
        };
        self.changed.notify_one();
        let all = futures::stream::iter(due).map(async |index| {
            if let Err(error) = self.renew(index).await {
                tracing::info!(%error, "lease not renewed");
            }
        });
        all.buffer_unordered(PARALLEL).collect::<()>().await;
    }

    async fn renew(&self, index: usize) -> Result<(), kube::Error> {
        let patch = json!({"spec": self.lease_spec(index)});
        match self.send("PATCH", &self.lease_path(index), &patch).await {
            Err(error) if code(&error) == Some(404) => return self.begin(index).await,
            other => other.map(drop)?,
        }
        let before = std::mem::replace(&mut self.renewed.lock()[index], Instant::now());
        if before.elapsed() > PUNCTUAL {
            self.world.lock().nodes.mark_changed(index);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Makes sure that there are a node and its lease.
    async fn begin(&self, index: usize) -> Result<(), kube::Error> {
        let (name, object) = {
            let world = self.world.lock();
            let node = world.nodes.get(index);
            (node.name.clone(), node.object(&self.machine, Timestamp::now()))
        };
        let node = match self.send("POST", "/api/v1/nodes", &object).await {
            Err(error) if code(&error) == Some(409) => {
                self.world.lock().nodes.mark_changed(index);
                self.changed.notify_one();
                self.send("GET", &format!("/api/v1/nodes/{name}"), &Value::Null).await?
            }
            other => other?,
        };
        let uid = node.metadata.uid.unwrap_or_default();
        let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
        self.uids.lock()[index] = uid;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "ownerReferences": owner},
            "spec": self.lease_spec(index),
        });
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        match self.send("POST", leases, &lease).await {
            Err(error) if code(&error) == Some(409) => {
                // Of an earlier object of that name, perhaps.
                let patch = json!({"metadata": {"ownerReferences": owner}, "spec": self.lease_spec(index)});
                self.send("PATCH", &self.lease_path(index), &patch).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    fn lease_path(&self, index: usize) -> String {
        let world = self.world.lock();
        let name = &world.nodes.get(index).name;
        format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}")
    }

    fn lease_spec(&self, index: usize) -> Value {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let world = self.world.lock();
        let holder = &world.nodes.get(index).name;
        json!({"holderIdentity": holder, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now})
    }

    /// Writes the statuses that have changed.
    async fn write_statuses(&self) {
        let next = || {
            let mut world = self.world.lock();
            let index = world.nodes.take_changed()?;
            let node = world.nodes.get(index);
            let status = json!({"status": node.status(&self.machine, Timestamp::now())});
            Some((index, format!("/api/v1/nodes/{}/status", node.name), status))
        };
        let all = futures::stream::iter(std::iter::from_fn(next)).map(async |(index, path, status)| {
            if let Err(error) = self.send("PATCH", &path, &status).await
                && code(&error) != Some(404)
            {
                tracing::info!(%error, "status of a node not written");
                tokio::time::sleep(RETRY).await; // nothing tells when the server will have it
                self.world.lock().nodes.mark_changed(index);
                self.changed.notify_one();
            }
        });
        all.buffer_unordered(PARALLEL).collect::<()>().await;
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Object, kube::Error> {
        let (kind, body) = match method {
            "PATCH" if path.ends_with("/status") => {
                ("application/strategic-merge-patch+json", body.to_string())
            }
            "PATCH" => ("application/merge-patch+json", body.to_string()),
            "GET" => ("application/json", String::new()),
            _ => ("application/json", body.to_string()),
        };
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header(http::header::CONTENT_TYPE, kind).body(body.into_bytes());
        self.client.request(request.map_err(kube::Error::HttpError)?).await
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
