//! Webhooks that decide (`--authorization-webhook-config-file`, `--authorization-config`): each is sent a
//! SubjectAccessReview, and its verdict is remembered for a while.
use super::{Attributes, Decision};
use crate::authn::cache::Verdicts;
use crate::authz::reviews::user_info;
use crate::outbound::review::Webhook as Remote;
use crate::user::User;
use knarr_api::Value;
use knarr_api::cel::Program;
use knarr_api::cel::access::REQUEST;
use knarr_api::selector::{FieldSelector, LabelSelector, Operator};
use serde_json::json;
use std::time::Duration;

/// How a webhook is asked and what its silence means.
#[derive(Debug)]
pub struct Settings {
    /// `v1` or `v1beta1`.
    pub version: String,
    /// How long a yes holds; none: it is not remembered.
    pub hold_allowed: Option<Duration>,
    /// How long anything else holds.
    pub hold_denied: Option<Duration>,
    /// Time for an answer.
    pub timeout: Duration,
    /// A failure is a no, not merely no opinion.
    pub failure_denies: bool,
    /// All must hold for the webhook to be asked.
    pub conditions: Vec<Program>,
}

/// A webhook.
pub struct Webhook {
    remote: Remote,
    settings: Settings,
    verdicts: Verdicts<Decision>,
}

impl Webhook {
    /// A webhook with its settings.
    pub fn new(remote: Remote, settings: Settings) -> Self {
        Self { remote, settings, verdicts: Verdicts::default() }
    }

    /// Asks, unless the verdict is known.
    pub async fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        let spec = spec(user, attributes);
        let failed = |error: String| {
            tracing::error!(error, "the authorization webhook failed");
            Decision::Failed { denied: self.settings.failure_denies, reason: "".into(), error: error.into() }
        };
        match self.concerns(&spec) {
            Ok(true) => {}
            Ok(false) => return Decision::NoOpinion("".into()),
            Err(error) => return failed(error),
        }
        let key = self.verdicts.key(&spec.to_string(), &[]);
        if let Some(known) = self.verdicts.get(&key) {
            return known;
        }
        let review = json!({"kind": "SubjectAccessReview",
            "apiVersion": format!("authorization.k8s.io/{}", self.settings.version),
            "metadata": {}, "spec": in_version(spec, &self.settings.version), "status": {"allowed": false}});
        let decision = match self.remote.review(&review, self.settings.timeout).await {
            Ok(answer) => read(&answer["status"]),
            Err(error) => return failed(error),
        };
        let hold = if decision.is_allowed() { self.settings.hold_allowed } else { self.settings.hold_denied };
        if let Some(hold) = hold {
            self.verdicts.put(key, decision.clone(), hold);
        }
        decision
    }

    /// A condition that is false wins over one that cannot be told.
    fn concerns(&self, spec: &Value) -> Result<bool, String> {
        let mut failed = None;
        for program in &self.settings.conditions {
            match REQUEST.of(spec).evaluate(program) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(true), Err)
    }
}

fn read(status: &Value) -> Decision {
    let reason = status["reason"].as_str().unwrap_or_default().to_owned().into();
    match (status["allowed"] == true, status["denied"] == true) {
        (true, true) => Decision::Failed {
            denied: true,
            reason,
            error: "webhook subject access review returned both allow and deny response".into(),
        },
        (true, false) => Decision::Allow(reason),
        (false, true) => Decision::Deny(reason),
        (false, false) => Decision::NoOpinion(reason),
    }
}

/// The spec of a SubjectAccessReview, as v1 has it.
fn spec(user: &User, attributes: &Attributes<'_>) -> Value {
    let mut spec = user_info(user);
    if let Some(name) = spec.as_object_mut().and_then(|spec| spec.remove("username")) {
        spec["user"] = name;
    }
    if !attributes.is_resource {
        spec["nonResourceAttributes"] = json!({"path": attributes.path, "verb": attributes.verb});
        return spec;
    }
    let mut resource = knarr_api::Object::new();
    for (field, value) in [
        ("namespace", attributes.namespace),
        ("verb", attributes.verb),
        ("group", attributes.group),
        ("version", attributes.version),
        ("resource", attributes.resource),
        ("subresource", attributes.subresource),
        ("name", attributes.name),
    ] {
        if !value.is_empty() {
            resource.insert(field.to_owned(), json!(value));
        }
    }
    // A selector that cannot be read limits nothing.
    let fields = attributes.field_selector.as_deref().map(fields).unwrap_or_default();
    let labels = attributes.label_selector.as_deref().map(labels).unwrap_or_default();
    for (field, requirements) in [("fieldSelector", fields), ("labelSelector", labels)] {
        if !requirements.is_empty() {
            resource.insert(field.to_owned(), json!({"requirements": requirements}));
        }
    }
    spec["resourceAttributes"] = Value::Object(resource);
    spec
}

fn fields(text: &str) -> Vec<Value> {
    let Ok(selector) = text.parse::<FieldSelector>() else { return Vec::new() };
    let requirement = |r: &knarr_api::selector::FieldRequirement| json!({"key": r.field, "operator": if r.negated { "NotIn" } else { "In" }, "values": [r.value]});
    selector.requirements().iter().map(requirement).collect()
}

fn labels(text: &str) -> Vec<Value> {
    let Ok(selector) = text.parse::<LabelSelector>() else { return Vec::new() };
    let mut out = Vec::new();
    for requirement in selector.requirements() {
        let operator = match requirement.operator() {
            Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
            Operator::NotIn | Operator::NotEquals => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            // Comparisons of numbers have no form in a review.
            _ => continue,
        };
        let mut value = json!({"key": requirement.key(), "operator": operator});
        let values: Vec<&str> = requirement.values().collect();
        if !values.is_empty() {
            value["values"] = json!(values);
        }
        out.push(value);
    }
    out
}

/// `v1beta1` calls the groups `group`.
fn in_version(mut spec: Value, version: &str) -> Value {
    if version == "v1beta1"
        && let Some(groups) = spec.as_object_mut().and_then(|spec| spec.remove("groups"))
    {
        spec["group"] = groups;
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let user = User { name: "u".into(), groups: vec!["g".into()], ..User::default() };
        let attributes = Attributes {
            verb: "list",
            resource: "pods",
            version: "v1",
            is_resource: true,
            field_selector: Some("spec.nodeName=n,status.phase!=Failed".into()),
            label_selector: Some("a in (b,c),!d".into()),
            ..Attributes::default()
        };
        let expected = json!({"user": "u", "group": ["g"], "resourceAttributes": {"verb": "list", "version": "v1",
            "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]},
                {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]}]},
            "labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b", "c"]},
                {"key": "d", "operator": "DoesNotExist"}]}}});
        assert_eq!(in_version(spec(&user, &attributes), "v1beta1"), expected);
        let attributes = Attributes { verb: "get", path: "/x", ..Attributes::default() };
        let expected =
            json!({"user": "u", "groups": ["g"], "nonResourceAttributes": {"path": "/x", "verb": "get"}});
        assert_eq!(in_version(spec(&user, &attributes), "v1"), expected);
    }
}
