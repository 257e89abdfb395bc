//! PodTolerationRestriction: what taints pods of a namespace tolerate by default, and what they may tolerate at all.
use super::config::Configurations;
use super::{Attributes, Operation, Plugin, array};
use crate::config_file::ConfigError;
use crate::objects::Objects;
use crate::strategy::qos;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::{Resource, Status};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

const NAME: &str = "PodTolerationRestriction";
const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Configuration {
    default: Vec<Value>,
    whitelist: Vec<Value>,
}

/// The plugin.
pub struct PodTolerationRestriction {
    objects: Arc<dyn Objects>,
    configured: Configuration,
}

impl PodTolerationRestriction {
    /// The plugin with its configuration, which holds for namespaces without annotations.
    ///
    /// # Errors
    /// A configuration that is none.
    pub fn new(objects: Arc<dyn Objects>, configurations: &Configurations) -> Result<Self, ConfigError> {
        let versions = ["podtolerationrestriction.admission.k8s.io/v1alpha1"];
        let configured = configurations.of(NAME, "Configuration", &versions)?.unwrap_or_default();
        Ok(Self { objects, configured })
    }

    /// Tolerations that an annotation of the namespace lists; else those of the configuration.
    fn listed(
        &self,
        attributes: &Attributes<'_>,
        annotation: &str,
        otherwise: &[Value],
    ) -> Result<Vec<Value>, Status> {
        let name = attributes.namespace;
        let namespace = self.objects.get("", "namespaces", "", name);
        let namespace =
            namespace.ok_or_else(|| Status::not_found(Resource { group: "", plural: "namespaces" }, name))?;
        match namespace["metadata"]["annotations"][annotation].as_str() {
            None => Ok(otherwise.to_vec()),
            Some("") => Ok(Vec::new()),
            Some(text) => serde_json::from_str(text).map_err(Status::internal),
        }
    }
}

/// Does a toleration tolerate all that another does?
fn covers(all: &Value, part: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let exists = |value: &Value| text(value, "operator") == "Exists";
    let (key, effect) = (text(all, "key"), text(all, "effect"));
    if !key.is_empty() && key != text(part, "key") || !effect.is_empty() && effect != text(part, "effect") {
        return false;
    }
    let longer = match (all["tolerationSeconds"].as_i64(), part["tolerationSeconds"].as_i64()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(all), Some(part)) => all >= part,
    };
    if !longer && effect == "NoExecute" {
        return false;
    }
    exists(all) || !exists(part) && text(all, "value") == text(part, "value")
}

/// Both lists, what one of the other covers left out.
fn merged(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut kept = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let is_covered = all[index + 1..].iter().any(|later| covers(later, one))
            || kept.iter().any(|kept: &Value| covers(kept, one));
        if !is_covered {
            kept.push((*one).clone());
        }
    }
    kept
}

#[async_trait]
impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && attributes.is("", "pods")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let mut added = Vec::new();
        if attributes.operation == Operation::Create {
            added = self.listed(attributes, DEFAULTS, &self.configured.default)?;
        }
        let Some(pod) = &mut attributes.object else { return Ok(()) };
        if qos::class(pod) != "BestEffort" {
            added.push(json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}));
        }
        let tolerations = merged(array(&pod["spec"]["tolerations"]), &added);
        if !tolerations.is_empty() {
            pod["spec"]["tolerations"] = tolerations.into();
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let allowed = self.listed(attributes, ALLOWED, &self.configured.whitelist)?;
        let own = attributes.object.as_ref().map_or(&[][..], |pod| array(&pod["spec"]["tolerations"]));
        let is_allowed = own.iter().all(|one| allowed.iter().any(|allowed| covers(allowed, one)));
        if allowed.is_empty() || is_allowed {
            return Ok(());
        }
        let text = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
        Err(attributes.forbidden(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_what() {
        let check = |all: Value, part: Value, expected: bool| {
            assert_eq!(covers(&all, &part), expected, "{all} {part}")
        };
        let exists = || json!({"key": "a", "operator": "Exists"});
        let equal = || json!({"key": "a", "value": "b", "effect": "NoSchedule"});
        check(exists(), equal(), true);
        check(equal(), exists(), false);
        check(equal(), equal(), true);
        check(json!({"operator": "Exists"}), equal(), true);
        check(json!({"key": "c", "operator": "Exists"}), equal(), false);
        let short = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
        check(long.clone(), short.clone(), true);
        check(short.clone(), long.clone(), false);
        assert_eq!(merged(&[short], std::slice::from_ref(&long)), [long]);
        assert_eq!(merged(&[equal()], &[equal()]).len(), 1);
    }
}
