//! Everything that is asked of the API server, and its stand-in for a kubelet without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::container::ConfigError;
use crate::context::Services;
use crate::volumes::{Lookup, Token};

mod lookup;
pub mod mirror;
pub mod node;
pub mod objects;
pub mod pods;
pub mod services;
mod tokens;

pub use lookup::ApiLookup;

/// A kubelet without API server: static pods that need nothing from it run, others wait.
pub struct Standalone;

fn none<T>() -> Result<T, ConfigError> {
    Err(ConfigError::Unavailable("this kubelet has no API server".to_owned()))
}

#[async_trait]
impl Lookup for Standalone {
    async fn config_map(&self, _: &str, _: &str) -> Result<Option<Arc<ConfigMap>>, ConfigError> {
        none()
    }

    async fn secret(&self, _: &str, _: &str) -> Result<Option<Arc<Secret>>, ConfigError> {
        none()
    }

    async fn token(&self, _: &Pod, _: &str, _: i64) -> Result<Token, ConfigError> {
        none()
    }

    async fn claim(&self, _: &str, _: &str) -> Result<Option<PersistentVolumeClaim>, ConfigError> {
        none()
    }

    async fn volume(&self, _: &str) -> Result<Option<PersistentVolume>, ConfigError> {
        none()
    }

    async fn set_claim_size(&self, _: &PersistentVolumeClaim, _: &Quantity) -> Result<(), ConfigError> {
        none()
    }

    async fn secret_once(&self, _: &str, _: &str) -> Result<Option<Secret>, ConfigError> {
        none()
    }

    async fn csi_driver(&self, _: &str) -> Result<Option<CSIDriver>, ConfigError> {
        none()
    }

    async fn volume_attachment(&self, _: &str) -> Result<Option<VolumeAttachment>, ConfigError> {
        none()
    }

    async fn trust_bundle(&self, _: &str) -> Result<Option<ClusterTrustBundle>, ConfigError> {
        none()
    }

    async fn trust_bundles(&self, _: &str) -> Result<Vec<ClusterTrustBundle>, ConfigError> {
        none()
    }

    async fn resource_claim(&self, _: &str, _: &str) -> Result<Option<ResourceClaim>, ConfigError> {
        none()
    }

    async fn runtime_handler(&self, _: &str) -> Result<String, ConfigError> {
        none()
    }
}

#[async_trait]
impl Services for Standalone {
    async fn variables(&self, _: &Pod) -> Option<BTreeMap<String, String>> {
        Some(BTreeMap::new())
    }
}
