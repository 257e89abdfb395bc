//! Follows the ConfigMap of DNS settings.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::ConfigMap;
use knarr_component::backoff::Backoff;
use knarr_component::events::Recorder;
use kube::runtime::watcher;
use kube::{Api, Client};

use super::forward::Forwarder;
use super::settings::Settings;

/// Where the settings are.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
/// Pauses while the API server cannot be asked.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What settings are judged by.
pub struct Place {
    /// The cluster's domain.
    pub domain: Name,
    /// Addresses at which its DNS answers.
    pub own: Vec<IpAddr>,
}

/// Gives a forwarder the settings as they change, for ever. One that is wrong leaves those that were there, with an event.
pub async fn settings(client: Client, forwarder: Arc<Forwarder>, place: Place, events: Recorder) {
    let mut changes = pin!(watcher::watch_object(Api::<ConfigMap>::namespaced(client, NAMESPACE), NAME));
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    while let Some(change) = changes.next().await {
        let found = match change {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the DNS settings are not known");
                tokio::time::sleep(backoff.next_delay()).await;
                continue;
            }
        };
        backoff.reset();
        let data = found.as_ref().and_then(|object| object.data.clone()).unwrap_or_default();
        match Settings::parse(&data, &place.domain, &place.own) {
            Ok(settings) => forwarder.set(settings),
            Err(error) => {
                tracing::warn!(%error, "the ConfigMap {NAMESPACE}/{NAME} is not used");
                if let Some(object) = &found {
                    events.warning(object, "InvalidDNSSettings", error.to_string());
                }
            }
        }
    }
}
