//! Configuration files that flags name: YAML or JSON of a kind and version, read strictly, so that a misspelt field stops
//! the start instead of being left out.
use knarr_api::{Value, yaml};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("failed to read file path {path:?}: {error}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It is no document of the kind.
    #[error("{path}: failed decoding: {text}")]
    Decode {
        /// The file.
        path: String,
        /// What is wrong.
        text: String,
    },
    /// It holds what cannot be.
    #[error("{path}: {text}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong, with the field.
        text: String,
    },
}

impl ConfigError {
    /// A file whose content cannot be.
    pub fn invalid(path: &Path, text: impl Into<String>) -> Self {
        Self::Invalid { path: path.display().to_string(), text: text.into() }
    }
}

/// Reads a document of `kind` in one of `versions` (`audit.k8s.io/v1`).
///
/// # Errors
/// No such file, another kind or version, a field that the kind does not have.
pub fn read<T: DeserializeOwned>(path: &Path, kind: &str, versions: &[&str]) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Read { path: path.display().to_string(), error })?;
    parse(&text, kind, versions)
        .map_err(|text| ConfigError::Decode { path: path.display().to_string(), text })
}

/// Reads a document out of text.
///
/// # Errors
/// Another kind or version, a field that the kind does not have.
pub fn parse<T: DeserializeOwned>(text: &str, kind: &str, versions: &[&str]) -> Result<T, String> {
    let mut strict = Vec::new();
    let document = yaml::parse(text, &mut strict).map_err(|error| error.to_string())?;
    if let Some(error) = strict.first() {
        return Err(format!("strict decoding error: {error}"));
    }
    of_value(document, kind, versions)
}

/// Takes a document that was parsed already.
///
/// # Errors
/// Another kind or version, a field that the kind does not have.
pub fn of_value<T: DeserializeOwned>(
    mut document: Value,
    kind: &str,
    versions: &[&str],
) -> Result<T, String> {
    let object = document.as_object_mut().ok_or_else(|| format!("no object, but a {kind} is expected"))?;
    let mut take = |name: &str| match object.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (found_version, found_kind) = (take("apiVersion"), take("kind"));
    take("metadata");
    if found_kind.is_empty() {
        return Err("Object 'Kind' is missing".to_owned());
    }
    if found_version.is_empty() {
        return Err("Object 'apiVersion' is missing".to_owned());
    }
    if found_kind != kind || !versions.contains(&found_version.as_str()) {
        return Err(format!(
            "no kind {found_kind:?} is registered for version {found_version:?}; expected {kind:?} of {}",
            versions.join(", ")
        ));
    }
    serde_json::from_value(document).map_err(|error| format!("strict decoding error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        size: u32,
    }

    #[test]
    fn documents() {
        let check = |text: &str, expected: Result<u32, &str>| {
            let found = parse::<Thing>(text, "Thing", &["a/v1"]).map(|thing| thing.size);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        };
        check("apiVersion: a/v1\nkind: Thing\nsize: 3\n", Ok(3));
        check(r#"{"apiVersion":"a/v1","kind":"Thing","metadata":{"name":"x"},"size":4}"#, Ok(4));
        check("apiVersion: a/v1\nsize: 3\n", Err("'Kind' is missing"));
        check("kind: Thing\nsize: 3\n", Err("'apiVersion' is missing"));
        check("apiVersion: a/v2\nkind: Thing\nsize: 3\n", Err("no kind \"Thing\" is registered"));
        check("apiVersion: a/v1\nkind: Thing\nsize: 3\nsise: 4\n", Err("unknown field `sise`"));
        check("apiVersion: a/v1\nkind: Thing\nsize: 3\nsize: 4\n", Err("strict decoding error"));
    }
}
