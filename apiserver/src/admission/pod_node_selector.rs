//! PodNodeSelector: a namespace says on which nodes its pods run: by its annotation, else by the plugin's configuration,
//! which also may limit what pods of a namespace ask for.
use super::config::Configurations;
use super::{Attributes, Operation, Plugin};
use crate::config_file::ConfigError;
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::{Resource, Status};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const NAME: &str = "PodNodeSelector";
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// The entry of the configuration for namespaces without one of their own.
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

/// The plugin.
pub struct PodNodeSelector {
    objects: Arc<dyn Objects>,
    configured: HashMap<String, Labels>,
}

impl PodNodeSelector {
    /// The plugin with its configuration, `podNodeSelectorPluginConfig: {‹namespace›: ‹selector›}`.
    ///
    /// # Errors
    /// A selector that is none.
    pub fn new(objects: Arc<dyn Objects>, configurations: &Configurations) -> Result<Self, ConfigError> {
        let mut configured = HashMap::new();
        if let Some(told) = configurations.plain(NAME) {
            let entries = told["podNodeSelectorPluginConfig"].as_object();
            let entries = entries
                .ok_or_else(|| configurations.invalid(NAME, "podNodeSelectorPluginConfig: Required value"))?;
            for (namespace, selector) in entries {
                let labels = selector.as_str().ok_or("a selector is text").map(str::to_owned);
                let labels = labels.map_err(str::to_owned).and_then(|text| parse(&text));
                let labels =
                    labels.map_err(|text| configurations.invalid(NAME, format!("{namespace}: {text}")))?;
                configured.insert(namespace.clone(), labels);
            }
        }
        Ok(Self { objects, configured })
    }

    /// The labels that pods of the namespace run on.
    fn wanted(&self, attributes: &Attributes<'_>) -> Result<Labels, Status> {
        let name = attributes.namespace;
        let namespace = self.objects.get("", "namespaces", "", name);
        let namespace =
            namespace.ok_or_else(|| Status::not_found(Resource { group: "", plural: "namespaces" }, name))?;
        match namespace["metadata"]["annotations"][ANNOTATION].as_str() {
            Some(text) => parse(text).map_err(Status::internal),
            None => Ok(self.configured.get(DEFAULT).cloned().unwrap_or_default()),
        }
    }
}

/// `a=b,c=d`.
fn parse(text: &str) -> Result<Labels, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("invalid selector: [{pair}]"))?;
            Ok((name.trim().to_owned(), value.trim_start_matches('=').trim().to_owned()))
        })
        .collect()
}

fn selector(pod: &Value) -> Labels {
    let members = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn conflicts(own: &Labels, wanted: &Labels) -> bool {
    own.iter().any(|(name, value)| wanted.get(name).is_some_and(|other| other != value))
}

#[async_trait]
impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && attributes.is("", "pods")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let wanted = self.wanted(attributes)?;
        let own = attributes.object.as_ref().map(selector).unwrap_or_default();
        if conflicts(&own, &wanted) {
            return Err(attributes
                .forbidden("pod node label selector conflicts with its namespace node label selector"));
        }
        let merged: Labels = own.into_iter().chain(wanted).collect();
        if let (Some(pod), false) = (&mut attributes.object, merged.is_empty()) {
            pod["spec"]["nodeSelector"] = serde_json::json!(merged);
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let wanted = self.wanted(attributes)?;
        let own = attributes.object.as_ref().map(selector).unwrap_or_default();
        if conflicts(&own, &wanted) {
            return Err(attributes
                .forbidden("pod node label selector conflicts with its namespace node label selector"));
        }
        let Some(allowed) = self.configured.get(attributes.namespace) else { return Ok(()) };
        let is_allowed = own.iter().all(|(name, value)| allowed.get(name) == Some(value));
        if allowed.is_empty() || is_allowed {
            return Ok(());
        }
        Err(attributes.forbidden("pod node label selector labels conflict with its namespace whitelist"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = parse("a=b, c==d,").unwrap();
        assert_eq!((labels["a"].as_str(), labels["c"].as_str(), labels.len()), ("b", "d", 2));
        assert!(parse("a").is_err() && parse("").unwrap().is_empty());
        let other = parse("a=x").unwrap();
        assert!(conflicts(&labels, &other) && !conflicts(&labels, &parse("e=f").unwrap()));
    }
}
