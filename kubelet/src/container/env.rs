//! The environment of a container: service variables, `envFrom` and `env`.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use super::expand::expand;
use super::field::{self, Surroundings};
use super::{ConfigError, env_file};
use crate::pod;

/// The objects that a pod's containers and volumes refer to, fetched before; `None` means not found.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Config maps by name.
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// Texts of files in volumes, by volume and path.
    pub files: BTreeMap<(String, String), Option<String>>,
}

impl Objects {
    /// A config map, or the original's words for its absence.
    pub fn config_map(&self, name: &str, optional: bool) -> Result<Option<&ConfigMap>, ConfigError> {
        match self.config_maps.get(name).and_then(Option::as_ref) {
            None if !optional => Err(ConfigError::Missing(format!("configmap \"{name}\" not found"))),
            found => Ok(found),
        }
    }

    /// A secret, likewise.
    pub fn secret(&self, name: &str, optional: bool) -> Result<Option<&Secret>, ConfigError> {
        match self.secrets.get(name).and_then(Option::as_ref) {
            None if !optional => Err(ConfigError::Missing(format!("secret \"{name}\" not found"))),
            found => Ok(found),
        }
    }
}

/// Names of the config maps and secrets that a container's environment needs.
pub fn references(container: &Container) -> (Vec<&str>, Vec<&str>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for source in container.env_from.iter().flatten() {
        config_maps.extend(source.config_map_ref.as_ref().map(|r| r.name.as_str()));
        secrets.extend(source.secret_ref.as_ref().map(|r| r.name.as_str()));
    }
    for from in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        config_maps.extend(from.config_map_key_ref.as_ref().map(|r| r.name.as_str()));
        secrets.extend(from.secret_key_ref.as_ref().map(|r| r.name.as_str()));
    }
    (config_maps, secrets)
}

/// Volumes and paths of the files that a container's environment needs.
pub fn files(container: &Container) -> Vec<(&str, &str)> {
    let sources =
        container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()?.file_key_ref.as_ref());
    sources.map(|file| (file.volume_name.as_str(), file.path.as_str())).collect()
}

/// The whole environment of a container.
pub fn environment(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
    services: &BTreeMap<String, String>,
    around: &Surroundings,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut names: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |values: &mut BTreeMap<String, String>, name: String, value: String| {
        if values.insert(name.clone(), value).is_none() {
            names.push(name);
        }
    };
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let map = objects.config_map(&reference.name, reference.optional == Some(true))?;
            for (key, value) in map.and_then(|map| map.data.as_ref()).into_iter().flatten() {
                put(&mut values, format!("{prefix}{key}"), value.clone());
            }
        }
        if let Some(reference) = &source.secret_ref {
            let secret = objects.secret(&reference.name, reference.optional == Some(true))?;
            for (key, value) in secret.and_then(|secret| secret.data.as_ref()).into_iter().flatten() {
                put(&mut values, format!("{prefix}{key}"), text(value));
            }
        }
    }
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            None => {
                let plain = var.value.as_deref().unwrap_or_default();
                Some(expand(plain, |name| {
                    values.get(name).or_else(|| services.get(name)).map(String::as_str)
                }))
            }
            Some(from) => value_from(pod, container, from, objects, around)?,
        };
        if let Some(value) = value {
            put(&mut values, var.name.clone(), value);
        }
    }
    for (name, value) in services {
        if !values.contains_key(name) {
            put(&mut values, name.clone(), value.clone());
        }
    }
    Ok(names.into_iter().filter_map(|name| values.remove(&name).map(|value| (name, value))).collect())
}

fn value_from(
    pod: &Pod,
    container: &Container,
    from: &EnvVarSource,
    objects: &Objects,
    around: &Surroundings,
) -> Result<Option<String>, ConfigError> {
    if let Some(reference) = &from.field_ref {
        return field::field(pod, &reference.field_path, around).map(Some);
    }
    if let Some(selector) = &from.resource_field_ref {
        return field::resource(pod, Some(&container.name), selector, around).map(Some);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let map = objects.config_map(&reference.name, optional)?;
        let value = map.and_then(|map| map.data.as_ref()).and_then(|data| data.get(&reference.key));
        return require(value.cloned(), optional, &reference.key, "ConfigMap", pod, &reference.name);
    }
    if let Some(reference) = &from.secret_key_ref {
        let optional = reference.optional == Some(true);
        let secret = objects.secret(&reference.name, optional)?;
        let value = secret.and_then(|secret| secret.data.as_ref()).and_then(|data| data.get(&reference.key));
        return require(value.map(text), optional, &reference.key, "Secret", pod, &reference.name);
    }
    if let Some(reference) = &from.file_key_ref {
        let (volume, path) = (reference.volume_name.clone(), reference.path.clone());
        let text = objects.files.get(&(volume, path)).and_then(Option::as_ref);
        let optional = reference.optional == Some(true);
        let value = match text {
            Some(text) => env_file::value(text, &reference.key),
            None if optional => Ok(None),
            None => Err(format!(
                "failed to open environment variable file {:?}: no such file or directory",
                reference.path
            )),
        };
        let value =
            value.map_err(|error| ConfigError::Invalid(format!("couldn't parse env file: {error}")))?;
        if value.is_none() && !optional {
            return Err(ConfigError::Missing(format!(
                "environment variable key {:?} not found in file {:?}",
                reference.key, reference.path
            )));
        }
        return Ok(value);
    }
    Err(ConfigError::Invalid("this source of an environment variable is not supported".to_owned()))
}

fn require(
    value: Option<String>,
    optional: bool,
    key: &str,
    kind: &str,
    pod: &Pod,
    name: &str,
) -> Result<Option<String>, ConfigError> {
    if value.is_none() && !optional {
        let namespace = pod::namespace(pod);
        return Err(ConfigError::Missing(format!("couldn't find key {key} in {kind} {namespace}/{name}")));
    }
    Ok(value)
}

fn text(bytes: &ByteString) -> String {
    String::from_utf8_lossy(&bytes.0).into_owned()
}

/// Variables that tell of services, in the form of `--link` of old: of the pod's namespace if it wants
/// them, and always of `default/kubernetes`.
pub fn service_variables<'a>(
    pod: &Pod,
    services: impl IntoIterator<Item = &'a Service>,
) -> BTreeMap<String, String> {
    let links = pod::spec(pod).enable_service_links != Some(false);
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        if links && namespace == pod::namespace(pod) {
            chosen.insert(name, service);
        } else if (namespace, name) == ("default", "kubernetes") {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in chosen {
        add_service(&mut variables, name, service);
    }
    variables
}

fn add_service(variables: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let upper = |text: &str| text.to_uppercase().replace(['-', '.'], "_");
    let base = upper(name);
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut put = |key: String, value: String| variables.insert(key, value);
    put(format!("{base}_SERVICE_HOST"), ip.to_owned());
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            put(format!("{base}_SERVICE_PORT"), port.port.to_string());
            put(format!("{base}_PORT"), url.clone());
        }
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            put(format!("{base}_SERVICE_PORT_{}", upper(name)), port.port.to_string());
        }
        let link = format!("{base}_PORT_{}_{}", port.port, protocol.to_uppercase());
        put(format!("{link}_PROTO"), protocol.to_lowercase());
        put(format!("{link}_PORT"), port.port.to_string());
        put(format!("{link}_ADDR"), ip.to_owned());
        put(link, url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Objects {
        let map: ConfigMap = serde_yaml_ng::from_str("{data: {k: v, other: w}}").expect("config map");
        let secret: Secret = serde_yaml_ng::from_str("{data: {pw: c2VjcmV0}}").expect("secret");
        Objects {
            config_maps: [("cm".to_owned(), Some(map))].into(),
            secrets: [("s".to_owned(), Some(secret))].into(),
            files: [(("v".to_owned(), "f.env".to_owned()), Some("K='file'".to_owned()))].into(),
        }
    }

    fn check(env: &str, expected: Result<&[(&str, &str)], &str>) {
        let pod = pod::tests::pod(&format!(
            "{{metadata: {{name: p, namespace: ns}}, spec: {{containers: [{{name: a, {env}}}]}}}}"
        ));
        let services = [("SVC_SERVICE_HOST".to_owned(), "10.0.0.10".to_owned())].into();
        let made =
            environment(&pod, &pod::containers(&pod)[0], &objects(), &services, &Surroundings::default());
        let made = made.map_err(|error| error.to_string());
        let own = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            let mut list: Vec<_> = list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            list.push(("SVC_SERVICE_HOST".to_owned(), "10.0.0.10".to_owned()));
            list
        };
        assert_eq!(made, expected.map(own).map_err(str::to_owned), "{env}");
    }

    #[test]
    fn variables_of_files() {
        let of =
            |rest: &str| format!("env: [{{name: X, valueFrom: {{fileKeyRef: {{volumeName: v, {rest}}}}}}}]");
        check(&of("path: f.env, key: K"), Ok(&[("X", "file")]));
        check(&of("path: f.env, key: L, optional: true"), Ok(&[]));
        check(&of("path: g.env, key: K, optional: true"), Ok(&[]));
        check(&of("path: f.env, key: L"), Err("environment variable key \"L\" not found in file \"f.env\""));
    }

    #[test]
    fn environments() {
        check(
            "env: [{name: A, value: x}, {name: B, value: $(A)$(SVC_SERVICE_HOST)$(C)}]",
            Ok(&[("A", "x"), ("B", "x10.0.0.10$(C)")]),
        );
        check("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]", Ok(&[("A", "p")]));
        check("env: [{name: A, valueFrom: {configMapKeyRef: {name: cm, key: k}}}]", Ok(&[("A", "v")]));
        check("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: pw}}}]", Ok(&[("A", "secret")]));
        check(
            "envFrom: [{prefix: P_, configMapRef: {name: cm}}], env: [{name: P_k, value: new}]",
            Ok(&[("P_k", "new"), ("P_other", "w")]),
        );
        check("envFrom: [{secretRef: {name: gone, optional: true}}]", Ok(&[]));
        check("envFrom: [{secretRef: {name: gone}}]", Err("secret \"gone\" not found"));
        check(
            "env: [{name: A, valueFrom: {configMapKeyRef: {name: cm, key: z}}}]",
            Err("couldn't find key z in ConfigMap ns/cm"),
        );
        check("env: [{name: A, valueFrom: {configMapKeyRef: {name: cm, key: z, optional: true}}}]", Ok(&[]));
        check(
            "env: [{name: A, valueFrom: {configMapKeyRef: {name: no, key: z}}}]",
            Err("configmap \"no\" not found"),
        );
    }

    #[test]
    fn services_become_variables() {
        let service: Service = serde_yaml_ng::from_str(
            "{metadata: {name: my-db, namespace: ns}, spec: {clusterIP: 10.0.0.9,
              ports: [{name: sql, port: 5432}, {port: 53, protocol: UDP}]}}",
        )
        .expect("service");
        let pod = pod::tests::pod("{metadata: {namespace: ns}, spec: {containers: []}}");
        let variables = service_variables(&pod, [&service]);
        let get = |name: &str| variables.get(name).map(String::as_str);
        assert_eq!(get("MY_DB_SERVICE_HOST"), Some("10.0.0.9"));
        assert_eq!(get("MY_DB_SERVICE_PORT"), Some("5432"));
        assert_eq!(get("MY_DB_SERVICE_PORT_SQL"), Some("5432"));
        assert_eq!(get("MY_DB_PORT"), Some("tcp://10.0.0.9:5432"));
        assert_eq!(get("MY_DB_PORT_53_UDP"), Some("udp://10.0.0.9:53"));
        assert_eq!(get("MY_DB_PORT_53_UDP_PROTO"), Some("udp"));
        assert_eq!(variables.len(), 12);
        let other = pod::tests::pod("{metadata: {namespace: elsewhere}, spec: {containers: []}}");
        assert!(service_variables(&other, [&service]).is_empty());
    }
}
