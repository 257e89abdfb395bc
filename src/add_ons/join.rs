//! Objects by which nodes of other hosts join: how the cluster is reached and what it is like, and what tokens and nodes
//! may do. They are made with the first token, so that a cluster that nobody joins shows nothing of itself. Names and
//! groups are kubeadm's where it has them, so that its tokens and this program's are alike.
use super::create;
use crate::cluster::Cluster;
use crate::cluster::state::Network;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::Api;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Group of the users of tokens, unless they name others.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers:kubeadm:default-node-token";
/// Name of the document in `kube-public` that tells where the API server is and whom it trusts.
pub const CLUSTER_INFO: &str = "cluster-info";
/// Name of the document in `kube-system` that tells what nodes must agree on.
pub const NODE_CONFIG: &str = "knarr-node-config";
/// Its key.
pub const NODE_CONFIG_KEY: &str = "config";
/// Role of those who may read it.
const READ_CONFIG: &str = "knarr:node-config";
const NODES: &str = "system:nodes";

/// What nodes of a cluster must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfig {
    /// Name of the cluster where it was made.
    pub cluster_name: String,
    /// Range of all pods.
    pub cluster_cidr: String,
    /// Range of virtual addresses.
    pub service_cidr: String,
    /// Addresses of the DNS service.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster's names.
    pub cluster_domain: String,
    /// How packets reach pods of other nodes.
    pub network: Network,
    /// URLs of all API servers.
    #[serde(default)]
    pub api_servers: Vec<String>,
}

/// The URL by which other hosts reach the API server; an error that says what to do where they do not.
pub fn server(cluster: &Cluster) -> Result<String> {
    let state = &cluster.state;
    if !state.runs_containers() {
        bail!("cluster {:?} has no network of pods that nodes could join", state.name);
    }
    if state.node_ip.is_loopback() || state.pod_networks().iter().any(|pods| pods.contains(&state.node_ip)) {
        bail!(
            "other hosts cannot reach the API server of cluster {:?} at {}: make the cluster with `knarr up --advertise-address IP`",
            state.name,
            state.node_ip
        );
    }
    Ok(format!("https://{}", std::net::SocketAddr::new(state.node_ip, state.ports.api)))
}

/// Makes what is missing.
pub async fn ensure(cluster: &Cluster, client: &Client) -> Result<()> {
    documents(cluster, client).await?;
    roles(client).await?;
    let system: Api<RoleBinding> = Api::namespaced(client.clone(), "kube-system");
    let public: Api<RoleBinding> = Api::namespaced(client.clone(), "kube-public");
    let controllers = user("system:kube-controller-manager");
    let signer = "system:controller:bootstrap-signer";
    for (api, name) in [(&public, signer), (&system, signer), (&system, "system:controller:token-cleaner")] {
        let bound = name.replace("system:", "knarr:");
        create(api, &local_binding(&bound, name, std::slice::from_ref(&controllers))?).await?;
    }
    let anonymous = [user("system:anonymous")];
    create(&public, &local_binding(CLUSTER_INFO_READERS, CLUSTER_INFO_READERS, &anonymous)?).await?;
    let readers = [group(BOOTSTRAPPERS), group(NODES)];
    create(&system, &local_binding(READ_CONFIG, READ_CONFIG, &readers)?).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let requests = "system:certificates.k8s.io:certificatesigningrequests";
    let approver = "system:certificates.k8s.io:kubelet-serving-approver";
    for (name, role, subject) in [
        ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", group(BOOTSTRAPPERS)),
        ("kubeadm:node-autoapprove-bootstrap", &format!("{requests}:nodeclient"), group(BOOTSTRAPPERS)),
        (
            "kubeadm:node-autoapprove-certificate-rotation",
            &format!("{requests}:selfnodeclient"),
            group(NODES),
        ),
        (GET_NODES, GET_NODES, group(BOOTSTRAPPERS)),
        ("knarr:kubelet-serving-approver", approver, controllers.clone()),
        ("knarr:nodes", super::NODE_NETWORK, group(NODES)),
        (LEAVE, LEAVE, group(NODES)),
    ] {
        create(&bindings, &cluster_binding(name, role, subject)?).await?;
    }
    Ok(())
}

const CLUSTER_INFO_READERS: &str = "kubeadm:bootstrap-signer-clusterinfo";
const GET_NODES: &str = "kubeadm:get-nodes";
/// Role by which a node removes its own object; the admission of nodes keeps it from others'.
const LEAVE: &str = "knarr:node-leave";

async fn roles(client: &Client) -> Result<()> {
    let public: Api<Role> = Api::namespaced(client.clone(), "kube-public");
    create(
        &public,
        &serde_json::from_value(role(CLUSTER_INFO_READERS, &[("configmaps", "get", &[CLUSTER_INFO])]))?,
    )
    .await?;
    let system: Api<Role> = Api::namespaced(client.clone(), "kube-system");
    create(&system, &serde_json::from_value(role(READ_CONFIG, &[("configmaps", "get", &[NODE_CONFIG])]))?)
        .await?;
    let roles: Api<ClusterRole> = Api::all(client.clone());
    for (name, verb) in [(GET_NODES, "get"), (LEAVE, "delete")] {
        create(&roles, &serde_json::from_value(role(name, &[("nodes", verb, &[])]))?).await?;
    }
    Ok(())
}

/// A role of one verb on each of some resources of the core group, or on objects of these names.
fn role(name: &str, rules: &[(&str, &str, &[&str])]) -> Value {
    let rule = |(resource, verb, names): &(&str, &str, &[&str])| {
        let mut rule = json!({"apiGroups": [""], "resources": [resource], "verbs": [verb]});
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rule
    };
    json!({"metadata": {"name": name}, "rules": rules.iter().map(rule).collect::<Vec<_>>()})
}

async fn documents(cluster: &Cluster, client: &Client) -> Result<()> {
    let ca = std::fs::read(cluster.paths.pki("ca.crt")).context("cannot read the cluster's authority")?;
    let public: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let info = json!({
        "metadata": {"name": CLUSTER_INFO},
        "data": {"kubeconfig": cluster_info(&server(cluster)?, &ca)?},
    });
    create(&public, &serde_json::from_value(info)?).await?;
    let system: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let config = serde_json::to_string(&node_config(cluster))?;
    let config = json!({"metadata": {"name": NODE_CONFIG}, "data": {NODE_CONFIG_KEY: config}});
    create(&system, &serde_json::from_value(config)?).await
}

fn node_config(cluster: &Cluster) -> NodeConfig {
    let state = &cluster.state;
    NodeConfig {
        cluster_name: state.name.clone(),
        cluster_cidr: state.cluster_cidr.clone(),
        service_cidr: state.service_cidr.clone(),
        cluster_dns: state.dns_ips(),
        cluster_domain: "cluster.local".to_owned(),
        network: state.network,
        api_servers: state
            .api_ports()
            .map(|port| format!("https://{}", std::net::SocketAddr::new(state.node_ip, port)))
            .collect(),
    }
}

/// A kubeconfig without a user, in YAML.
fn cluster_info(server: &str, ca: &[u8]) -> Result<String> {
    use base64::Engine;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    Ok(serde_yaml_ng::to_string(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": {"certificate-authority-data": ca, "server": server}}],
        "contexts": null,
        "current-context": "",
        "preferences": {},
        "users": null,
    }))?)
}

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

fn group(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name})
}

fn local_binding(name: &str, role: &str, subjects: &[Value]) -> Result<RoleBinding> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": subjects,
    }))?)
}

fn cluster_binding(name: &str, role: &str, subject: Value) -> Result<ClusterRoleBinding> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }))?)
}
