//! What every cluster has from its start: namespaces, RBAC, priority classes, the published authentication settings.
//! Reconciled at every start; an object that is there is left as it is, but for RBAC, where what is missing is added.
use crate::authz;
use crate::loopback::Loopback;
use crate::objects::Objects;
use futures::StreamExt;
use ipnet::IpNet;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;
use std::net::SocketAddr;

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
    keep_map(client, "extension-apiserver-authentication", data, |found| found == data).await
}

/// Notes since which day (UTC) this cluster tells when tokens in Secrets were last used, for those who remove unused
/// ones (KEP-2799).
///
/// # Errors
/// A refusal.
pub async fn token_tracking(client: &Loopback, today: jiff::civil::Date) -> Result<(), Status> {
    let is_day = |found: &Value| {
        let since = found["since"].as_str().and_then(|text| text.parse::<jiff::civil::Date>().ok());
        since.is_some_and(|since| since <= today)
    };
    let data = json!({"since": today.to_string()});
    keep_map(client, "kube-apiserver-legacy-service-account-token-tracking", &data, is_day).await
}

/// Makes a config map of `kube-system`, or repairs one whose data will not do.
async fn keep_map(
    client: &Loopback,
    name: &str,
    data: &Value,
    will_do: impl Fn(&Value) -> bool,
) -> Result<(), Status> {
    let collection = "/api/v1/namespaces/kube-system/configmaps";
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": data,
    });
    // Looked for before it is made: this is done again and again, and a create that fails passes all of admission.
    let path = format!("{collection}/{name}");
    let mut found = match client.get(&path).await {
        Err(status) if status.code == 404 => {
            return accept_existing(client.create(collection, &object).await);
        }
        answer => answer?,
    };
    if will_do(&found["data"]) {
        return Ok(());
    }
    found["data"] = data.clone();
    client.update(&path, &found).await.map(drop)
}

/// Where this server is reached by members of the cluster.
#[derive(Clone, Debug)]
pub struct Advertised {
    /// Its own address and port.
    pub address: SocketAddr,
    /// The ranges of service addresses.
    pub ranges: Vec<IpNet>,
    /// False where another server of the same cluster publishes itself.
    pub publish: bool,
}

/// Publishes the server as the Service `default/kubernetes`, at the first address of the service range, with its
/// EndpointSlice and Endpoints; and the range itself as the ServiceCIDR `kubernetes`.
///
/// # Errors
/// The first refusal.
pub async fn kubernetes_service(client: &Loopback, advertised: &Advertised) -> Result<(), Status> {
    let cidrs: Vec<String> = advertised.ranges.iter().map(|range| range.trunc().to_string()).collect();
    let range = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": cidrs},
    });
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    ensure(client, ranges, &range, &[]).await?;
    mark_ready(client, &format!("{ranges}/kubernetes")).await?;
    if !advertised.publish {
        return Ok(());
    }
    let (address, port) = (advertised.address.ip(), advertised.address.port());
    let first = advertised.ranges.first().and_then(|range| range.hosts().next());
    let spec = json!({
        "type": "ClusterIP",
        "clusterIP": first.map(|ip| ip.to_string()),
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        "sessionAffinity": "None",
    });
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = object("v1", "Service", &labels, [("spec", spec)]);
    ensure(client, "/api/v1/namespaces/default/services", &service, &["/spec/ports"]).await?;
    if address.is_loopback() {
        // Endpoints may not be loopback addresses: pods could not reach them.
        return Ok(());
    }
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let labels = json!({"kubernetes.io/service-name": "kubernetes"});
    let slice = object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        &labels,
        [
            ("addressType", json!(if address.is_ipv4() { "IPv4" } else { "IPv6" })),
            ("endpoints", json!([{"addresses": [address.to_string()], "conditions": {"ready": true}}])),
            ("ports", ports.clone()),
        ],
    );
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    ensure(client, slices, &slice, &["/endpoints/0/addresses", "/ports"]).await?;
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let subsets = json!([{"addresses": [{"ip": address.to_string()}], "ports": ports}]);
    let endpoints = object("v1", "Endpoints", &labels, [("subsets", subsets)]);
    ensure(client, "/api/v1/namespaces/default/endpoints", &endpoints, &["/subsets"]).await
}

fn object<const N: usize>(version: &str, kind: &str, labels: &Value, members: [(&str, Value); N]) -> Value {
    let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": labels});
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata});
    for (name, value) in members {
        object[name] = value;
    }
    object
}

/// Creates an object, or brings these parts of the one that is there to what is wanted.
pub(crate) async fn ensure(
    client: &Loopback,
    collection: &str,
    object: &Value,
    parts: &[&str],
) -> Result<(), Status> {
    let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
    let mut found = match client.get(&path).await {
        Err(status) if status.code == 404 => return accept_existing(client.create(collection, object).await),
        answer => answer?,
    };
    let mut changed = false;
    for part in parts {
        let (Some(wanted), Some(part)) = (object.pointer(part), found.pointer_mut(part)) else { continue };
        if !contains(part, wanted) {
            *part = wanted.clone();
            changed = true;
        }
    }
    if changed { client.update(&path, &found).await.map(drop) } else { Ok(()) }
}

/// Is everything wanted there? What defaults added beside it does not count.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| contains(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// Sets the condition `Ready`, once: the range is this server's own.
async fn mark_ready(client: &Loopback, path: &str) -> Result<(), Status> {
    let mut range = client.get(path).await?;
    if range["status"]["conditions"].as_array().is_some_and(|conditions| !conditions.is_empty()) {
        return Ok(());
    }
    range["status"] = json!({"conditions": [{
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes Service CIDR is ready",
        "lastTransitionTime": crate::clock::now_rfc3339(),
    }]});
    client.update(&format!("{path}/status"), &range).await.map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_there() {
        let check =
            |found: Value, wanted: Value, expected: bool| assert_eq!(contains(&found, &wanted), expected);
        check(json!([{"a": 1, "b": 2}]), json!([{"a": 1}]), true);
        check(json!([{"a": 1}, {"a": 2}]), json!([{"a": 1}]), false);
        check(json!({"a": 2}), json!({"a": 1}), false);
    }
}
