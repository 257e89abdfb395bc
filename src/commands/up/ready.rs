//! Waiting until a cluster can be used: the API server is ready, the node too, and DNS answers.
use crate::add_ons;
use crate::cluster::Cluster;
use crate::progress::Progress;
use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

mod dns;

/// Starts of the API server that fail before it is given up: the first may only have met a port that another program
/// held for a moment.
const ATTEMPTS: usize = 3;

/// The API server ended by itself: waiting longer cannot help.
#[derive(Debug, thiserror::Error)]
#[error("the API server cannot start: {0}")]
pub struct Hopeless(String);

/// One start of a cluster, begun before its processes are.
pub struct Attempt {
    log: PathBuf,
    /// How much of the API server's log is of earlier starts.
    before: u64,
}

impl Attempt {
    /// Notes where the log of the API server stands.
    pub fn new(cluster: &Cluster) -> Self {
        let log = cluster.paths.log("apiserver");
        let before = std::fs::metadata(&log).map_or(0, |file| file.len());
        Self { log, before }
    }

    /// Waits for everything, without a limit of its own; says where it stands.
    pub async fn wait(&self, cluster: &Cluster, progress: &mut Progress) -> Result<()> {
        progress.step("Waiting for the API server");
        let client =
            knarr_component::client::connect(Some(&cluster.paths.kubeconfig("admin")), "cli").await?;
        self.api_server(&client).await?;
        for nth in 2..=cluster.server_urls().len() {
            let file = cluster.paths.kubeconfig(&format!("admin-{nth}"));
            self.api_server(&knarr_component::client::connect(Some(&file), "cli").await?).await?;
        }
        add_ons::ensure(cluster, &client).await?;
        if cluster.state.api_only {
            return Ok(());
        }
        if let Some(simulated) = cluster.state.simulated {
            progress.step(&format!("Waiting for {} nodes", simulated.nodes));
            return nodes(&client, watcher::Config::default(), simulated.nodes as usize).await;
        }
        progress.step("Waiting for the node");
        let config = watcher::Config::default().fields(&format!("metadata.name={}", cluster.state.node_name));
        nodes(&client, config, 1).await?;
        progress.step("Waiting for DNS");
        dns::answers(SocketAddr::from((cluster.state.dns_ip(), 53)), "kubernetes.default.svc.cluster.local.")
            .await
    }

    async fn api_server(&self, client: &Client) -> Result<()> {
        loop {
            if add_ons::is_ready(client).await {
                return Ok(());
            }
            if let Some(reason) = self.last_words() {
                bail!(Hopeless(reason));
            }
            // The server is starting: nothing to watch yet.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Why the API server ends again and again, as a component's process says it with its last line.
    fn last_words(&self) -> Option<String> {
        let mut log = File::open(&self.log).ok()?;
        log.seek(SeekFrom::Start(self.before)).ok()?;
        let mut text = String::new();
        log.read_to_string(&mut text).ok()?;
        let mut ends = text.lines().filter_map(|line| line.strip_prefix("error: "));
        ends.nth(ATTEMPTS - 1).map(str::to_owned)
    }
}

/// Waits until so many of these nodes are ready.
pub async fn nodes(client: &Client, config: watcher::Config, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut ready = HashSet::new();
    let mut events = watcher(nodes, config).default_backoff().applied_objects().boxed();
    while let Some(node) = events.try_next().await? {
        let name = node.name_any();
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            ready.insert(name);
        }
        if ready.len() >= count {
            return Ok(());
        }
    }
    bail!("the watch of the nodes ended")
}
