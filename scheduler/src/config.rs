//! The configuration file, `KubeSchedulerConfiguration` of `kubescheduler.config.k8s.io/v1`: profiles with their
//! plugins and arguments, extenders, back-off and leader election.
//!
//! Unknown fields are refused with their path, as the original does.
mod arguments;
mod plugins;
mod shape;

use crate::profile::{DEFAULT_NAME, Profile};
use knarr_component::flags::LeaderElection;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a configuration file decides.
pub struct Settings {
    /// One for each scheduler name.
    pub profiles: Vec<Profile>,
    /// Webhooks that are asked besides the plugins.
    pub extenders: Vec<Extender>,
    /// Back-off after a pod's first failure.
    pub first_backoff: Duration,
    /// The longest back-off.
    pub longest_backoff: Duration,
    /// Election among replicas, where the file speaks of it.
    pub leader_election: Option<LeaderElection>,
    /// How to reach the API server, where the file says it.
    pub kubeconfig: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profiles: vec![Profile::default()],
            extenders: Vec::new(),
            first_backoff: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(10),
            leader_election: None,
            kubeconfig: None,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("open {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// It is of another kind or version.
    #[error("no kind {kind:?} is registered for version {version:?} in scheme")]
    Kind {
        /// What it says it is.
        kind: String,
        /// The version it names.
        version: String,
    },
    /// It has fields that do not exist.
    #[error("strict decoding error: {0}")]
    Strict(String),
    /// A field has a value of the wrong form.
    #[error("{0}")]
    Decode(#[from] serde_json::Error),
    /// Arguments of a plugin are wrong.
    #[error("decoding .profiles[{profile}].pluginConfig[{argument}]: {message}")]
    Arguments {
        /// Position of the profile.
        profile: usize,
        /// Position of the arguments.
        argument: usize,
        /// What is wrong.
        message: String,
    },
    /// A value is out of bounds, or contradicts another.
    #[error("{0}")]
    Invalid(String),
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    parallelism: Option<i64>,
    leader_election: Option<Election>,
    client_connection: Connection,
    percentage_of_nodes_to_score: Option<i64>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    profiles: Vec<ProfileFile>,
    extenders: Vec<Extender>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Connection {
    kubeconfig: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Election {
    leader_elect: Option<bool>,
    lease_duration: Option<String>,
    renew_deadline: Option<String>,
    retry_period: Option<String>,
    resource_lock: Option<String>,
    resource_name: Option<String>,
    resource_namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProfileFile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i64>,
    plugins: plugins::Sets,
    plugin_config: Vec<arguments::Given>,
}

/// A webhook that filters and rates nodes, or binds pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Extender {
    /// The URL below which it answers.
    pub url_prefix: String,
    /// Path of the filter; empty when it has none.
    pub filter_verb: String,
    /// Path of the choice of victims; empty when it has none.
    pub preempt_verb: String,
    /// Path of the rating; empty when it has none.
    pub prioritize_verb: String,
    /// How much its rating counts.
    pub weight: i64,
    /// Path of the binding; empty when it does not bind.
    pub bind_verb: String,
    /// HTTPS without further TLS settings.
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    /// How to trust it and how to be trusted.
    pub tls_config: Option<ExtenderTls>,
    /// How long it may take, in Go's form; `5s` where not given.
    pub http_timeout: Option<String>,
    /// It knows nodes: it is sent their names only.
    pub node_cache_capable: bool,
    /// It is asked only for pods that request one of these; for all where empty.
    pub managed_resources: Vec<ManagedResource>,
    /// Its failure does not fail the pod.
    pub ignorable: bool,
}

/// TLS towards an extender.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtenderTls {
    /// Its certificate is not verified.
    pub insecure: bool,
    /// The name that its certificate has.
    pub server_name: String,
    /// Our certificate.
    pub cert_file: String,
    /// Our key.
    pub key_file: String,
    /// Who signed its certificate.
    pub ca_file: String,
    /// As `cert_file`, in place.
    pub cert_data: String,
    /// As `key_file`, in place.
    pub key_data: String,
    /// As `ca_file`, in place.
    pub ca_data: String,
}

/// A resource that an extender cares for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ManagedResource {
    /// Its name.
    pub name: String,
    /// The scheduler does not check it.
    pub ignored_by_scheduler: bool,
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// The file cannot be read or used; see [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Takes a configuration file's text.
    ///
    /// # Errors
    /// It cannot be used; see [`ConfigError`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let value: Value = serde_yaml_ng::from_str(text)?;
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let (kind, version) = (field("kind"), field("apiVersion"));
        if kind != "KubeSchedulerConfiguration" || version != "kubescheduler.config.k8s.io/v1" {
            return Err(ConfigError::Kind { kind, version });
        }
        let unknown = shape::unknown(&value, &shape::CONFIGURATION);
        if !unknown.is_empty() {
            return Err(ConfigError::Strict(unknown.join(", ")));
        }
        let mut file: File = serde_json::from_value(value)?;
        if file.profiles.is_empty() {
            file.profiles.push(ProfileFile::default());
        }
        let faults = validate(&file);
        if !faults.is_empty() {
            return Err(ConfigError::Invalid(aggregate(&faults)));
        }
        Self::build(file)
    }

    fn build(file: File) -> Result<Self, ConfigError> {
        let seconds = |value: Option<i64>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        let mut profiles = Vec::new();
        for (at, profile) in file.profiles.iter().enumerate() {
            let mut arguments = arguments::Arguments::read(at, &profile.plugin_config)?;
            let handled = file.extenders.iter().flat_map(|extender| &extender.managed_resources);
            let handled = handled.filter(|resource| resource.ignored_by_scheduler);
            arguments.fit.ignored.extend(handled.map(|resource| resource.name.clone()));
            let name = profile.scheduler_name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
            let percentage = profile.percentage_of_nodes_to_score.or(file.percentage_of_nodes_to_score);
            let percentage = percentage.and_then(|share| usize::try_from(share).ok()).unwrap_or_default();
            profiles.push(profile.plugins.profile(name, percentage, &arguments)?);
        }
        Ok(Self {
            profiles,
            first_backoff: seconds(file.pod_initial_backoff_seconds, 1),
            longest_backoff: seconds(file.pod_max_backoff_seconds, 10),
            leader_election: file.leader_election.map(Election::settings).transpose()?,
            kubeconfig: Some(file.client_connection.kubeconfig)
                .filter(|path| !path.is_empty())
                .map(Into::into),
            extenders: file.extenders,
        })
    }
}

impl Election {
    fn settings(self) -> Result<LeaderElection, ConfigError> {
        let duration = |text: Option<String>, default: u64| match text {
            None => Ok(Duration::from_secs(default)),
            Some(text) => knarr_component::flags::duration(&text)
                .map_err(|_| ConfigError::Invalid(format!("time: invalid duration {text:?}"))),
        };
        let lock = self.resource_lock.unwrap_or_else(|| "leases".to_owned());
        if lock != "leases" {
            let rule = "resourceLock value must be \"leases\"";
            return Err(ConfigError::Invalid(format!(
                "leaderElection.resourceLock: Invalid value: {lock:?}: {rule}"
            )));
        }
        Ok(LeaderElection {
            leader_elect: self.leader_elect.unwrap_or(true),
            leader_elect_lease_duration: duration(self.lease_duration, 15)?,
            leader_elect_renew_deadline: duration(self.renew_deadline, 10)?,
            leader_elect_retry_period: duration(self.retry_period, 2)?,
            leader_elect_resource_lock: lock,
            leader_elect_resource_namespace: self
                .resource_namespace
                .unwrap_or_else(|| "kube-system".to_owned()),
            leader_elect_resource_name: self.resource_name,
        })
    }
}

/// All faults of the values, as the original words them.
fn validate(file: &File) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |path: String, value: Option<i64>, valid: &dyn Fn(i64) -> bool, rule: &str| {
        if let Some(value) = value.filter(|value| !valid(*value)) {
            faults.push(format!("{path}: Invalid value: {value}: {rule}"));
        }
    };
    let percent = |value: i64| (0..=100).contains(&value);
    let range = "not in valid range [0-100]";
    let positive = "should be an integer value greater than zero";
    check("parallelism".to_owned(), file.parallelism, &|value| value > 0, positive);
    check("percentageOfNodesToScore".to_owned(), file.percentage_of_nodes_to_score, &percent, range);
    let first = file.pod_initial_backoff_seconds;
    check("podInitialBackoffSeconds".to_owned(), first, &|value| value > 0, "must be greater than 0");
    let first = first.unwrap_or(1);
    let rule = "must be greater than or equal to PodInitialBackoffSeconds";
    let longest = file.pod_max_backoff_seconds;
    check("podMaxBackoffSeconds".to_owned(), longest, &|value| value >= first, rule);
    for (at, profile) in file.profiles.iter().enumerate() {
        let path = format!("profiles[{at}].percentageOfNodesToScore");
        check(path, profile.percentage_of_nodes_to_score, &percent, range);
    }
    for (at, profile) in file.profiles.iter().enumerate() {
        let name =
            |profile: &ProfileFile| profile.scheduler_name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let (path, own) = (format!("profiles[{at}].schedulerName"), name(profile));
        if own.is_empty() {
            faults.push(format!("{path}: Required value"));
        } else if file.profiles[..at].iter().any(|other| name(other) == own) {
            faults.push(format!("{path}: Duplicate value: {own:?}"));
        }
    }
    let binders = file.extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    for (at, extender) in file.extenders.iter().enumerate() {
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let rule = "must have a positive weight applied to it";
            faults.push(format!("extenders[{at}].weight: Invalid value: {}: {rule}", extender.weight));
        }
    }
    if binders > 1 {
        faults.push(format!("extenders: Invalid value: {binders}: only one extender can implement bind"));
    }
    faults
}

/// Several faults in one message.
fn aggregate(faults: &[String]) -> String {
    match faults {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests;
