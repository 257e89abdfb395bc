//! The configurations in the store, compiled once a change.
use super::super::fresh::Fresh;
use crate::objects::Objects;
use crate::outbound::Endpoint;
use knarr_api::Value;
use knarr_api::cel::admission::{MatchConditions, Options, environment};
use knarr_api::selector::LabelSelector;
use std::sync::Arc;
use std::time::Duration;

/// One rule of a webhook.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `CREATE`, …, or `*`.
    pub operations: Vec<String>,
    /// Groups, or `*`.
    pub groups: Vec<String>,
    /// Versions, or `*`.
    pub versions: Vec<String>,
    /// `pods`, `pods/exec`, `*/status`, `pods/*`, `*`, `*/*`.
    pub resources: Vec<String>,
    /// `Cluster`, `Namespaced` or `*`.
    pub scope: String,
    /// Names of objects; none: all.
    pub names: Vec<String>,
}

/// What writes a webhook or policy concerns.
#[derive(Clone, Debug)]
pub struct Criteria {
    /// What it is called for.
    pub rules: Vec<Rule>,
    /// What it is not called for, whatever the rules say.
    pub excluded: Vec<Rule>,
    /// Labels of namespaces; none: all. An error is told to whoever it concerns.
    pub namespaces: Result<LabelSelector, String>,
    /// Labels of objects.
    pub objects: Result<LabelSelector, String>,
    /// Only the versions of its rules, `matchPolicy: Exact`.
    pub exact: bool,
}

impl Criteria {
    /// The criteria of a webhook, or of the `matchConstraints` or `matchResources` of a policy.
    pub fn new(given: &Value) -> Self {
        let selector = |field: &str| {
            let selector = Some(&given[field]).filter(|s| !s.is_null());
            selector.map_or_else(
                || Ok(LabelSelector::everything()),
                |s| LabelSelector::from_object(Some(s)).map_err(|error| error.to_string()),
            )
        };
        let rules = |field: &str| given[field].as_array().into_iter().flatten().map(rule).collect::<Vec<_>>();
        let mut all = rules("rules");
        all.extend(rules("resourceRules"));
        Self {
            rules: all,
            excluded: rules("excludeResourceRules"),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            exact: given["matchPolicy"] == "Exact",
        }
    }
}

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Tells it from all others of its configuration and of others.
    pub uid: Arc<str>,
    /// Its name.
    pub name: String,
    /// The configuration's name.
    pub configuration: String,
    /// Position among all webhooks.
    pub index: usize,
    /// The server to call, or why it is none.
    pub endpoint: Result<Endpoint, String>,
    /// What it is called for.
    pub criteria: Criteria,
    /// Failures of the call let the write pass.
    pub ignores_failure: bool,
    /// Time it has for an answer.
    pub timeout: Duration,
    /// It does nothing else, or not on dry run.
    pub allows_dry_run: bool,
    /// It wants to see what later webhooks change.
    pub reinvoke: bool,
    /// The version of reviews to send, `v1` or `v1beta1`.
    pub review_version: Option<&'static str>,
    /// CEL expressions that all must hold.
    pub conditions: MatchConditions,
}

/// The webhooks of one kind of configuration, in the order they are called.
pub struct Source {
    objects: Arc<dyn Objects>,
    resource: &'static str,
    compiled: Fresh<u64, Hook>,
}

impl Source {
    /// The configurations of a resource.
    pub fn new(objects: Arc<dyn Objects>, resource: &'static str) -> Self {
        Self { objects, resource, compiled: Fresh::default() }
    }

    /// All webhooks now.
    pub fn hooks(&self) -> Arc<[Hook]> {
        let stamp = || self.objects.stamp(super::GROUP, self.resource);
        self.compiled.get(stamp, || {
            let mut configurations = self.objects.list(super::GROUP, self.resource, None);
            configurations.sort_by(|a, b| name(a).cmp(name(b)));
            compile(configurations.iter().map(|c| &**c)).into()
        })
    }
}

fn name(configuration: &Value) -> &str {
    configuration["metadata"]["name"].as_str().unwrap_or_default()
}

fn compile<'a>(configurations: impl Iterator<Item = &'a Value>) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = Vec::new();
    for configuration in configurations {
        for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
            let named = webhook["name"].as_str().unwrap_or_default();
            let of_name = |hook: &&Hook| hook.configuration == name(configuration) && hook.name == named;
            let number = hooks.iter().filter(of_name).count();
            let uid = format!("{}/{named}/{number}", name(configuration));
            hooks.push(hook(name(configuration), webhook, uid, hooks.len()));
        }
    }
    hooks
}

fn hook(configuration: &str, webhook: &Value, uid: String, index: usize) -> Hook {
    let text = |field: &str| webhook[field].as_str().unwrap_or_default();
    let versions = texts(&webhook["admissionReviewVersions"]);
    let known = |version: &String| match version.as_str() {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _ => None,
    };
    let env = environment(Options { authorizer: true, ..Options::default() });
    let conditions = MatchConditions::new(&env, &named(&webhook["matchConditions"]));
    Hook {
        uid: uid.into(),
        name: text("name").to_owned(),
        configuration: configuration.to_owned(),
        index,
        endpoint: Endpoint::of_webhook(&webhook["clientConfig"]),
        criteria: Criteria::new(webhook),
        ignores_failure: text("failurePolicy") == "Ignore",
        timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10)),
        allows_dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
        reinvoke: text("reinvocationPolicy") == "IfNeeded",
        review_version: versions.iter().find_map(known),
        conditions,
    }
}

fn rule(rule: &Value) -> Rule {
    Rule {
        operations: texts(&rule["operations"]),
        groups: texts(&rule["apiGroups"]),
        versions: texts(&rule["apiVersions"]),
        resources: texts(&rule["resources"]),
        scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        names: texts(&rule["resourceNames"]),
    }
}

/// The names and expressions of a list.
pub fn named(list: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let list = list.as_array().into_iter().flatten();
    list.map(|one| (text(one, "name"), text(one, "expression"))).collect()
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use serde_json::json;

    #[test]
    fn configurations_are_ordered_by_name_and_compiled_anew() {
        let objects = Arc::new(Memory::default());
        let put = |name: &str, webhooks: Value| {
            let configuration = json!({"metadata": {"name": name}, "webhooks": webhooks});
            objects.put(super::super::GROUP, "mutatingwebhookconfigurations", configuration);
        };
        let source = Source::new(objects.clone(), "mutatingwebhookconfigurations");
        let uids = || source.hooks().iter().map(|hook| hook.uid.to_string()).collect::<Vec<_>>();
        assert!(uids().is_empty());
        put("b", json!([{"name": "x"}]));
        put("a", json!([{"name": "z"}, {"name": "y"}, {"name": "z"}]));
        assert_eq!(uids(), ["a/z/0", "a/y/0", "a/z/1", "b/x/0"]);
        put(
            "b",
            json!([{"name": "w", "failurePolicy": "Ignore", "admissionReviewVersions": ["v2", "v1beta1"]}]),
        );
        let hooks = source.hooks();
        let last = hooks.last().unwrap();
        assert_eq!((last.uid.as_ref(), last.ignores_failure), ("b/w/0", true));
        assert_eq!((last.review_version, last.timeout.as_secs(), last.index), (Some("v1beta1"), 10, 3));
    }
}
