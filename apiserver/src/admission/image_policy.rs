//! ImagePolicyWebhook: a webhook says whether the images of a pod may run. What it said holds for a while.
//!
//! Where it does not answer and the configuration lets pods in, the audit log tells; the original also marks the pod with
//! an annotation, which it has deprecated.
use super::config::Configurations;
use super::{Attributes, Operation, Plugin};
use crate::authn::cache::Verdicts;
use crate::config_file::ConfigError;
use crate::objects::Objects;
use crate::outbound::review::Webhook;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "ImagePolicyWebhook";
/// Before the keys of annotations of the audit log.
const PREFIX: &str = "imagepolicywebhook.image-policy.k8s.io/";
/// Within the keys of annotations of pods that the webhook is shown.
const SHOWN: &str = ".image-policy.k8s.io/";
/// Time for all attempts of one review.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Configuration {
    image_policy: Settings,
}

/// Times to live are in seconds; 0 stands for the default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(rename = "kubeConfigFile")]
    kubeconfig: String,
    #[serde(default, rename = "allowTTL")]
    allow: u64,
    #[serde(default, rename = "denyTTL")]
    deny: u64,
    /// Between attempts, in milliseconds. The pauses of all webhooks here are the same, so that it is only checked.
    #[serde(default, rename = "retryBackoff")]
    backoff: u64,
    #[serde(default, rename = "defaultAllow")]
    default_allow: bool,
}

/// The plugin.
pub struct ImagePolicyWebhook {
    policy: Option<Policy>,
}

struct Policy {
    webhook: Webhook,
    allowed: Duration,
    denied: Duration,
    default_allow: bool,
    verdicts: Verdicts<Value>,
}

impl ImagePolicyWebhook {
    /// The plugin with its configuration, `imagePolicy: {kubeConfigFile: …}`.
    ///
    /// # Errors
    /// No configuration where the plugin is enabled, or one that cannot be.
    pub fn new(
        objects: &Arc<dyn Objects>,
        configurations: &Configurations,
        is_enabled: bool,
    ) -> Result<Self, ConfigError> {
        let invalid = |text: String| configurations.invalid(NAME, text);
        let Some(told) = configurations.plain(NAME) else {
            return match is_enabled {
                true => Err(invalid("no config specified".to_owned())),
                false => Ok(Self { policy: None }),
            };
        };
        let told = serde_json::from_value(told.clone()).map_err(|error| invalid(error.to_string()))?;
        let Configuration { image_policy: told } = told;
        let within = |name: &str, value: u64, default: u64, most: u64| match value {
            0 => Ok(default),
            value if value > most => {
                let text =
                    format!("valid value for {name:?} is 0 (default) or between 1 and {most}, found {value}");
                Err(invalid(text))
            }
            value => Ok(value),
        };
        let allowed = within("allowTTL", told.allow, 300, 1800)?;
        let denied = within("denyTTL", told.deny, 30, 1800)?;
        within("retryBackoff", told.backoff, 500, 300_000)?;
        let path = configurations.folder().join(&told.kubeconfig);
        let policy = Policy {
            webhook: Webhook::load(&path, objects)?,
            allowed: Duration::from_secs(allowed),
            denied: Duration::from_secs(denied),
            default_allow: told.default_allow,
            verdicts: Verdicts::default(),
        };
        Ok(Self { policy: Some(policy) })
    }
}

#[async_trait]
impl Plugin for ImagePolicyWebhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && matches!(attributes.subresource, "" | "ephemeralcontainers")
            && attributes.kind.gvk.group.is_empty()
            && &*attributes.kind.plural == "pods"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let (Some(policy), Some(pod)) = (&self.policy, &attributes.object) else { return Ok(()) };
        let spec = shown(pod, attributes.namespace, attributes.subresource);
        let verdict = match policy.ask(&spec).await {
            Ok(verdict) => verdict,
            Err(error) if policy.default_allow => {
                tracing::warn!(%error, "images are let in without having been looked at");
                attributes.notes.annotate(format!("{PREFIX}failed-open"), "true");
                return Ok(());
            }
            Err(error) => return Err(attributes.forbidden(error)),
        };
        for (key, value) in verdict["auditAnnotations"].as_object().into_iter().flatten() {
            attributes.notes.annotate(format!("{PREFIX}{key}"), value.as_str().unwrap_or_default());
        }
        match verdict["reason"].as_str().unwrap_or_default() {
            _ if verdict["allowed"] == true => Ok(()),
            "" => Err(attributes.forbidden("one or more images rejected by webhook backend")),
            reason => Err(attributes
                .forbidden(format!("image policy webhook backend denied one or more images: {reason}"))),
        }
    }
}

impl Policy {
    /// The status of a review, asked for or known.
    async fn ask(&self, spec: &Value) -> Result<Value, String> {
        let key = self.verdicts.key(&spec.to_string(), &[]);
        if let Some(verdict) = self.verdicts.get(&key) {
            return Ok(verdict);
        }
        let review = json!({"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": {},
            "spec": spec, "status": {"allowed": false}});
        let mut answer = self.webhook.review(&review, TIMEOUT).await?;
        let verdict = answer["status"].take();
        let hold = if verdict["allowed"] == true { self.allowed } else { self.denied };
        self.verdicts.put(key, verdict.clone(), hold);
        Ok(verdict)
    }
}

/// What the webhook is shown of a pod: its images, and the annotations that are meant for it.
fn shown(pod: &Value, namespace: &str, subresource: &str) -> Value {
    let lists: &[&str] =
        if subresource.is_empty() { &["containers", "initContainers"] } else { &["ephemeralContainers"] };
    let containers = lists.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten());
    let images: Vec<Value> = containers.map(|container| json!({"image": container["image"]})).collect();
    let mut spec = json!({"containers": images});
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let meant: knarr_api::Object = annotations
        .filter(|(key, _)| key.contains(SHOWN))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !meant.is_empty() {
        spec["annotations"] = meant.into();
    }
    spec["namespace"] = namespace.into();
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown() {
        let pod = json!({
            "metadata": {"annotations": {"a": "1", "mycluster.image-policy.k8s.io/ticket": "T-1"}},
            "spec": {"containers": [{"image": "a"}], "initContainers": [{"image": "b"}],
                "ephemeralContainers": [{"image": "c"}]}});
        assert_eq!(
            shown(&pod, "n", ""),
            json!({"containers": [{"image": "a"}, {"image": "b"}],
                "annotations": {"mycluster.image-policy.k8s.io/ticket": "T-1"}, "namespace": "n"})
        );
        let bare = json!({"spec": {"ephemeralContainers": [{"image": "c"}]}});
        assert_eq!(
            shown(&bare, "n", "ephemeralcontainers"),
            json!({"containers": [{"image": "c"}], "namespace": "n"})
        );
    }
}
