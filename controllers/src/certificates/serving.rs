//! Approves requests of kubelets for the certificate that they serve with, which the original leaves to the
//! administrator: nodes that join by a token need one that the API server trusts.
//!
//! A node gets names that its Node object has, since the API server reaches it by these, and none by which clients know
//! the API server: a node may write its own addresses, and must not come by the certificate of another server.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use k8s_openapi::api::{
    certificates::v1::CertificateSigningRequest, core::v1::Node, discovery::v1::EndpointSlice,
    networking::v1::ServiceCIDR,
};
use knarr_component::{informer::Informer, runner::SyncResult, store::Key};
use kube::api::{ListParams, PostParams};

use super::{KUBELET_SERVING, has, is_issued, queue_of, request::Request, with_condition};
use crate::{context::Context, meta::ignore_absent, meta::name};

const TEXT: &str = "Auto approving kubelet serving certificate: its names are those of the node.";
/// Selects where the API server is reached: the slices of the Service `kubernetes`.
const API_SERVER: &str = "kubernetes.io/service-name=kubernetes";

/// What a request is judged by besides itself.
struct World<'a> {
    nodes: &'a [Arc<Node>],
    /// Ranges of virtual addresses.
    services: &'a [IpNet],
    /// Where the API server is reached.
    api_servers: &'a BTreeSet<IpAddr>,
}

/// Whether a request is one of a node for itself.
fn is_of_node(csr: &CertificateSigningRequest, request: &Request) -> bool {
    let usages: Vec<&str> = csr.spec.usages.iter().flatten().map(String::as_str).collect();
    csr.spec.signer_name == KUBELET_SERVING
        && request.check(KUBELET_SERVING, &usages).is_ok()
        && csr.spec.username.as_deref() == Some(&request.common_name)
        && csr.spec.groups.iter().flatten().any(|group| group == "system:nodes")
}

/// Why a node does not get the names that it asks for.
fn judge(request: &Request, world: &World<'_>) -> Result<(), String> {
    let own = request.common_name.trim_start_matches("system:node:");
    let node = world.nodes.iter().find(|node| name(&node.metadata) == own);
    let node = node.ok_or_else(|| format!("there is no node {own:?} yet"))?;
    let known = addresses(node);
    for wanted in &request.dns_names {
        let is_server = wanted == "localhost" || wanted == "kubernetes" || wanted.starts_with("kubernetes.");
        if is_server || (wanted != own && !known.contains(wanted)) {
            return Err(format!("{wanted:?} is no name of node {own:?}"));
        }
    }
    for wanted in &request.addresses {
        let is_other = world
            .nodes
            .iter()
            .any(|other| name(&other.metadata) != own && addresses(other).contains(&wanted.to_string()));
        // Where API server and kubelet share a host, who has its address has its keys: it asks for nothing.
        let is_server = world.services.iter().any(|range| range.contains(wanted))
            || world.api_servers.contains(wanted)
            || wanted.is_loopback()
            || wanted.is_unspecified();
        if is_other || is_server || !known.contains(&wanted.to_string()) {
            return Err(format!("{wanted} is no address of node {own:?} alone"));
        }
    }
    Ok(())
}

fn addresses(node: &Node) -> BTreeSet<String> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.map(|address| address.address.clone()).collect()
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let requests: Informer<CertificateSigningRequest> = context.informers.get();
    let nodes: Informer<Node> = context.informers.get();
    let queue = queue_of(&requests);
    let (this, synced) = (context.clone(), {
        let (requests, nodes) = (requests.synced(), nodes.synced());
        async {
            futures::join!(requests, nodes);
        }
    });
    context
        .work("kubelet-serving-approving-controller", synced, queue, 1, move |key| {
            let (context, requests, nodes) = (this.clone(), requests.clone(), nodes.clone());
            async move { sync(&context, &requests, &nodes, &key).await }
        })
        .await
}

async fn sync(
    context: &Context,
    requests: &Informer<CertificateSigningRequest>,
    nodes: &Informer<Node>,
    key: &Key,
) -> SyncResult {
    let Some(csr) = requests.get(key) else { return Ok(None) };
    if is_issued(&csr) || has(&csr, "Approved") || has(&csr, "Denied") {
        return Ok(None);
    }
    let Ok(request) = Request::parse(&csr.spec.request.0) else { return Ok(None) };
    if !is_of_node(&csr, &request) {
        return Ok(None);
    }
    let ranges = context.api_all::<ServiceCIDR>().list(&ListParams::default()).await?;
    let ranges: Vec<IpNet> = ranges
        .items
        .iter()
        .filter_map(|range| range.spec.as_ref()?.cidrs.as_ref())
        .flatten()
        .filter_map(|text| text.parse().ok())
        .collect();
    let slices =
        context.api::<EndpointSlice>("default").list(&ListParams::default().labels(API_SERVER)).await?;
    let endpoints =
        slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten()).flat_map(|e| &e.addresses);
    let api_servers = endpoints.filter_map(|address| address.parse().ok()).collect();
    let nodes = nodes.list();
    let world = World { nodes: &nodes, services: &ranges, api_servers: &api_servers };
    if let Err(cause) = judge(&request, &world) {
        // A node that has just joined is registered soon, so it is tried again.
        anyhow::bail!(
            "request {:?} for a serving certificate is left to the administrator: {cause}",
            key.name
        );
    }
    let approved = with_condition((*csr).clone(), "Approved", "AutoApproved", TEXT);
    let api = context.api_all::<CertificateSigningRequest>();
    ignore_absent(api.replace_subresource("approval", &key.name, &PostParams::default(), &approved).await)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, address: &str) -> Arc<Node> {
        let addresses =
            json!([{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]);
        let object = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn names_are_the_nodes_own() {
        let nodes =
            [node("n1", "192.0.2.1"), node("n2", "192.0.2.2"), node("kubernetes.default", "10.43.0.1")];
        let world = World {
            nodes: &nodes,
            services: &["10.43.0.0/16".parse().unwrap()],
            api_servers: &BTreeSet::from(["192.0.2.1".parse().unwrap()]),
        };
        let check = |node: &str, names: &[&str], addresses: &[&str], expected: bool| {
            let request = Request {
                common_name: format!("system:node:{node}"),
                dns_names: names.iter().map(|name| (*name).to_string()).collect(),
                addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
                ..Request::default()
            };
            assert_eq!(judge(&request, &world).is_ok(), expected, "{node} {names:?} {addresses:?}");
        };
        check("n2", &["n2"], &["192.0.2.2"], true);
        check("n2", &["n1"], &["192.0.2.2"], false);
        check("n2", &["n2"], &["192.0.2.9"], false);
        check("n2", &["n2"], &["192.0.2.1"], false);
        check("n2", &["localhost"], &[], false);
        check("n3", &["n3"], &[], false);
        // Names and addresses of the API server, which a node has given itself.
        check("n1", &["n1"], &["192.0.2.1"], false);
        check("kubernetes.default", &["kubernetes.default"], &[], false);
        check("kubernetes.default", &[], &["10.43.0.1"], false);
    }

    #[test]
    fn only_nodes_ask_for_themselves() {
        let request = Request {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            dns_names: vec!["n1".into()],
            ..Request::default()
        };
        let check = |signer: &str, user: &str, groups: &[&str], expected: bool| {
            let object = json!({"metadata": {"name": "r"}, "spec": {"request": "", "signerName": signer, "username": user,
                "groups": groups, "usages": ["digital signature", "server auth"]}});
            let csr: CertificateSigningRequest = serde_json::from_value(object).unwrap();
            assert_eq!(is_of_node(&csr, &request), expected, "{signer} {user} {groups:?}");
        };
        let groups = ["system:nodes", "system:authenticated"];
        check(KUBELET_SERVING, "system:node:n1", &groups, true);
        check(KUBELET_SERVING, "system:node:n2", &groups, false);
        check(KUBELET_SERVING, "system:node:n1", &groups[1..], false);
        check("example.com/x", "system:node:n1", &groups, false);
    }
}
