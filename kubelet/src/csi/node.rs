//! What the cluster knows of a node's drivers: its CSINode, and labels and an annotation of the node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::messages::NodeGetInfoResponse;

/// Annotation of a node: what drivers call it, by driver, as JSON.
const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";
/// How often a change is tried again that met another.
const ATTEMPTS: usize = 5;

/// Keeps a node's CSINode.
pub struct CsiNodeKeeper {
    /// The API server.
    pub client: Client,
    /// The node.
    pub name: String,
}

impl CsiNodeKeeper {
    /// Tells the cluster of a driver.
    pub async fn announce(&self, driver: &str, info: NodeGetInfoResponse) -> Result<(), kube::Error> {
        let segments = info.accessible_topology.unwrap_or_default().segments;
        let entry = CSINodeDriver {
            name: driver.to_owned(),
            node_id: info.node_id.clone(),
            topology_keys: Some(segments.keys().cloned().collect()),
            allocatable: i32::try_from(info.max_volumes_per_node)
                .ok()
                .filter(|count| *count > 0)
                .map(|count| VolumeNodeResources { count: Some(count) }),
        };
        self.change_node(driver, Some(&info.node_id), &segments).await?;
        self.change(|drivers| {
            drivers.retain(|known| known.name != driver);
            drivers.push(entry.clone());
        })
        .await
    }

    /// Tells the cluster that a driver is gone.
    pub async fn withdraw(&self, driver: &str) -> Result<(), kube::Error> {
        self.change(|drivers| drivers.retain(|known| known.name != driver)).await?;
        self.change_node(driver, None, &BTreeMap::new()).await
    }

    /// Makes the node's object if it is not there.
    pub async fn ensure(&self) -> Result<(), kube::Error> {
        self.change(|_| {}).await
    }

    async fn change(&self, apply: impl Fn(&mut Vec<CSINodeDriver>)) -> Result<(), kube::Error> {
        let api: Api<CSINode> = Api::all(self.client.clone());
        let mut attempt = 0;
        loop {
            let outcome = match api.get_opt(&self.name).await? {
                Some(mut found) => {
                    let before = found.spec.drivers.clone();
                    apply(&mut found.spec.drivers);
                    if found.spec.drivers == before {
                        return Ok(());
                    }
                    api.replace(&self.name, &PostParams::default(), &found).await
                }
                None => {
                    let mut made = self.empty().await?;
                    apply(&mut made.spec.drivers);
                    api.create(&PostParams::default(), &made).await
                }
            };
            attempt += 1;
            match outcome {
                Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }

    async fn empty(&self) -> Result<CSINode, kube::Error> {
        let node = Api::<Node>::all(self.client.clone()).get(&self.name).await?;
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.name.clone(),
            uid: node.metadata.uid.unwrap_or_default(),
            ..Default::default()
        };
        Ok(CSINode {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                owner_references: Some(vec![owner]),
                ..Default::default()
            },
            spec: CSINodeSpec { drivers: Vec::new() },
        })
    }

    /// The node's annotation, and its labels for where the driver says it is.
    async fn change_node(
        &self,
        driver: &str,
        id: Option<&str>,
        segments: &BTreeMap<String, String>,
    ) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = api.get(&self.name).await?;
        let annotations = node.metadata.annotations.unwrap_or_default();
        let old = annotations.get(NODE_IDS).map(String::as_str);
        let ids = node_ids(old, driver, id);
        let patch = json!({"metadata": {"annotations": {NODE_IDS: ids}, "labels": segments}});
        api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
    }
}

/// The annotation with a driver's entry changed; none without entries.
fn node_ids(old: Option<&str>, driver: &str, id: Option<&str>) -> Option<String> {
    let mut ids: BTreeMap<String, String> =
        old.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    match id {
        Some(id) => ids.insert(driver.to_owned(), id.to_owned()),
        None => ids.remove(driver),
    };
    (!ids.is_empty()).then(|| json!(ids).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_node() {
        let one = node_ids(None, "a", Some("1"));
        assert_eq!(one.as_deref(), Some(r#"{"a":"1"}"#));
        let two = node_ids(one.as_deref(), "b", Some("2"));
        assert_eq!(two.as_deref(), Some(r#"{"a":"1","b":"2"}"#));
        assert_eq!(node_ids(two.as_deref(), "b", None), one);
        assert_eq!(node_ids(one.as_deref(), "a", None), None);
        assert_eq!(node_ids(Some("nonsense"), "a", None), None);
    }
}
