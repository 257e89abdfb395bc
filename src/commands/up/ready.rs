//! Waiting until a cluster can be used: the API server is ready, the node too, and DNS answers.
use crate::cluster::Cluster;
use crate::progress::Progress;
use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
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
        controller_roles(&client).await?;
        if cluster.state.api_only {
            return Ok(());
        }
        add_ons(cluster, &client).await?;
        progress.step("Waiting for the node");
        node(cluster, &client).await?;
        progress.step("Waiting for DNS");
        dns::answers(SocketAddr::from((cluster.state.dns_ip(), 53)), "kubernetes.default.svc.cluster.local.")
            .await
    }

    async fn api_server(&self, client: &Client) -> Result<()> {
        loop {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            if client.request_text(request).await.is_ok() {
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

async fn node(cluster: &Cluster, client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={}", cluster.state.node_name));
    let mut events = watcher(nodes, config).default_backoff().applied_objects().boxed();
    while let Some(node) = events.try_next().await? {
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            return Ok(());
        }
    }
    bail!("the watch of the node ended")
}

/// Objects that a cluster made by `up` has beside those the API server makes itself.
async fn add_ons(cluster: &Cluster, client: &Client) -> Result<()> {
    let system: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    create(&system, &dns_service(cluster)?).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let kubelet_admin =
        binding("knarr:kubelet-api-admin", "system:kubelet-api-admin", "kube-apiserver-kubelet-client")?;
    create(&bindings, &kubelet_admin).await
}

/// One process runs all controllers under one name, so that name holds every controller's role.
async fn controller_roles(client: &Client) -> Result<()> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let roles: Api<ClusterRole> = Api::all(client.clone());
    for role in roles.list(&ListParams::default()).await? {
        let role = role.name_any();
        if let Some(controller) = role.strip_prefix("system:controller:") {
            let name = format!("knarr:controller:{controller}");
            create(&bindings, &binding(&name, &role, "system:kube-controller-manager")?).await?;
        }
    }
    Ok(())
}

fn dns_service(cluster: &Cluster) -> Result<Service> {
    let port =
        |name: &str, protocol: &str| serde_json::json!({"name": name, "port": 53, "protocol": protocol});
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": "kube-dns",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
        },
        // Without a selector: every node answers by itself.
        "spec": {
            "clusterIP": cluster.state.dns_ip().to_string(),
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    }))?)
}

fn binding(name: &str, role: &str, user: &str) -> Result<ClusterRoleBinding> {
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }))?)
}

/// Creates an object unless it is there: a Service that exists is refused for its address before its name.
async fn create<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    if api.get_metadata_opt(&object.name_any()).await?.is_none() {
        api.create(&PostParams::default(), object).await?;
    }
    Ok(())
}
