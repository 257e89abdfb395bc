//! The node object: registration, status and heartbeat.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::csi::node::CsiNodeKeeper;
use crate::manager::Manager;
use crate::pleg::Pulse;
use crate::runtime::types::{Image, VersionResponse};
use crate::shutdown;

pub mod heartbeat;
pub mod machine;
pub mod news;
pub mod status;
pub mod usage;

use machine::Machine;
use news::NodeEvents;
use status::{Health, Known};

/// How often the node's state is looked at once it is ready.
const PERIOD: Duration = Duration::from_secs(10);
/// How often before that.
const IMPATIENT: Duration = Duration::from_millis(100);
/// How often the status is written when nothing changes.
const REPORT: Duration = Duration::from_secs(300);

/// Keeps the node object.
pub struct NodeKeeper {
    /// The API server.
    pub client: Client,
    /// Name of the node.
    pub name: String,
    /// The machine.
    pub machine: Machine,
    /// The pods.
    pub manager: Arc<Manager>,
    /// Whether the runtime is alive.
    pub pulse: Arc<Pulse>,
    /// Whether to make the object.
    pub register: bool,
    /// Labels from the flags.
    pub labels: BTreeMap<String, String>,
    /// Taints from the flags, as text.
    pub taints: Vec<String>,
    /// A cloud controller manager prepares the node.
    pub cloud: bool,
    /// Addresses from the flags.
    pub given_addresses: Vec<IpAddr>,
    /// Port of the kubelet's server.
    pub port: u16,
    /// How many pods fit.
    pub max_pods: usize,
    /// The runtime's name and version.
    pub version: VersionResponse,
}

impl NodeKeeper {
    /// Registers the node and keeps its status until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut pause = IMPATIENT;
        let mut node = loop {
            match self.registered(&api).await {
                Ok(node) => break node,
                Err(error) => tracing::info!(%error, "node not registered yet"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(1)),
            }
        };
        tracing::info!(node = self.name, "node registered");
        let mut events = NodeEvents::starting(&self.manager.context().events, &self.name);
        tokio::spawn(heartbeat::run(self.client.clone(), node.clone(), stop.clone()));
        let mut written: Option<(NodeStatus, Instant)> = None;
        let mut told: Option<String> = None;
        let csi = Arc::clone(&self.manager.context().csi);
        let mut volumes = csi.in_use();
        let shutdown = Arc::clone(&self.manager.context().shutdown);
        let mut devices = self.manager.context().grants.devices.amounts();
        let csi_node = CsiNodeKeeper { client: self.client.clone(), name: self.name.clone() };
        if let Err(error) = csi_node.ensure().await {
            tracing::warn!(%error, "CSINode not made");
        }
        // What others change in it is followed by `api::node`.
        self.manager.set_node(&node);
        loop {
            let in_use = volumes.borrow_and_update().clone();
            devices.mark_unchanged();
            let health = self.health().await;
            let ready = health.problem.is_none();
            if let Some(problem) = health.problem.as_ref().filter(|problem| told.as_ref() != Some(problem)) {
                tracing::info!(problem, "node is not ready");
            }
            told.clone_from(&health.problem);
            if ready && written.is_some() {
                // What others wrote meanwhile: labels, and that the node was given up while it could not be reached.
                match api.get_opt(&self.name).await {
                    Ok(Some(fresh)) => node = fresh,
                    Ok(None) => {}
                    Err(error) => tracing::info!(%error, "the node's object cannot be read"),
                }
            }
            events.cordon(&node);
            let images = self.images().await;
            let mut now = self.compute(&node, &health, images);
            now.volumes_in_use = Some(in_use.iter().cloned().collect());
            let due = !status::has_conditions(node.status.as_ref(), &now)
                || written.as_ref().is_none_or(|(old, at)| {
                    at.elapsed() >= REPORT || status::without_times(old) != status::without_times(&now)
                });
            if due {
                match self.write(&api, &now, node.status.as_ref()).await {
                    Ok(fresh) => {
                        if ready && written.as_ref().is_none_or(|(old, _)| !status::is_ready(old)) {
                            tracing::info!(node = self.name, "node is ready");
                        }
                        events.status(node.status.as_ref(), &now, written.is_none());
                        node = fresh;
                        written = Some((now, Instant::now()));
                        csi.set_reported(in_use);
                    }
                    Err(kube::Error::Api(answer)) if answer.code == 404 => {
                        // Someone deleted the node; it lives, so it comes back.
                        if let Ok(fresh) = self.registered(&api).await {
                            node = fresh;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "node status not written"),
                }
            }
            let period = if ready { PERIOD } else { IMPATIENT };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = volumes.changed() => {}
                _ = devices.changed() => {}
                () = shutdown.changed.notified() => {}
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    /// The node's object, made if need be; labels of ours are put right.
    async fn registered(&self, api: &Api<Node>) -> Result<Node, kube::Error> {
        if let Some(node) = api.get_opt(&self.name).await? {
            let labels = self.all_labels();
            let old = node.metadata.labels.clone().unwrap_or_default();
            if labels.iter().all(|(key, value)| old.get(key) == Some(value)) {
                return Ok(node);
            }
            let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
            return api.patch(&self.name, &PatchParams::default(), &patch).await;
        }
        if !self.register {
            // Somebody else makes it; say so in the way of the API.
            return api.get(&self.name).await;
        }
        let health = self.health().await;
        let mut node = Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.all_labels()),
                annotations: Some(annotations(self.cloud, &self.given_addresses)),
                ..Default::default()
            },
            spec: Some(NodeSpec {
                taints: Some(first_taints(&self.taints, self.cloud)).filter(|taints| !taints.is_empty()),
                ..Default::default()
            }),
            status: None,
        };
        node.status = Some(self.compute(&node, &health, Vec::new()));
        let mut node = api.create(&PostParams::default(), &node).await?;
        // All of it is news.
        node.status = None;
        Ok(node)
    }

    fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = status::labels(&self.name);
        labels.extend(self.labels.clone());
        labels
    }

    async fn health(&self) -> Health {
        let context = self.manager.context();
        if context.shutdown.has_begun() {
            return Health { problem: Some(shutdown::PROBLEM.to_owned()), runtime: None };
        }
        status::health(context.runtime.as_ref(), &self.pulse).await
    }

    async fn images(&self) -> Vec<Image> {
        self.manager.context().runtime.list_images().await.unwrap_or_default()
    }

    fn compute(&self, node: &Node, health: &Health, images: Vec<Image>) -> NodeStatus {
        let mut status = status::compute(&Known {
            old: node.status.as_ref(),
            machine: &self.machine,
            facts: &self.manager.context().facts,
            version: &self.version,
            port: self.port,
            max_pods: self.max_pods,
            health,
            pressures: self.manager.context().evictions.pressures(),
            devices: self.manager.context().grants.devices.amounts().borrow().clone(),
            images,
            now: Timestamp::now(),
        });
        let set = node.status.as_ref().and_then(|status| status.addresses.as_ref());
        if let Some(set) = set.filter(|set| self.cloud && !set.is_empty()) {
            status.addresses = Some(set.clone());
        }
        status
    }

    async fn write(
        &self,
        api: &Api<Node>,
        status: &NodeStatus,
        old: Option<&NodeStatus>,
    ) -> Result<Node, kube::Error> {
        let patch = Patch::Strategic(status_patch(status, old));
        api.patch_status(&self.name, &PatchParams::default(), &patch).await
    }
}

/// The status as a patch. Addresses are replaced as a whole: patches tell them apart by their type, of which a node with
/// both families has several. Resources that are no more are taken away.
fn status_patch(status: &NodeStatus, old: Option<&NodeStatus>) -> Value {
    let mut patch = json!({ "status": status });
    if let Some(Value::Array(addresses)) = patch.pointer_mut("/status/addresses") {
        addresses.push(json!({ "$patch": "replace" }));
    }
    if let Some(allocatable) = patch.pointer_mut("/status/allocatable").and_then(Value::as_object_mut) {
        for name in old.and_then(|old| old.allocatable.as_ref()).into_iter().flat_map(BTreeMap::keys) {
            allocatable.entry(name).or_insert(Value::Null);
        }
    }
    patch
}

/// Taint of a node that its cloud has not prepared yet.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule";
/// Annotation by which the cloud's addresses are checked.
const GIVEN_ADDRESSES: &str = "alpha.kubernetes.io/provided-node-ip";

/// Annotations of a new node.
fn annotations(cloud: bool, given: &[IpAddr]) -> BTreeMap<String, String> {
    let attach = ("volumes.kubernetes.io/controller-managed-attach-detach", "true".to_owned());
    let texts: Vec<String> = given.iter().map(ToString::to_string).collect();
    let given = (cloud && !texts.is_empty()).then(|| (GIVEN_ADDRESSES, texts.join(",")));
    std::iter::once(attach).chain(given).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Taints of a new node.
fn first_taints(flags: &[String], cloud: bool) -> Vec<Taint> {
    let flags = flags.iter().map(String::as_str);
    flags.chain(cloud.then_some(UNINITIALIZED)).filter_map(taint).collect()
}

/// `key=value:effect` or `key:effect`.
fn taint(text: &str) -> Option<Taint> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').map_or((rest, None), |(key, value)| (key, Some(value)));
    Some(Taint {
        key: key.to_owned(),
        value: value.filter(|value| !value.is_empty()).map(str::to_owned),
        effect: effect.to_owned(),
        time_added: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NodeAddress;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    #[test]
    fn clouds_prepare_new_nodes() {
        let keys = |cloud| -> Vec<String> {
            let flags = ["a=b:NoExecute".to_owned()];
            first_taints(&flags, cloud).into_iter().map(|taint| taint.key).collect()
        };
        assert_eq!(keys(false), ["a"]);
        assert_eq!(keys(true), ["a", "node.cloudprovider.kubernetes.io/uninitialized"]);
        let given = ["10.0.0.1".parse().unwrap()];
        assert_eq!(annotations(true, &given)[GIVEN_ADDRESSES], "10.0.0.1");
        assert!(!annotations(false, &given).contains_key(GIVEN_ADDRESSES));
        assert!(!annotations(true, &[]).contains_key(GIVEN_ADDRESSES));
    }

    #[test]
    fn addresses_of_one_type_are_not_merged() {
        let of = |address: &str| NodeAddress { type_: "InternalIP".to_owned(), address: address.to_owned() };
        let status =
            NodeStatus { addresses: Some(vec![of("10.0.0.1"), of("fd00::1")]), ..Default::default() };
        let patch = status_patch(&status, None);
        let addresses = patch["status"]["addresses"].as_array().expect("a list");
        assert_eq!((addresses.len(), &addresses[2]), (3, &json!({"$patch": "replace"})));
    }

    #[test]
    fn resources_that_are_no_more_are_taken_away() {
        let of = |names: &[&str]| {
            let amounts = names.iter().map(|name| ((*name).to_owned(), Quantity("1".to_owned())));
            NodeStatus { allocatable: Some(amounts.collect()), ..Default::default() }
        };
        let patch = status_patch(&of(&["cpu", "x.y/a"]), Some(&of(&["cpu", "x.y/b"])));
        let expected = json!({"cpu": "1", "x.y/a": "1", "x.y/b": null});
        assert_eq!(patch["status"]["allocatable"], expected);
    }

    #[test]
    fn taints() {
        let check = |text: &str, expected: Option<(&str, Option<&str>, &str)>| {
            let got = taint(text);
            let got = got.as_ref().map(|t| (t.key.as_str(), t.value.as_deref(), t.effect.as_str()));
            assert_eq!(got, expected, "{text}");
        };
        check("a=b:NoSchedule", Some(("a", Some("b"), "NoSchedule")));
        check("a:NoExecute", Some(("a", None, "NoExecute")));
        check("a", None);
    }
}
