//! Images: whether they are pulled, with whose credentials, and how they are preloaded.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod};
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
pub mod pulled;

pub use place::{Place, PlaceError};

use pulled::{Credentials, Pulled, Secret};

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
    /// Who may use which image.
    pub pulled: &'a Pulled,
}

/// An image that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    image: &'a str,
    policy: Option<&'a str>,
    /// The container that events are about, else they are about the pod.
    container: Option<&'a str>,
}

impl<'a> From<&'a Container> for Wanted<'a> {
    fn from(container: &'a Container) -> Self {
        Self {
            image: container.image.as_deref().unwrap_or_default(),
            policy: container.image_pull_policy.as_deref(),
            container: Some(&container.name),
        }
    }
}

impl<'a> From<&'a ImageVolumeSource> for Wanted<'a> {
    fn from(volume: &'a ImageVolumeSource) -> Self {
        let image = volume.reference.as_deref().unwrap_or_default();
        Self { image, policy: volume.pull_policy.as_deref(), container: None }
    }
}

/// What an image may be pulled with, and whose that is if it is not the node's.
struct Key {
    auth: Option<AuthConfig>,
    secret: Option<Secret>,
}

/// When pulls are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

fn policy(wanted: Wanted<'_>, tag: &str) -> Policy {
    match wanted.policy {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        Some("IfNotPresent") => Policy::IfNotPresent,
        _ if tag == "latest" => Policy::Always,
        _ => Policy::IfNotPresent,
    }
}

impl Puller<'_> {
    /// Makes sure that an image is there and that the pod may have it, as its pull policy says.
    pub async fn ensure(
        &self,
        pod: &Pod,
        wanted: Wanted<'_>,
        sandbox: &PodSandboxConfig,
        pulls: &mut Pulls,
    ) -> Result<Image, ImageError> {
        let name = wanted.image;
        let parsed = name::parse(name).map_err(|error| {
            let message = format!(
                "Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: {error}"
            );
            self.warning(wanted, "InspectFailed", &message);
            ImageError { reason: "InvalidImageName", message, retry_after: None }
        })?;
        let full = parsed.with_default_tag();
        let policy = policy(wanted, parsed.tag.as_deref().unwrap_or("latest"));
        let mut present = self.present(wanted, &full).await?;
        if present.is_none() && !self.preloaded.is_cancelled() {
            // It may be in an archive whose turn has not come yet.
            self.preloaded.cancelled().await;
            present = self.present(wanted, &full).await?;
        }
        let keys = self.keys(pod, &parsed).await;
        if policy != Policy::Always
            && let Some(image) = present
        {
            let secrets: Vec<Secret> = keys.iter().filter_map(|key| key.secret.clone()).collect();
            if !self.pulled.must_pull(&full, &image.id, &secrets) {
                let message = format!(
                    "Container image {name:?} already present on machine and can be accessed by the pod"
                );
                self.normal(wanted, "Pulled", message);
                return Ok(image);
            }
        }
        if policy == Policy::Never {
            let message = format!("Container image {name:?} is not present with pull policy of Never");
            self.warning(wanted, "ErrImageNeverPull", &message);
            return Err(ImageError { reason: "ErrImageNeverPull", message, retry_after: None });
        }
        self.wait_turn(wanted, pulls)?;
        self.fetch(wanted, &full, keys, sandbox, pulls).await
    }

    fn normal(&self, wanted: Wanted<'_>, reason: &str, message: String) {
        match wanted.container {
            Some(container) => self.events.container_normal(container, reason, message),
            None => self.events.normal(reason, message),
        }
    }

    fn warning(&self, wanted: Wanted<'_>, reason: &str, message: &str) {
        match wanted.container {
            Some(container) => self.events.container_warning(container, reason, message),
            None => self.events.warning(reason, message),
        }
    }

    async fn fetch(
        &self,
        wanted: Wanted<'_>,
        full: &str,
        keys: Vec<Key>,
        sandbox: &PodSandboxConfig,
        pulls: &mut Pulls,
    ) -> Result<Image, ImageError> {
        let name = wanted.image;
        self.normal(wanted, "Pulling", format!("Pulling image {name:?}"));
        let begun = Instant::now();
        match self.pull(wanted, full, keys, sandbox).await {
            Ok(image) => {
                pulls.backoff.reset(name);
                pulls.failures.remove(name);
                let took = took(begun.elapsed());
                let message = format!(
                    "Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {} bytes.",
                    image.size
                );
                self.normal(wanted, "Pulled", message);
                Ok(image)
            }
            Err(error) => {
                let now = Timestamp::now();
                pulls.backoff.advance(name, now, now);
                pulls.failures.insert(name.to_owned(), format!("ErrImagePull: {error}"));
                self.warning(wanted, "Failed", &format!("Failed to pull image {name:?}: {error}"));
                Err(ImageError {
                    reason: "ErrImagePull",
                    message: error.to_string(),
                    retry_after: pulls.backoff.remaining_since_update(name, now).map(|(left, _)| left),
                })
            }
        }
    }

    fn wait_turn(&self, wanted: Wanted<'_>, pulls: &Pulls) -> Result<(), ImageError> {
        let name = wanted.image;
        let waits = pulls.backoff.remaining_since_update(name, Timestamp::now());
        let Some((left, _)) = waits else { return Ok(()) };
        let mut message = format!("Back-off pulling image {name:?}");
        self.normal(wanted, "BackOff", message.clone());
        if let Some(failure) = pulls.failures.get(name) {
            message = format!("{message}: {failure}");
        }
        Err(ImageError { reason: "ImagePullBackOff", message, retry_after: Some(left) })
    }

    async fn present(&self, wanted: Wanted<'_>, image: &str) -> Result<Option<Image>, ImageError> {
        self.runtime.image_status(image).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {error}");
            self.warning(wanted, "InspectFailed", &message);
            ImageError { reason: "ImageInspectError", message, retry_after: None }
        })
    }

    /// What the pod and the node have for the image's registry; at least one, which is nobody's.
    async fn keys(&self, pod: &Pod, parsed: &name::ImageName) -> Vec<Key> {
        let namespace = pod::namespace(pod);
        let mut keys = Vec::new();
        for reference in pod::spec(pod).image_pull_secrets.iter().flatten() {
            match self.lookup.secret(namespace, &reference.name).await {
                Ok(Some(secret)) => keys.extend(auth::matching(&secret, parsed).into_iter().map(|auth| Key {
                    secret: Some(Secret {
                        uid: secret.metadata.uid.clone().unwrap_or_default(),
                        namespace: namespace.to_owned(),
                        name: reference.name.clone(),
                        credential_hash: auth::hash(&auth),
                    }),
                    auth: Some(auth),
                })),
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
        keys.extend(auth::of_node(parsed).into_iter().map(|auth| Key { auth: Some(auth), secret: None }));
        if keys.is_empty() {
            keys.push(Key { auth: None, secret: None });
        }
        keys
    }

    /// Pulls with one key after the other, and notes whose it was.
    async fn pull(
        &self,
        wanted: Wanted<'_>,
        full: &str,
        keys: Vec<Key>,
        sandbox: &PodSandboxConfig,
    ) -> Result<Image, RuntimeError> {
        self.pulled
            .begin(full)
            .map_err(|error| RuntimeError::Failed(format!("failed to record image pull intent: {error}")))?;
        let mut result = Err(RuntimeError::Failed(String::new()));
        for key in keys {
            result = self.runtime.pull_image(full, key.auth, Some(sandbox.clone())).await;
            if let Ok(reference) = &result {
                let image = match self.present(wanted, reference).await {
                    Ok(image) => image.unwrap_or_default(),
                    Err(error) => {
                        self.pulled.failed(full);
                        return Err(RuntimeError::Failed(error.message));
                    }
                };
                let credentials = key.secret.map_or_else(Credentials::anybodys, Credentials::of);
                self.pulled.succeeded(full, &image.id, &credentials);
                return Ok(image);
            }
        }
        self.pulled.failed(full);
        result.map(|_| Image::default())
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
