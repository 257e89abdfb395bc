//! `--authorization-config`: AuthorizationConfiguration of `apiserver.config.k8s.io`, authorizers in order, among them any
//! number of webhooks. Source: KEP-3221.
use super::webhook::{Settings, Webhook};
use super::{Mode, Step, Who};
use crate::objects::Objects;
use crate::outbound::review::Webhook as Remote;
use knarr_api::cel::Type;
use knarr_api::cel::access::REQUEST;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The versions a file may be written in.
const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    authorizers: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    webhook: Option<WebhookEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookEntry {
    #[serde(default, rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    #[serde(default, rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    #[serde(default)]
    cache_authorized_requests: Option<bool>,
    #[serde(default)]
    cache_unauthorized_requests: Option<bool>,
    timeout: String,
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: ConnectionInfo,
    #[serde(default)]
    match_conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectionInfo {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    kube_config_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    expression: String,
}

/// Reads and checks a file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn load(path: &Path, objects: &Arc<dyn Objects>) -> Result<Vec<Step>, String> {
    let file: File = crate::config_file::read(path, "AuthorizationConfiguration", &VERSIONS)
        .map_err(|error| error.to_string())?;
    if file.authorizers.is_empty() {
        return Err("authorizers: Required value: at least one authorization mode must be defined".to_owned());
    }
    let (mut names, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    let mut steps = Vec::new();
    for (index, entry) in file.authorizers.iter().enumerate() {
        let at = format!("authorizers[{index}]");
        if entry.name.is_empty() {
            return Err(format!("{at}.name: Required value"));
        }
        if !names.insert(&entry.name) {
            return Err(format!("{at}.name: Duplicate value: {:?}", entry.name));
        }
        if entry.kind != "Webhook" && !kinds.insert(&entry.kind) {
            return Err(format!("{at}.type: Duplicate value: {:?}", entry.kind));
        }
        let step = entry.step(objects).map_err(|error| format!("{at}.{error}"))?;
        steps.push(step);
    }
    Ok(steps)
}

impl Entry {
    fn step(&self, objects: &Arc<dyn Objects>) -> Result<Step, String> {
        let mode = match self.kind.as_str() {
            "Node" => Mode::Node,
            "RBAC" => Mode::Rbac,
            "AlwaysAllow" => Mode::AlwaysAllow,
            "AlwaysDeny" => Mode::AlwaysDeny,
            "Webhook" => {
                let webhook =
                    self.webhook.as_ref().ok_or("webhook: Required value: required when type=Webhook")?;
                return webhook
                    .build(objects)
                    .map(|webhook| Step::named(&self.name, Who::Webhook(Arc::new(webhook))));
            }
            other => return Err(format!("type: Unsupported value: {other:?}")),
        };
        match &self.webhook {
            Some(_) => Err(format!(
                "webhook: Invalid value: \"non-null\": may only be specified when type={}",
                "Webhook"
            )),
            None => Ok(Step::named(&self.name, Who::Mode(mode))),
        }
    }
}

impl WebhookEntry {
    fn build(&self, objects: &Arc<dyn Objects>) -> Result<Webhook, String> {
        let timeout = duration("timeout", &self.timeout)?;
        if timeout.is_zero() || timeout > Duration::from_secs(30) {
            return Err(format!(
                "webhook.timeout: Invalid value: {:?}: must be > 0s and <= 30s",
                self.timeout
            ));
        }
        if !matches!(self.subject_access_review_version.as_str(), "v1" | "v1beta1") {
            return Err("webhook.subjectAccessReviewVersion: Unsupported value: supported values: \"v1\", \"v1beta1\"".to_owned());
        }
        if !self.match_conditions.is_empty() && self.match_condition_subject_access_review_version != "v1" {
            return Err("webhook.matchConditionSubjectAccessReviewVersion: Required value: must be v1 where there are match conditions".to_owned());
        }
        let failure_denies = match self.failure_policy.as_str() {
            "Deny" => true,
            "NoOpinion" => false,
            other => {
                return Err(format!(
                    "webhook.failurePolicy: Unsupported value: {other:?}: supported values: \"NoOpinion\", \"Deny\""
                ));
            }
        };
        let compile = |(index, condition): (usize, &Condition)| {
            let compiled = REQUEST.compile(&condition.expression, &[Type::Bool]);
            compiled.map_err(|error| {
                format!(
                    "webhook.matchConditions[{index}].expression: Invalid value: {:?}: {error}",
                    condition.expression
                )
            })
        };
        let hold = |ttl: &Option<String>, cached: Option<bool>, default: u64| match (ttl, cached) {
            (_, Some(false)) => Ok(None),
            (Some(ttl), _) => duration("authorizedTTL", ttl).map(Some),
            (None, _) => Ok(Some(Duration::from_secs(default))),
        };
        let settings = Settings {
            version: self.subject_access_review_version.clone(),
            hold_allowed: hold(&self.authorized_ttl, self.cache_authorized_requests, 300)?,
            hold_denied: hold(&self.unauthorized_ttl, self.cache_unauthorized_requests, 30)?,
            timeout,
            failure_denies,
            conditions: self.match_conditions.iter().enumerate().map(compile).collect::<Result<_, _>>()?,
        };
        let path = match (self.connection_info.kind.as_str(), &self.connection_info.kube_config_file) {
            ("KubeConfigFile", Some(path)) => path,
            ("KubeConfigFile", None) => {
                return Err("webhook.connectionInfo.kubeConfigFile: Required value".to_owned());
            }
            // Only a server that runs in a pod of another cluster has such a connection.
            (kind, _) => {
                return Err(format!(
                    "webhook.connectionInfo.type: Unsupported value: {kind:?}: supported values: \"KubeConfigFile\""
                ));
            }
        };
        let remote = Remote::load(path, objects);
        Ok(Webhook::new(
            remote.map_err(|error| format!("webhook.connectionInfo.kubeConfigFile: {error}"))?,
            settings,
        ))
    }
}

fn duration(field: &str, text: &str) -> Result<Duration, String> {
    crate::server::chain::go_duration(text).ok_or_else(|| format!("webhook.{field}: Invalid value: {text:?}"))
}
