//! The files of config map, secret, downward API and projected volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};

use super::{Lookup, trust};
use crate::container::ConfigError;
use crate::container::field::{self, Surroundings};
use crate::pod;

/// Files by their path within the volume.
pub type Payload = BTreeMap<String, File>;

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Contents.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner, if not root.
    pub owner: Option<u32>,
}

/// The plugin's name, whether the files stay in memory, and the files; `None` for other kinds of volume.
type Collected = Option<(&'static str, bool, Payload)>;

/// Collects the files of a volume.
pub async fn collect(
    pod: &Pod,
    volume: &Volume,
    lookup: &dyn Lookup,
    around: &Surroundings,
) -> Result<Collected, ConfigError> {
    let mut files = Payload::new();
    let namespace = pod::namespace(pod);
    if let Some(source) = &volume.config_map {
        let mode = mode(source.default_mode);
        let optional = source.optional == Some(true);
        let map =
            required(lookup.config_map(namespace, &source.name).await?, optional, "configmap", &source.name)?;
        add_keys(&mut files, &config_map_data(map), source.items.as_deref(), mode, optional, NO_CONFIG_KEY)?;
        return Ok(Some(("configmap", false, files)));
    }
    if let Some(source) = &volume.secret {
        let mode = mode(source.default_mode);
        let optional = source.optional == Some(true);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let secret = required(lookup.secret(namespace, name).await?, optional, "secret", name)?;
        add_keys(&mut files, &secret_data(secret), source.items.as_deref(), mode, optional, NO_SECRET_KEY)?;
        return Ok(Some(("secret", true, files)));
    }
    if let Some(source) = &volume.downward_api {
        add_fields(&mut files, pod, source.items.as_deref(), mode(source.default_mode), around)?;
        return Ok(Some(("downward-api", true, files)));
    }
    if let Some(source) = &volume.projected {
        for projection in source.sources.iter().flatten() {
            project(&mut files, pod, projection, mode(source.default_mode), lookup, around).await?;
        }
        return Ok(Some(("projected", true, files)));
    }
    Ok(None)
}

async fn project(
    files: &mut Payload,
    pod: &Pod,
    projection: &VolumeProjection,
    mode: u32,
    lookup: &dyn Lookup,
    around: &Surroundings,
) -> Result<(), ConfigError> {
    let namespace = pod::namespace(pod);
    if let Some(source) = &projection.config_map {
        let optional = source.optional == Some(true);
        let map =
            required(lookup.config_map(namespace, &source.name).await?, optional, "configmap", &source.name)?;
        return add_keys(
            files,
            &config_map_data(map),
            source.items.as_deref(),
            mode,
            optional,
            NO_CONFIG_KEY,
        );
    }
    if let Some(source) = &projection.secret {
        let optional = source.optional == Some(true);
        let secret =
            required(lookup.secret(namespace, &source.name).await?, optional, "secret", &source.name)?;
        return add_keys(files, &secret_data(secret), source.items.as_deref(), mode, optional, NO_SECRET_KEY);
    }
    if let Some(source) = &projection.downward_api {
        return add_fields(files, pod, source.items.as_deref(), mode, around);
    }
    if let Some(source) = &projection.service_account_token {
        let file = token(pod, source, mode, lookup).await?;
        files.insert(source.path.clone(), file);
        return Ok(());
    }
    if let Some(source) = &projection.cluster_trust_bundle {
        let data = trust::roots(source, lookup).await?.into_bytes();
        let (mode, owner) = guarded(pod, mode);
        files.insert(source.path.clone(), File { data, mode, owner });
        return Ok(());
    }
    Err(ConfigError::Invalid("this kind of projected volume source is not supported".to_owned()))
}

async fn token(
    pod: &Pod,
    source: &ServiceAccountTokenProjection,
    mode: u32,
    lookup: &dyn Lookup,
) -> Result<File, ConfigError> {
    let audience = source.audience.as_deref().unwrap_or_default();
    let token = lookup.token(pod, audience, source.expiration_seconds.unwrap_or(3600)).await?;
    let (mode, owner) = guarded(pod, mode);
    Ok(File { data: token.token.into_bytes(), mode, owner })
}

/// Mode and owner of a file that only its pod is to read: if somebody else than root must, it is given to exactly that
/// user or group.
fn guarded(pod: &Pod, mode: u32) -> (u32, Option<u32>) {
    let owner = common_user(pod);
    let private = owner.is_some() || pod::security(pod).fs_group.is_some();
    (if private { 0o600 } else { mode }, owner)
}

/// The user that all containers run as, if the spec says one and the same for each.
fn common_user(pod: &Pod) -> Option<u32> {
    let default = pod::security(pod).run_as_user;
    let mut users = pod::init_containers(pod)
        .iter()
        .chain(pod::containers(pod))
        .map(|container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(default));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

fn mode(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644)
}

fn required<T>(
    found: Option<Arc<T>>,
    optional: bool,
    kind: &str,
    name: &str,
) -> Result<Option<Arc<T>>, ConfigError> {
    if found.is_none() && !optional {
        return Err(ConfigError::Missing(format!("{kind} \"{name}\" not found")));
    }
    Ok(found)
}

fn config_map_data(map: Option<Arc<ConfigMap>>) -> BTreeMap<String, Vec<u8>> {
    let Some(map) = map else { return BTreeMap::new() };
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(secret: Option<Arc<Secret>>) -> BTreeMap<String, Vec<u8>> {
    let Some(secret) = secret else { return BTreeMap::new() };
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// What is said of keys that are not there, which people search for.
const NO_CONFIG_KEY: &str = "configmap references non-existent config key";
const NO_SECRET_KEY: &str = "references non-existent secret key";

/// Adds all keys, or those that `items` lists under the paths it gives them; `missing` says that there is none.
fn add_keys(
    files: &mut Payload,
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
    missing: &str,
) -> Result<(), ConfigError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, value) in data {
            files.insert(key.clone(), File { data: value.clone(), mode: default_mode, owner: None });
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                let mode = item.mode.map_or(default_mode, |_| mode(item.mode));
                files.insert(item.path.clone(), File { data: value.clone(), mode, owner: None });
            }
            None if optional => {}
            None => {
                return Err(ConfigError::Missing(format!("{missing}: {}", item.key)));
            }
        }
    }
    Ok(())
}

fn add_fields(
    files: &mut Payload,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    default_mode: u32,
    around: &Surroundings,
) -> Result<(), ConfigError> {
    for item in items.into_iter().flatten() {
        let text = if let Some(reference) = &item.field_ref {
            field::field(pod, &reference.field_path, around)?
        } else if let Some(selector) = &item.resource_field_ref {
            field::resource(pod, None, selector, around)?
        } else {
            continue;
        };
        let mode = item.mode.map_or(default_mode, |_| mode(item.mode));
        files.insert(item.path.clone(), File { data: text.into_bytes(), mode, owner: None });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_items() {
        let data: BTreeMap<_, _> = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())].into();
        let check = |items: &str, optional: bool, expected: Result<&str, &str>| {
            let items: Vec<KeyToPath> = serde_yaml_ng::from_str(items).expect("items");
            let mut files = Payload::new();
            let result = add_keys(&mut files, &data, Some(&items), 0o600, optional, NO_SECRET_KEY);
            let text: Vec<_> = files
                .iter()
                .map(|(path, file)| format!("{path}={}:{:o}", String::from_utf8_lossy(&file.data), file.mode))
                .collect();
            let told = result.map(|()| text.join(" ")).map_err(|error| error.to_string());
            assert_eq!(told.as_deref().map_err(String::as_str), expected);
        };
        check("[]", false, Ok("a=1:600 b=2:600"));
        check("[{key: a, path: x/y, mode: 292}]", false, Ok("x/y=1:444"));
        check("[{key: z, path: x}]", false, Err("references non-existent secret key: z"));
        check("[{key: z, path: x}, {key: b, path: w}]", true, Ok("w=2:600"));
    }

    #[test]
    fn owners_of_tokens() {
        let check = |spec: &str, expected: Option<u32>| {
            assert_eq!(common_user(&pod::tests::pod(&format!("{{spec: {spec}}}"))), expected, "{spec}");
        };
        check("{containers: [{name: a}]}", None);
        check("{securityContext: {runAsUser: 5}, containers: [{name: a}]}", Some(5));
        check(
            "{securityContext: {runAsUser: 5}, containers: [{name: a}, {name: b, securityContext: {runAsUser: 6}}]}",
            None,
        );
    }
}
