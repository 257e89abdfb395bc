//! Manifests, indexes and configurations, as far as they are used.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Result, StoreError};

/// Media type of a manifest that is made here.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a configuration that is described here.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a plain layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Names a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
    /// More about it; archives name images here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// In an index: for which machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A kind of machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// In Go's words.
    pub architecture: String,
    /// In Go's words.
    pub os: String,
    /// Version of the architecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A manifest or an index: which of them shows in what it holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it says it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    /// The layers, the lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Descriptor>,
    /// In an index: manifests of several machines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Descriptor>,
}

impl Manifest {
    /// Of an index, the entry for this machine.
    pub fn for_this_machine(&self) -> Option<&Descriptor> {
        let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
        let known = self.manifests.iter().find(|one| one.platform.as_ref().is_some_and(fits));
        // An archive of a single image need not say for which machine it is.
        known.or_else(|| self.manifests.first().filter(|one| one.platform.is_none()))
    }
}

/// The configuration of an image.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// In Go's words.
    pub architecture: String,
    /// What containers of it get.
    #[serde(deserialize_with = "null_is_default")]
    pub config: Execution,
    /// The layers.
    pub rootfs: RootFs,
}

/// What a container gets unless its own configuration says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// `NAME=VALUE` each.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// Program.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Arguments, or the program if there is no entry point.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Where it starts.
    pub working_dir: String,
    /// Name or number of the signal that stops it.
    pub stop_signal: String,
    /// Folders for data.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
}

/// The layers of an image by the digests of their plain content.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// The lowest first.
    pub diff_ids: Vec<String>,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a document.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Invalid(format!("image document: {error}")))
}

/// This machine's architecture in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
