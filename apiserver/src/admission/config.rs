//! `--admission-control-config-file`: what single plugins are told, in the file itself or in files that it names.
use crate::config_file::{self, ConfigError};
use knarr_api::{Value, yaml};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Plugins that can be told something here.
const CONFIGURABLE: [&str; 8] = [
    "EventRateLimit",
    "ImagePolicyWebhook",
    "MutatingAdmissionWebhook",
    "PodNodeSelector",
    "PodSecurity",
    "PodTolerationRestriction",
    "ResourceQuota",
    "ValidatingAdmissionWebhook",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    configuration: Option<Value>,
}

/// What plugins are told, by name.
#[derive(Default)]
pub struct Configurations {
    path: PathBuf,
    plugins: HashMap<String, Value>,
}

impl Configurations {
    /// Reads the file of the flag; without one nobody is told anything.
    ///
    /// # Errors
    /// A file that is none, or tells a plugin something that takes nothing.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let found: Configuration =
            config_file::read(path, "AdmissionConfiguration", &["apiserver.config.k8s.io/v1"])?;
        let mut plugins = HashMap::new();
        for plugin in found.plugins {
            if !CONFIGURABLE.contains(&plugin.name.as_str()) {
                let text = format!("plugin {:?} cannot be configured here", plugin.name);
                return Err(ConfigError::invalid(path, text));
            }
            let told = match plugin.configuration {
                Some(told) => told,
                None if plugin.path.is_empty() => continue,
                None => document(&path.parent().unwrap_or(Path::new("")).join(&plugin.path))?,
            };
            if plugins.insert(plugin.name.clone(), told).is_some() {
                let text = format!("plugin {:?} is configured twice", plugin.name);
                return Err(ConfigError::invalid(path, text));
            }
        }
        Ok(Self { path: path.to_owned(), plugins })
    }

    /// What a plugin is told, as the kind it takes; none: nothing.
    ///
    /// # Errors
    /// Another kind, a field that it does not have.
    pub fn of<T: DeserializeOwned>(
        &self,
        plugin: &str,
        kind: &str,
        versions: &[&str],
    ) -> Result<Option<T>, ConfigError> {
        let Some(told) = self.plugins.get(plugin) else { return Ok(None) };
        let found = config_file::of_value(told.clone(), kind, versions);
        found.map(Some).map_err(|text| self.invalid(plugin, text))
    }

    /// What a plugin is told that takes a document without a kind.
    pub fn plain(&self, plugin: &str) -> Option<&Value> {
        self.plugins.get(plugin)
    }

    /// The folder that paths in the file are relative to.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// What a plugin is told cannot be.
    pub fn invalid(&self, plugin: &str, text: impl std::fmt::Display) -> ConfigError {
        ConfigError::invalid(&self.path, format!("plugin {plugin:?}: {text}"))
    }
}

fn document(path: &Path) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Read { path: path.display().to_string(), error })?;
    yaml::parse(&text, &mut Vec::new()).map_err(|error| ConfigError::invalid(path, error.to_string()))
}
