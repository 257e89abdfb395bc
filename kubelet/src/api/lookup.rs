//! Objects and tokens from the API server.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::objects::{AllObjects, Changed, Kind, Objects};
use super::tokens::Tokens;
use crate::container::ConfigError;
use crate::volumes::{Lookup, Token};

/// Asks the API server.
pub struct ApiLookup {
    client: Client,
    /// Config maps and secrets in use.
    pub objects: AllObjects,
    tokens: Tokens,
}

impl ApiLookup {
    /// Changes of objects in use go to `changes`.
    pub fn new(client: Client, changes: UnboundedSender<Changed>) -> Self {
        let objects = AllObjects {
            config_maps: Objects::new(client.clone(), Kind::ConfigMap, changes.clone()),
            secrets: Objects::new(client.clone(), Kind::Secret, changes),
        };
        Self { tokens: Tokens::new(client.clone()), objects, client }
    }
}

/// What changes in the status of a claim that is so large now: nobody waits for it any more.
fn grown(claim: &PersistentVolumeClaim, size: &Quantity) -> Value {
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let left: Vec<_> = conditions
        .filter(|condition| !matches!(condition.type_.as_str(), "FileSystemResizePending" | "Resizing"))
        .collect();
    json!({
        "metadata": {"resourceVersion": claim.metadata.resource_version},
        "status": {"capacity": {"storage": size}, "conditions": left, "allocatedResourceStatuses": null},
    })
}

/// The object, if there is one.
async fn found<K>(api: Api<K>, name: &str) -> Result<Option<K>, ConfigError>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    api.get_opt(name).await.map_err(|error| ConfigError::Unavailable(error.to_string()))
}

#[async_trait]
impl Lookup for ApiLookup {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, ConfigError> {
        self.objects.config_maps.get(namespace, name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, ConfigError> {
        self.objects.secrets.get(namespace, name).await
    }

    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, ConfigError> {
        self.tokens.get(pod, audience, seconds).await
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, ConfigError> {
        found(Api::namespaced(self.client.clone(), namespace), name).await
    }

    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, ConfigError> {
        found(Api::all(self.client.clone()), name).await
    }

    async fn set_claim_size(
        &self,
        claim: &PersistentVolumeClaim,
        size: &Quantity,
    ) -> Result<(), ConfigError> {
        let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), namespace.unwrap_or_default());
        let patch = Patch::Merge(grown(claim, size));
        let written = api.patch_status(name.unwrap_or_default(), &PatchParams::default(), &patch).await;
        written.map(drop).map_err(|error| ConfigError::Unavailable(error.to_string()))
    }

    async fn secret_once(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ConfigError> {
        found(Api::namespaced(self.client.clone(), namespace), name).await
    }

    async fn csi_driver(&self, name: &str) -> Result<Option<CSIDriver>, ConfigError> {
        found(Api::all(self.client.clone()), name).await
    }

    async fn volume_attachment(&self, name: &str) -> Result<Option<VolumeAttachment>, ConfigError> {
        found(Api::all(self.client.clone()), name).await
    }

    async fn trust_bundle(&self, name: &str) -> Result<Option<ClusterTrustBundle>, ConfigError> {
        found(Api::all(self.client.clone()), name).await
    }

    async fn trust_bundles(&self, signer: &str) -> Result<Vec<ClusterTrustBundle>, ConfigError> {
        let api: Api<ClusterTrustBundle> = Api::all(self.client.clone());
        let of_signer = ListParams::default().fields(&format!("spec.signerName={signer}"));
        let list = api.list(&of_signer).await;
        list.map(|list| list.items).map_err(|error| ConfigError::Unavailable(error.to_string()))
    }

    async fn resource_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ResourceClaim>, ConfigError> {
        found(Api::namespaced(self.client.clone(), namespace), name).await
    }

    async fn runtime_handler(&self, class: &str) -> Result<String, ConfigError> {
        match found::<RuntimeClass>(Api::all(self.client.clone()), class).await? {
            Some(found) => Ok(found.handler),
            None => Err(ConfigError::Missing(format!("runtimeclass.node.k8s.io \"{class}\" not found"))),
        }
    }
}
