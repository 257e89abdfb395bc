//! What may be used only where a quota covers it: `limitedResources` of the plugin's configuration.
use crate::admission::Attributes;
use crate::admission::config::Configurations;
use crate::config_file::ConfigError;
use knarr_api::Value;
use knarr_api::quota::{self, Term, Usage};
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Configuration {
    limited_resources: Vec<LimitedResource>,
}

/// Use of a resource that needs a quota.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct LimitedResource {
    api_group: String,
    resource: String,
    /// Parts of names of what is counted: `requests.storage`, `.storageclass.storage.k8s.io/`.
    match_contains: Vec<String>,
    /// ScopedResourceSelectorRequirements.
    match_scopes: Vec<Value>,
}

/// A write that is to be covered.
pub(super) struct Written<'a> {
    /// Group and plural.
    pub resource: (&'a str, &'a str),
    pub new: &'a Value,
    pub old: Option<&'a Value>,
    pub now: Timestamp,
}

/// What no quota covers.
#[derive(Debug, PartialEq)]
pub(super) enum Uncovered {
    /// Names of what is counted.
    Names(String),
    /// Scopes, as the original prints them.
    Scopes(String),
}

impl Uncovered {
    /// The answer to the client; that for scopes has no reason, as in the original.
    pub fn refusal(&self, attributes: &Attributes<'_>) -> Status {
        match self {
            Self::Names(names) => attributes.forbidden(format!("insufficient quota to consume: {names}")),
            Self::Scopes(scopes) => {
                Status::new(500, "", format!("insufficient quota to match these scopes: [{scopes}]"))
            }
        }
    }
}

/// Reads the plugin's configuration.
///
/// # Errors
/// A limit without a resource.
pub(super) fn load(
    configurations: &Configurations,
    plugin: &str,
) -> Result<Vec<LimitedResource>, ConfigError> {
    let kind = "ResourceQuotaConfiguration";
    let found: Option<Configuration> = configurations.of(plugin, kind, &["apiserver.config.k8s.io/v1"])?;
    let limited = found.unwrap_or_default().limited_resources;
    match limited.iter().position(|limit| limit.resource.is_empty()) {
        Some(at) => {
            let text = format!("limitedResources[{at}].resource: Required value");
            Err(configurations.invalid(plugin, text))
        }
        None => Ok(limited),
    }
}

/// Looks whether the quotas of a namespace cover what a write uses.
///
/// # Errors
/// What they do not cover.
pub(super) fn check(
    limited: &[LimitedResource],
    quotas: &[Arc<Value>],
    write: &Written<'_>,
) -> Result<(), Uncovered> {
    let (group, plural) = write.resource;
    if limited.is_empty() {
        return Ok(());
    }
    let used = used(write.resource, write.new, write.now);
    if !uses_more(write, &used) {
        return Ok(());
    }
    let limits = limited.iter().filter(|limit| limit.api_group == group && limit.resource == plural);
    let parts: Vec<&String> = limits.flat_map(|limit| &limit.match_contains).collect();
    let mut names: BTreeSet<&str> = used
        .iter()
        .filter(|(name, amount)| amount.sign() > 0 && parts.iter().any(|part| name.contains(part.as_str())))
        .map(|(name, _)| name.as_str())
        .collect();
    let holds = |term: &Term<'_>| term.holds(group, plural, write.new);
    let mut covered = BTreeSet::new();
    for quota in quotas {
        covered.extend(quota::terms(&quota["spec"]).filter(holds).map(|term| term.scope));
        if quota::in_scopes(&quota["spec"], group, plural, write.new) {
            let hard = quota["status"]["hard"].as_object();
            names.retain(|name| hard.is_none_or(|hard| !hard.contains_key(*name)));
        }
    }
    if !names.is_empty() {
        return Err(Uncovered::Names(names.into_iter().collect::<Vec<_>>().join(",")));
    }
    let terms = limited.iter().flat_map(|limit| &limit.match_scopes).map(Term::of);
    let lacking: Vec<String> =
        terms.filter(holds).filter(|term| !covered.contains(term.scope)).map(|term| shown(&term)).collect();
    if lacking.is_empty() { Ok(()) } else { Err(Uncovered::Scopes(lacking.join(" "))) }
}

fn used((group, plural): (&str, &str), object: &Value, now: Timestamp) -> Usage {
    quota::usage(group, plural, object, now)
}

/// Whether the write uses more of anything than what it replaces.
fn uses_more(write: &Written<'_>, now: &Usage) -> bool {
    let before = write.old.map(|old| used(write.resource, old, write.now)).unwrap_or_default();
    now.iter().any(|(name, amount)| before.get(name).map_or(amount.sign() > 0, |before| amount > before))
}

/// `{PriorityClass In [high]}`.
fn shown(term: &Term<'_>) -> String {
    let values: Vec<&str> = term.values.iter().filter_map(Value::as_str).collect();
    format!("{{{} {} [{}]}}", term.scope, term.operator, values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_limited_needs_a_quota() {
        let limited: Vec<LimitedResource> = serde_json::from_value(json!([
            {"resource": "persistentvolumeclaims", "matchContains": ["fast.storageclass.storage.k8s.io/requests.storage"]},
            {"resource": "pods", "matchScopes": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["high", "higher"]}]},
        ]))
        .unwrap();
        let tell = |plural: &str,
                    new: &Value,
                    old: Option<&Value>,
                    quotas: &[Value],
                    expected: Result<(), Uncovered>| {
            let quotas: Vec<_> = quotas.iter().cloned().map(Arc::new).collect();
            let write = Written { resource: ("", plural), new, old, now: Timestamp::now() };
            assert_eq!(check(&limited, &quotas, &write), expected, "{new} with {quotas:?}");
        };
        let pod = |class: &str| json!({"spec": {"priorityClassName": class, "containers": [{"name": "c"}]}});
        let scopes = || Err(Uncovered::Scopes("{PriorityClass In [high higher]}".to_owned()));
        tell("pods", &pod("low"), None, &[], Ok(()));
        tell("pods", &pod("high"), None, &[], scopes());
        tell("pods", &pod("high"), Some(&pod("high")), &[], Ok(()));
        let scoped = |class: &str| {
            json!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": [class]}]}}})
        };
        tell("pods", &pod("high"), None, &[scoped("low")], scopes());
        tell("pods", &pod("high"), None, &[scoped("low"), scoped("high")], Ok(()));
        let claim = |class: &str| json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}});
        let name = "fast.storageclass.storage.k8s.io/requests.storage";
        let names = || Err(Uncovered::Names(name.to_owned()));
        let hard = |name: &str| json!({"spec": {}, "status": {"hard": {name: "5Gi"}}});
        tell("persistentvolumeclaims", &claim("slow"), None, &[], Ok(()));
        tell("persistentvolumeclaims", &claim("fast"), None, &[hard("requests.storage")], names());
        tell("persistentvolumeclaims", &claim("fast"), None, &[hard(name)], Ok(()));
    }
}
