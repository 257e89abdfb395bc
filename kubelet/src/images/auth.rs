//! Credentials from pull secrets, `kubernetes.io/dockerconfigjson` and the older `dockercfg`, and from the node.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use prost::Message;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::name::ImageName;
use crate::hex;
use crate::runtime::types::AuthConfig;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

/// The credentials of a secret that are for the image's registry, the most specific first.
pub fn matching(secret: &Secret, image: &ImageName) -> Vec<AuthConfig> {
    let data = secret.data.as_ref();
    let get = |key: &str| data.and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let auths = if let Some(json) = get(".dockerconfigjson") {
        serde_json::from_slice::<DockerConfig>(json).map(|config| config.auths)
    } else if let Some(json) = get(".dockercfg") {
        serde_json::from_slice(json)
    } else {
        return Vec::new();
    };
    match auths {
        Ok(auths) => choose(&auths, image),
        Err(_) => {
            tracing::warn!(secret = secret.metadata.name, "pull secret is no docker configuration");
            Vec::new()
        }
    }
}

/// By which equal credentials are known.
pub fn hash(auth: &AuthConfig) -> String {
    hex::text(&Sha256::digest(auth.encode_to_vec()))
}

/// The node's own credentials for the image's registry: those of the first configuration of docker that is there.
pub fn of_node(image: &ImageName) -> Vec<AuthConfig> {
    let home = std::env::home_dir().unwrap_or_default();
    let folders = [home.join(".docker"), PathBuf::from("/.docker")];
    let found = folders.iter().find_map(|folder| std::fs::read(folder.join("config.json")).ok());
    found.map(|json| of_configuration(&json, image)).unwrap_or_default()
}

fn of_configuration(json: &[u8], image: &ImageName) -> Vec<AuthConfig> {
    match serde_json::from_slice::<DockerConfig>(json) {
        Ok(config) => choose(&config.auths, image),
        Err(error) => {
            tracing::warn!(%error, "the node's docker configuration cannot be read");
            Vec::new()
        }
    }
}

fn choose(auths: &BTreeMap<String, Entry>, image: &ImageName) -> Vec<AuthConfig> {
    let mut found: Vec<_> = auths.iter().filter(|(pattern, _)| fits(pattern, image)).collect();
    found.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    found.into_iter().map(|(_, entry)| config(entry)).collect()
}

/// Whether an entry's key covers the image: host (with `*` for a label, and port) and path prefix.
fn fits(pattern: &str, image: &ImageName) -> bool {
    let bare = pattern.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_end_matches('/');
    // Docker Hub's key of old.
    let (host, path) = match (host, path) {
        ("index.docker.io", "v1" | "") => ("docker.io", ""),
        other => other,
    };
    let host_fits = host.split('.').count() == image.registry.split('.').count()
        && host.split('.').zip(image.registry.split('.')).all(|(want, have)| want == "*" || want == have);
    let path_fits = image
        .path
        .strip_prefix(path)
        .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'));
    host_fits && path_fits
}

/// Without the server's address: it fits already, and runtimes want more of it than a host with a port.
fn config(entry: &Entry) -> AuthConfig {
    let mut config = AuthConfig {
        username: entry.username.clone(),
        password: entry.password.clone(),
        identity_token: entry.identitytoken.clone(),
        registry_token: entry.registrytoken.clone(),
        ..Default::default()
    };
    let decoded = STANDARD.decode(&entry.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':'))
        && config.username.is_empty()
    {
        config.username = user.to_owned();
        config.password = password.to_owned();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::super::name::parse;
    use super::*;

    #[test]
    fn entries_fit_images() {
        let check = |pattern: &str, image: &str, expected: bool| {
            assert_eq!(fits(pattern, &parse(image).expect("image")), expected, "{pattern} {image}");
        };
        check("registry.test", "registry.test/a:1", true);
        check("https://registry.test/", "registry.test/a:1", true);
        check("registry.test/team", "registry.test/team/a", true);
        check("registry.test/team", "registry.test/teams/a", false);
        check("*.test", "registry.test/a", true);
        check("*.test", "x.registry.test/a", false);
        check("registry.test:5000", "registry.test/a", false);
        check("https://index.docker.io/v1/", "busybox", true);
    }

    #[test]
    fn credentials_are_decoded() {
        let json = r#"{"auths": {"r.test": {"auth": "dTpwOnc="}, "other.test": {"username": "x"}}}"#;
        let secret = Secret {
            data: Some([(".dockerconfigjson".to_owned(), k8s_openapi::ByteString(json.into()))].into()),
            ..Default::default()
        };
        let found = matching(&secret, &parse("r.test/a").expect("image"));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].username.as_str(), found[0].password.as_str()), ("u", "p:w"));
    }

    #[test]
    fn the_node_has_a_configuration_of_docker() {
        let image = parse("reg.test/a:1").expect("name");
        let users = |json: &str| -> Vec<String> {
            of_configuration(json.as_bytes(), &image).into_iter().map(|auth| auth.username).collect()
        };
        assert_eq!(
            users(r#"{"auths": {"reg.test": {"auth": "dTpw"}, "other.test": {"auth": "eDp5"}}}"#),
            ["u"]
        );
        assert!(users(r#"{"credsStore": "x"}"#).is_empty());
        assert!(users("nonsense").is_empty());
    }
}
