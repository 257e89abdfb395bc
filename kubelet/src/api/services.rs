//! The services of the cluster, for the variables that tell pods of them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Service};
use knarr_component::informer::Informer;
use knarr_component::store::Key;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::container::env;
use crate::context::Services;
use crate::pod;

/// How long a container waits for the first list.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follows all services.
pub struct ApiServices(Informer<Service>);

impl ApiServices {
    /// Begins to follow.
    pub fn start(client: Client, stop: CancellationToken) -> Self {
        let trim = |mut service: Service| {
            // Only what becomes a variable is kept.
            service.metadata.managed_fields = None;
            service.metadata.annotations = None;
            service.metadata.labels = None;
            service.status = None;
            service
        };
        Self(Informer::start_mapped(Api::all(client), watcher::Config::default(), stop, trim))
    }
}

#[async_trait]
impl Services for ApiServices {
    async fn variables(&self, pod: &Pod) -> Option<BTreeMap<String, String>> {
        tokio::time::timeout(PATIENCE, self.0.synced()).await.ok()?;
        let mut services = Vec::new();
        if pod::spec(pod).enable_service_links != Some(false) {
            services = self.0.list_namespace(pod::namespace(pod));
        }
        services.extend(self.0.get(&Key::new("default", "kubernetes")));
        Some(env::service_variables(pod, services.iter().map(AsRef::as_ref)))
    }
}
