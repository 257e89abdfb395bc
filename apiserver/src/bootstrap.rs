//! What every cluster has from its start: namespaces, RBAC, priority classes, the published authentication settings.
//! Reconciled at every start; an object that is there is left as it is, but for RBAC, where what is missing is added.
use crate::authz;
use crate::loopback::Loopback;
use crate::objects::Objects;
use futures::StreamExt;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;

/// Requests at once: they share commits.
const PARALLEL: usize = 64;
const RBAC_PATH: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Creates the four namespaces of the system.
///
/// # Errors
/// The first refusal.
pub async fn namespaces(client: &Loopback) -> Result<(), Status> {
    let objects = ["default", "kube-node-lease", "kube-public", "kube-system"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    create_all(client, objects.into_iter().map(|object| ("/api/v1/namespaces".to_owned(), object))).await
}

/// Creates the two priority classes of system pods.
///
/// # Errors
/// The first refusal.
pub async fn priority_classes(client: &Loopback) -> Result<(), Status> {
    let class = |name: &str, value: i64, description: &str| {
        let object = json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        });
        ("/apis/scheduling.k8s.io/v1/priorityclasses".to_owned(), object)
    };
    let node = "Used for system critical pods that must not be moved from their current node.";
    let cluster = "Used for system critical pods that must run in the cluster, but can be moved to another node if \
                   necessary.";
    create_all(
        client,
        [
            class("system-node-critical", 2_000_001_000, node),
            class("system-cluster-critical", 2_000_000_000, cluster),
        ],
    )
    .await
}

/// Brings roles and bindings to what the table says at least.
///
/// # Errors
/// The first refusal.
pub async fn rbac(client: &Loopback, objects: &dyn Objects) -> Result<(), Status> {
    let wanted = authz::bootstrap::objects();
    let (bindings, roles): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|w| w.object.get("roleRef").is_some());
    for stage in [roles, bindings] {
        let work = stage.into_iter().map(|wanted| reconcile(client, objects, wanted));
        let results: Vec<Result<(), Status>> =
            futures::stream::iter(work).buffer_unordered(PARALLEL).collect().await;
        results.into_iter().collect::<Result<(), Status>>()?;
    }
    Ok(())
}

async fn reconcile(
    client: &Loopback,
    objects: &dyn Objects,
    wanted: authz::bootstrap::Wanted,
) -> Result<(), Status> {
    let collection = match wanted.namespace.as_str() {
        "" => format!("{RBAC_PATH}/{}", wanted.resource),
        namespace => format!("{RBAC_PATH}/namespaces/{namespace}/{}", wanted.resource),
    };
    match objects.get(authz::rbac::GROUP, wanted.resource, &wanted.namespace, wanted.name()) {
        None => accept_existing(client.create(&collection, &wanted.object).await),
        Some(_) => {
            let path = format!("{collection}/{}", wanted.name());
            let found = client.get(&path).await?;
            match authz::bootstrap::reconcile(&wanted.object, &found) {
                Some(next) => client.update(&path, &next).await.map(drop),
                None => Ok(()),
            }
        }
    }
}

/// Publishes how this server authenticates, for the API servers behind it.
///
/// # Errors
/// A refusal.
pub async fn authentication_settings(client: &Loopback, data: &Value) -> Result<(), Status> {
    let collection = "/api/v1/namespaces/kube-system/configmaps";
    let name = "extension-apiserver-authentication";
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": data,
    });
    match client.create(collection, &object).await {
        Err(status) if status.code == 409 => {
            let path = format!("{collection}/{name}");
            let mut found = client.get(&path).await?;
            if found["data"] == *data {
                return Ok(());
            }
            found["data"] = data.clone();
            client.update(&path, &found).await.map(drop)
        }
        answer => answer.map(drop),
    }
}

async fn create_all(
    client: &Loopback,
    objects: impl IntoIterator<Item = (String, Value)>,
) -> Result<(), Status> {
    let work = objects.into_iter().map(|(path, object)| async move {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match client.get(&format!("{path}/{name}")).await {
            Err(status) if status.code == 404 => accept_existing(client.create(&path, &object).await),
            answer => answer.map(drop),
        }
    });
    let results: Vec<Result<(), Status>> =
        futures::stream::iter(work).buffer_unordered(PARALLEL).collect().await;
    results.into_iter().collect()
}

/// Another server of the cluster may have been faster.
fn accept_existing(answer: Result<Value, Status>) -> Result<(), Status> {
    match answer {
        Err(status) if status.code == 409 => Ok(()),
        answer => answer.map(drop),
    }
}
