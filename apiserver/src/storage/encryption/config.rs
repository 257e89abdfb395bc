//! The configuration file, `apiserver.config.k8s.io/v1` EncryptionConfiguration.
use super::Rule;
use super::ciphers::{Cipher, Kind, LocalKey};
use super::kms::Kms;
use crate::config_file::{self, ConfigError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    #[serde(default)]
    resources: Vec<Resources>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<Provider>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Provider {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Identity>,
    kms: Option<Plugin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<NamedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedKey {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Plugin {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    endpoint: String,
    cachesize: Option<i32>,
    timeout: Option<String>,
}

/// Which resources a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As keys begin, `core` for the core group; none: every group.
    group: Option<String>,
    /// None: every resource.
    resource: Option<String>,
}

impl Pattern {
    /// `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`.
    fn parse(text: &str) -> Result<Self, String> {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        if resource.is_empty() || resource == "*" && !text.contains('.') {
            return Err("use '*.*' for all resources, '*.' for those of the core group".to_owned());
        }
        if resource != "*" && resource.contains('*') || group != "*" && group.contains('*') {
            return Err("a wildcard stands for a whole name".to_owned());
        }
        if group == "*" && resource != "*" {
            return Err("use '*.<group>' or '*.*'".to_owned());
        }
        if resource.contains('/') || text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("a resource is a plural in lower case, without subresource".to_owned());
        }
        Ok(Self {
            group: match group {
                "*" => None,
                "" => Some("core".to_owned()),
                group => Some(group.to_owned()),
            },
            resource: (resource != "*").then(|| resource.to_owned()),
        })
    }

    /// Is a resource as keys begin (`core/secrets`) of it?
    pub fn matches(&self, resource: &str) -> bool {
        let (group, plural) = resource.split_once('/').unwrap_or(("", resource));
        self.group.as_deref().is_none_or(|wanted| wanted == group)
            && self.resource.as_deref().is_none_or(|wanted| wanted == plural)
    }
}

/// Reads the file.
///
/// # Errors
/// What is wrong in it, with the field.
pub fn load(path: &Path) -> Result<Vec<Rule>, ConfigError> {
    let configuration: Configuration =
        config_file::read(path, "EncryptionConfiguration", &["apiserver.config.k8s.io/v1"])?;
    rules(&configuration).map_err(|text| ConfigError::invalid(path, text))
}

fn rules(configuration: &Configuration) -> Result<Vec<Rule>, String> {
    if configuration.resources.is_empty() {
        return Err("resources: Required value: provider config is missing".to_owned());
    }
    let mut names = HashSet::new();
    let mut rules = Vec::new();
    for (index, entry) in configuration.resources.iter().enumerate() {
        let place = format!("resources[{index}]");
        if entry.resources.is_empty() {
            return Err(format!("{place}.resources: Required value"));
        }
        if entry.providers.is_empty() {
            return Err(format!("{place}.providers: Required value"));
        }
        let patterns = entry.resources.iter().enumerate().map(|(number, text)| {
            let invalid = |why| format!("{place}.resources[{number}]: Invalid value: {text:?}: {why}");
            Pattern::parse(text).map_err(invalid)
        });
        let patterns = patterns.collect::<Result<_, _>>()?;
        let mut ciphers = Vec::new();
        for (number, provider) in entry.providers.iter().enumerate() {
            let place = format!("{place}.providers[{number}]");
            ciphers.extend(provider.ciphers(&place, &mut names)?);
        }
        rules.push(Rule { patterns, ciphers });
    }
    Ok(rules)
}

impl Provider {
    fn ciphers(&self, place: &str, names: &mut HashSet<String>) -> Result<Vec<Cipher>, String> {
        let local =
            [(Kind::AesGcm, &self.aesgcm), (Kind::AesCbc, &self.aescbc), (Kind::Secretbox, &self.secretbox)];
        let given = local.iter().filter(|(_, keys)| keys.is_some()).count();
        let given = given + usize::from(self.identity.is_some()) + usize::from(self.kms.is_some());
        if given != 1 {
            return Err(format!(
                "{place}: Invalid value: a provider is one of aesgcm, aescbc, secretbox, kms, identity"
            ));
        }
        if let Some(plugin) = &self.kms {
            return plugin.cipher(&format!("{place}.kms"), names).map(|cipher| vec![cipher]);
        }
        for (kind, keys) in local {
            if let Some(keys) = keys {
                return keys.ciphers(kind, &format!("{place}.{}", kind.name()));
            }
        }
        Ok(vec![Cipher::Identity])
    }
}

impl Keys {
    fn ciphers(&self, kind: Kind, place: &str) -> Result<Vec<Cipher>, String> {
        if self.keys.is_empty() {
            return Err(format!("{place}.keys: Required value"));
        }
        let mut ciphers = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            let place = format!("{place}.keys[{index}]");
            if key.name.is_empty() || key.name.contains(':') {
                return Err(format!("{place}.name: Invalid value: {:?}: a name, without ':'", key.name));
            }
            if self.keys[..index].iter().any(|other| other.name == key.name) {
                return Err(format!("{place}.name: Invalid value: {:?}: duplicate key name", key.name));
            }
            // What is wrong with a secret is said without showing it.
            let secret = STANDARD.decode(&key.secret).map_err(|_| {
                format!("{place}.secret: Invalid value: \"REDACTED\": secret must be base64 encoded")
            })?;
            if !kind.key_sizes().contains(&secret.len()) {
                return Err(format!(
                    "{place}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got {}, \
                     expected one of {:?}",
                    secret.len(),
                    kind.key_sizes()
                ));
            }
            ciphers.push(Cipher::Local(LocalKey::new(kind, &key.name, secret)));
        }
        Ok(ciphers)
    }
}

impl Plugin {
    fn cipher(&self, place: &str, names: &mut HashSet<String>) -> Result<Cipher, String> {
        let invalid = |field: &str, value: &str, why: &str| {
            Err(format!("{place}.{field}: Invalid value: {value:?}: {why}"))
        };
        if self.api_version != "v2" {
            return invalid("apiVersion", &self.api_version, "only v2 of the KMS API is served here");
        }
        if self.cachesize.is_some() {
            return invalid("cachesize", "", "cachesize is not supported in v2");
        }
        if self.name.is_empty() || self.name.contains(':') {
            return invalid("name", &self.name, "a name, without ':'");
        }
        if !names.insert(self.name.clone()) {
            return invalid("name", &self.name, "duplicate KMS config name, names must be unique");
        }
        let Some(socket) = self.endpoint.strip_prefix("unix://").filter(|path| path.starts_with(['/', '@']))
        else {
            return invalid("endpoint", &self.endpoint, "unsupported scheme, must be unix:///path");
        };
        let timeout = match self.timeout.as_deref() {
            None => Some(Duration::from_secs(3)),
            Some(text) => crate::server::chain::go_duration(text).filter(|time| !time.is_zero()),
        };
        let Some(timeout) = timeout else {
            let given = self.timeout.as_deref().unwrap_or_default();
            return invalid("timeout", given, "timeout should be a positive value");
        };
        Ok(Cipher::Kms(Box::new(Kms::new(&self.name, socket, timeout))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Rule>, String> {
        let text = format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n{text}");
        let found = config_file::parse(&text, "EncryptionConfiguration", &["apiserver.config.k8s.io/v1"])?;
        rules(&found)
    }

    #[test]
    fn patterns() {
        let check = |text: &str, resource: &str, expected: bool| {
            assert_eq!(Pattern::parse(text).expect(text).matches(resource), expected, "{text} {resource}");
        };
        check("secrets", "core/secrets", true);
        check("secrets", "x.io/secrets", false);
        check("deployments.apps", "apps/deployments", true);
        check("*.apps", "apps/deployments", true);
        check("*.apps", "core/secrets", false);
        check("*.", "core/secrets", true);
        check("*.", "apps/deployments", false);
        check("*.*", "apps/deployments", true);
        for bad in ["*", "", "secrets.*", "sec*", "pods/status", "Secrets"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn faults() {
        let check = |text: &str, part: &str| {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("c2VjcmV0"), "the secret is not shown: {error}");
        };
        check("resources: []", "provider config is missing");
        check("resources: [{providers: [{identity: {}}]}]", "resources[0].resources: Required value");
        check("resources: [{resources: [secrets]}]", "resources[0].providers: Required value");
        let with =
            |provider: &str| format!("resources: [{{resources: [secrets], providers: [{{{provider}}}]}}]");
        check(&with("identity: {}, aesgcm: {keys: []}"), "a provider is one of");
        check(&with("aesgcm: {keys: []}"), "keys: Required value");
        check(&with("aesgcm: {keys: [{name: a, secret: c2VjcmV0}]}"), "got 6, expected one of [16, 24, 32]");
        check(&with("secretbox: {keys: [{name: a, secret: c2VjcmV0IGlz!}]}"), "must be base64 encoded");
        check(&with("aesgcm: {keys: [{name: 'a:b', secret: c2VjcmV0}]}"), "without ':'");
        check(&with("aes: {}"), "unknown field `aes`");
        check(&with("kms: {name: k, endpoint: 'unix:///s'}"), "only v2");
        check(&with("kms: {apiVersion: v2, name: k, endpoint: 'tcp://s'}"), "must be unix");
        check(&with("kms: {apiVersion: v2, name: k, endpoint: 'unix:///s', timeout: 0s}"), "positive");
        check(
            &with("kms: {apiVersion: v2, name: k, endpoint: 'unix:///s', cachesize: 5}"),
            "not supported in v2",
        );
    }

    #[test]
    fn the_first_rule_counts() {
        let secret = STANDARD.encode([7; 32]);
        let found = parse(&format!(
            "resources:\n- resources: [secrets]\n  providers: [{{aesgcm: {{keys: [{{name: a, secret: {secret}}}]}}}}, {{identity: {{}}}}]\n\
             - resources: ['*.*']\n  providers: [{{identity: {{}}}}]\n"
        ))
        .expect("rules");
        assert_eq!(found.iter().map(|rule| rule.ciphers.len()).collect::<Vec<_>>(), [2, 1]);
        assert!(found[0].ciphers[1].is_identity());
    }
}
