//! Objects that a cluster made by `up` has beside those the API server makes itself.
use crate::cluster::Cluster;
use crate::cluster::pki::SIMULATED;
use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

pub mod join;

/// What the proxy may look at beside Services.
const NODE_NETWORK: &str = "knarr:node-network";

/// Who may read how names outside the cluster are asked for.
const DNS_SETTINGS: &str = "knarr:dns-settings";

/// Time between two looks for a server that is restarting.
const LOOK: Duration = Duration::from_millis(50);

/// Makes those that are missing.
pub async fn ensure(cluster: &Cluster, client: &Client) -> Result<()> {
    controller_roles(client).await?;
    match cluster.state.simulated {
        Some(_) => simulated_role(client).await,
        None if cluster.state.api_only => Ok(()),
        None => node_objects(cluster, client).await,
    }
}

/// The same after the API server was started anew with an empty database: it waits until that is ready.
pub async fn renew(cluster: &Cluster) -> Result<()> {
    let client = knarr_component::client::connect(Some(&cluster.paths.kubeconfig("admin")), "cli").await?;
    while !is_ready(&client).await {
        tokio::time::sleep(LOOK).await; // nothing announces that a server is ready
    }
    ensure(cluster, &client).await
}

/// Whether the API server is ready.
pub async fn is_ready(client: &Client) -> bool {
    let request = http::Request::get("/readyz").body(Vec::new());
    match request {
        Ok(request) => client.request_text(request).await.is_ok(),
        Err(_) => false,
    }
}

/// Makes what is missing of a whole cluster: the DNS Service, the class of volumes that the built-in provisioner makes,
/// and what the API server may do to the kubelet.
async fn node_objects(cluster: &Cluster, client: &Client) -> Result<()> {
    let system: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    create(&system, &dns_service(cluster)?).await?;
    let classes: Api<StorageClass> = Api::all(client.clone());
    create(&classes, &standard_class()?).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let kubelet_admin =
        binding("knarr:kubelet-api-admin", "system:kubelet-api-admin", "kube-apiserver-kubelet-client")?;
    create(&bindings, &kubelet_admin).await?;
    create(&Api::all(client.clone()), &node_network()?).await?;
    let local: Api<Role> = Api::namespaced(client.clone(), "kube-system");
    create(&local, &dns_settings()?).await?;
    create(&Api::namespaced(client.clone(), "kube-system"), &dns_settings_readers()?).await?;
    create(&bindings, &binding(NODE_NETWORK, NODE_NETWORK, "system:kube-proxy")?).await
}

/// What a node's network follows: beside Services also what network policies speak of.
fn node_network() -> Result<ClusterRole> {
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": {"name": NODE_NETWORK},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "nodes", "namespaces", "pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["get", "list", "watch"]},
        ],
    }))?)
}

/// The ConfigMap that says whom nodes ask for names outside the cluster.
fn dns_settings() -> Result<Role> {
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": {"name": DNS_SETTINGS},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kube-dns"], "verbs": ["get", "list", "watch"]}],
    }))?)
}

fn dns_settings_readers() -> Result<RoleBinding> {
    let subject = |kind: &str, name: &str| serde_json::json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": {"name": DNS_SETTINGS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": DNS_SETTINGS},
        "subjects": [subject("User", "system:kube-proxy"), subject("Group", "system:nodes")],
    }))?)
}

/// What the process that keeps simulated nodes may do.
async fn simulated_role(client: &Client) -> Result<()> {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| serde_json::json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let role: ClusterRole = serde_json::from_value(serde_json::json!({
        "metadata": {"name": SIMULATED},
        "rules": [
            rule("", &["nodes"], &["create", "get"]),
            rule("", &["nodes/status", "pods/status"], &["patch"]),
            rule("", &["pods"], &["list", "watch", "delete"]),
            rule("coordination.k8s.io", &["leases"], &["create", "patch"]),
        ],
    }))?;
    create(&Api::all(client.clone()), &role).await?;
    create(&Api::all(client.clone()), &binding(SIMULATED, SIMULATED, SIMULATED)?).await
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
            "labels": {
                "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
            },
        },
        // Without a selector: every node answers by itself.
        "spec": {
            "clusterIP": cluster.state.dns_ip(),
            "clusterIPs": cluster.state.dns_ips(),
            "ipFamilyPolicy": if cluster.state.dns_ips().len() > 1 { "RequireDualStack" } else { "SingleStack" },
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    }))?)
}

fn standard_class() -> Result<StorageClass> {
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "knarr.dev/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
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
pub async fn create<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    if api.get_metadata_opt(&object.name_any()).await?.is_some() {
        return Ok(());
    }
    match api.create(&PostParams::default(), object).await {
        // A command and a supervisor may be at it together.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(|_| ())?),
    }
}
