//! The parameters that a binding gives to its policy.
use super::super::Attributes;
use super::compiled::{Binding, Policy};
use crate::objects::Objects;
use crate::registry::Row;
use futures::future::try_join_all;
use knarr_api::Value;
use knarr_api::selector::LabelSelector;
use std::sync::Arc;

/// The objects of parameters, each for an evaluation of its own; nothing where the binding is to be passed over.
///
/// # Errors
/// Parameters that cannot be found, in words.
pub async fn find(
    objects: &dyn Objects,
    policy: &Policy,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Result<Vec<Option<Arc<Value>>>, String> {
    let (Some((api_version, kind)), Some(wanted)) = (&policy.param_kind, &binding.params) else {
        return Ok(vec![None]);
    };
    let (group, version) = knarr_api::kind::split_api_version(api_version);
    let rows = attributes.siblings.map(|siblings| siblings.rows);
    let Some(row) = rows.and_then(|rows| rows.kind(group, version, kind)) else {
        return Err(format!(
            "failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'"
        ));
    };
    let namespace = namespace(&row, wanted, attributes)?;
    let found = match wanted["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => one(objects, &row, namespace, name),
        None => selected(objects, &row, namespace, &wanted["selector"])?,
    };
    if !found.is_empty() {
        // In the version of the policy's `paramKind`.
        let converted = found.iter().map(|object| row.served(object));
        let converted = try_join_all(converted).await.map_err(|status| status.message)?;
        return Ok(converted.into_iter().map(Some).collect());
    }
    if wanted["parameterNotFoundAction"] == "Allow" {
        return Ok(Vec::new());
    }
    Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned())
}

/// The namespace in which parameters lie; empty for those of the whole cluster.
fn namespace<'a>(row: &Row, wanted: &'a Value, attributes: &'a Attributes<'_>) -> Result<&'a str, String> {
    let given = wanted["namespace"].as_str().unwrap_or_default();
    match (row.kind.namespaced, given.is_empty()) {
        (false, false) => {
            Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned())
        }
        (true, true) if attributes.namespace.is_empty() => {
            Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .to_owned())
        }
        (true, true) => Ok(attributes.namespace),
        _ => Ok(given),
    }
}

fn stored(row: &Row) -> (&str, &str) {
    let (group, plural) = row.resource.split_once('/').unwrap_or(("", &row.resource));
    (if group == "core" { "" } else { group }, plural)
}

fn one(objects: &dyn Objects, row: &Row, namespace: &str, name: &str) -> Vec<Arc<Value>> {
    let (group, plural) = stored(row);
    objects.get(group, plural, namespace, name).into_iter().collect()
}

fn selected(
    objects: &dyn Objects,
    row: &Row,
    namespace: &str,
    selector: &Value,
) -> Result<Vec<Arc<Value>>, String> {
    let selector = LabelSelector::from_object(Some(selector)).map_err(|error| error.to_string())?;
    let (group, plural) = stored(row);
    let within = row.kind.namespaced.then_some(namespace);
    let mut all = objects.list(group, plural, within);
    all.retain(|object| selector.matches(&object["metadata"]["labels"]));
    Ok(all)
}
