//! Images: whether they are pulled, with whose credentials, and how they are preloaded.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::events::PodEvents;
use crate::pod;
use crate::runtime::types::{AuthConfig, Image, PodSandboxConfig};
use crate::runtime::{Runtime, RuntimeError};
use crate::volumes::Lookup;

mod auth;
pub mod collect;
pub mod name;
mod place;
pub mod preload;

pub use place::{Place, PlaceError};

/// Why a container has no image yet: the reason and message of its waiting state.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ImageError {
    /// `ErrImagePull`, `ImagePullBackOff`, `ErrImageNeverPull`, `InvalidImageName`, `ImageInspectError`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When to try again at the latest.
    pub retry_after: Option<Duration>,
}

/// What is known of a pod's failed pulls.
#[derive(Debug, Default)]
pub struct Pulls {
    backoff: Backoff,
    /// The last failure of each image that waits.
    failures: HashMap<String, String>,
}

/// What a pull needs besides the container.
pub struct Puller<'a> {
    /// The runtime that pulls.
    pub runtime: &'a dyn Runtime,
    /// Where pull secrets come from.
    pub lookup: &'a dyn Lookup,
    /// Where events go.
    pub events: &'a PodEvents,
    /// Cancelled once the node's own archives are imported.
    pub preloaded: &'a CancellationToken,
}

/// When pulls are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

fn policy(container: &Container, tag: &str) -> Policy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        Some("IfNotPresent") => Policy::IfNotPresent,
        _ if tag == "latest" => Policy::Always,
        _ => Policy::IfNotPresent,
    }
}

impl Puller<'_> {
    /// Makes sure that the container's image is there, as its pull policy says.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        sandbox: &PodSandboxConfig,
        pulls: &mut Pulls,
    ) -> Result<Image, ImageError> {
        let wanted = container.image.as_deref().unwrap_or_default();
        let parsed = name::parse(wanted).map_err(|error| {
            let message = format!(
                "Failed to apply default image tag {wanted:?}: couldn't parse image name {wanted:?}: {error}"
            );
            self.events.container_warning(&container.name, "InspectFailed", message.as_str());
            ImageError { reason: "InvalidImageName", message, retry_after: None }
        })?;
        let full = parsed.with_default_tag();
        let mut present = self.present(container, &full).await?;
        if present.is_none() && !self.preloaded.is_cancelled() {
            // It may be in an archive whose turn has not come yet.
            self.preloaded.cancelled().await;
            present = self.present(container, &full).await?;
        }
        match (policy(container, parsed.tag.as_deref().unwrap_or("latest")), present) {
            (Policy::Never, None) => {
                let message = format!("Container image {wanted:?} is not present with pull policy of Never");
                self.events.container_warning(&container.name, "ErrImageNeverPull", message.as_str());
                return Err(ImageError { reason: "ErrImageNeverPull", message, retry_after: None });
            }
            (Policy::Never | Policy::IfNotPresent, Some(image)) => {
                let message = format!(
                    "Container image {wanted:?} already present on machine and can be accessed by the pod"
                );
                self.events.container_normal(&container.name, "Pulled", message);
                return Ok(image);
            }
            (Policy::Always, _) | (Policy::IfNotPresent, None) => {}
        }
        self.wait_turn(container, wanted, pulls)?;
        self.events.container_normal(&container.name, "Pulling", format!("Pulling image {wanted:?}"));
        let begun = Instant::now();
        match self.pull(pod, &parsed, &full, sandbox).await {
            Ok(reference) => {
                pulls.backoff.reset(wanted);
                pulls.failures.remove(wanted);
                let image = self.present(container, &reference).await?.unwrap_or_default();
                let took = took(begun.elapsed());
                let message = format!(
                    "Successfully pulled image {wanted:?} in {took} ({took} including waiting). Image size: {} bytes.",
                    image.size
                );
                self.events.container_normal(&container.name, "Pulled", message);
                Ok(image)
            }
            Err(error) => {
                let now = Timestamp::now();
                pulls.backoff.advance(wanted, now, now);
                pulls.failures.insert(wanted.to_owned(), format!("ErrImagePull: {error}"));
                let message = format!("Failed to pull image {wanted:?}: {error}");
                self.events.container_warning(&container.name, "Failed", message);
                Err(ImageError {
                    reason: "ErrImagePull",
                    message: error.to_string(),
                    retry_after: pulls.backoff.remaining_since_update(wanted, now).map(|(left, _)| left),
                })
            }
        }
    }

    fn wait_turn(&self, container: &Container, wanted: &str, pulls: &Pulls) -> Result<(), ImageError> {
        let waits = pulls.backoff.remaining_since_update(wanted, Timestamp::now());
        let Some((left, _)) = waits else { return Ok(()) };
        let mut message = format!("Back-off pulling image {wanted:?}");
        self.events.container_normal(&container.name, "BackOff", message.as_str());
        if let Some(failure) = pulls.failures.get(wanted) {
            message = format!("{message}: {failure}");
        }
        Err(ImageError { reason: "ImagePullBackOff", message, retry_after: Some(left) })
    }

    async fn present(&self, container: &Container, image: &str) -> Result<Option<Image>, ImageError> {
        self.runtime.image_status(image).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {error}");
            self.events.container_warning(&container.name, "InspectFailed", message.as_str());
            ImageError { reason: "ImageInspectError", message, retry_after: None }
        })
    }

    /// Pulls with each credential that fits the registry, or without any.
    async fn pull(
        &self,
        pod: &Pod,
        parsed: &name::ImageName,
        full: &str,
        sandbox: &PodSandboxConfig,
    ) -> Result<String, RuntimeError> {
        let mut credentials: Vec<Option<AuthConfig>> = Vec::new();
        for reference in pod::spec(pod).image_pull_secrets.iter().flatten() {
            match self.lookup.secret(pod::namespace(pod), &reference.name).await {
                Ok(Some(secret)) => credentials.extend(auth::matching(&secret, parsed).into_iter().map(Some)),
                Ok(None) => self.events.warning(
                    "FailedToRetrieveImagePullSecret",
                    format!(
                        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                        reference.name
                    ),
                ),
                Err(error) => tracing::warn!(secret = reference.name, %error, "pull secret"),
            }
        }
        credentials.extend(auth::of_node(parsed).into_iter().map(Some));
        if credentials.is_empty() {
            credentials.push(None);
        }
        let mut result = Err(RuntimeError::Failed(String::new()));
        for credential in credentials {
            result = self.runtime.pull_image(full, credential, Some(sandbox.clone())).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// A short time as Go prints it: `873ms`, `1.52s`.
fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{}ms", duration.as_millis())
    } else {
        let text = format!("{:.3}", duration.as_secs_f64());
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    }
}
