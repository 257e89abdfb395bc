//! The audit policy: how much of which requests is recorded. Source: `audit.k8s.io/v1` Policy; the first rule that
//! matches decides, and what none matches is not recorded.
use crate::config_file::{self, ConfigError};
use crate::request_info::RequestInfo;
use crate::user::User;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How much is recorded.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who asked for what, and the outcome.
    Metadata,
    /// And the object of the request.
    Request,
    /// And that of the answer.
    RequestResponse,
}

impl Level {
    /// As policies and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A point in the life of a request at which an event is recorded.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Stage {
    /// It has come, and nothing was done yet.
    RequestReceived,
    /// The head of the answer is known, and the body will take long.
    ResponseStarted,
    /// It was answered.
    ResponseComplete,
    /// The server failed over it.
    Panic,
}

/// What [`Policy::decide`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How much.
    pub level: Level,
    /// Stages without events.
    pub omit_stages: Vec<Stage>,
    /// Objects lose their `managedFields`.
    pub omit_managed_fields: bool,
}

/// The policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads the file of `--audit-policy-file`.
    ///
    /// # Errors
    /// A file that is none, or rules that cannot be.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let policy: Self = config_file::read(path, "Policy", &["audit.k8s.io/v1"])?;
        policy.check().map_err(|text| ConfigError::invalid(path, text))?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check(&format!("rules[{index}]"))?;
        }
        if self.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        Ok(())
    }

    /// How much is recorded of a request of a user; nobody, where authentication failed.
    pub fn decide(&self, info: &RequestInfo, user: Option<&User>) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(info, user));
        let Some(rule) = rule else {
            return Decision {
                level: Level::None,
                omit_stages: self.omit_stages.clone(),
                omit_managed_fields: self.omit_managed_fields,
            };
        };
        Decision {
            level: rule.level,
            omit_stages: [&*self.omit_stages, &*rule.omit_stages].concat(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self, place: &str) -> Result<(), String> {
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.non_resource_urls.is_empty() {
            return Err(format!(
                "{place}.nonResourceURLs: Invalid value: {:?}: rules cannot apply to both regular resources and \
                 non-resource URLs",
                self.non_resource_urls
            ));
        }
        for (index, url) in self.non_resource_urls.iter().enumerate() {
            let bad =
                |why: &str| Err(format!("{place}.nonResourceURLs[{index}]: Invalid value: {url:?}: {why}"));
            if url == "*" {
                continue;
            }
            if !url.starts_with('/') {
                return bad("non-resource URL rules must begin with a '/' character");
            }
            if url.trim_end_matches('*').contains('*') || url.ends_with("**") {
                return bad("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
        for (index, resources) in self.resources.iter().enumerate() {
            if resources.group.contains('/') {
                return Err(format!(
                    "{place}.resources[{index}].group: Invalid value: {:?}: a group has no version",
                    resources.group
                ));
            }
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                return Err(format!(
                    "{place}.resources[{index}].resourceNames: Invalid value: {:?}: using resourceNames requires at \
                     least one resource",
                    resources.resource_names
                ));
            }
        }
        Ok(())
    }

    fn matches(&self, info: &RequestInfo, user: Option<&User>) -> bool {
        let is_in = |list: &[String], text: &str| list.iter().any(|item| item == text);
        if !self.users.is_empty() && !user.is_some_and(|user| is_in(&self.users, &user.name)) {
            return false;
        }
        let in_group = |user: &User| user.groups.iter().any(|group| is_in(&self.user_groups, group));
        if !self.user_groups.is_empty() && !user.is_some_and(in_group) {
            return false;
        }
        if !self.verbs.is_empty() && !is_in(&self.verbs, info.verb.as_str()) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource_request
                && (self.namespaces.is_empty() || is_in(&self.namespaces, info.namespace()))
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.matches(info)));
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource_request
                && self.non_resource_urls.iter().any(|url| url_matches(url, info.path()));
        }
        true
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group() {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.iter().any(|name| name == info.name()) {
            return false;
        }
        let (resource, subresource) = (info.resource(), info.subresource());
        self.resources.iter().any(|pattern| match pattern.split_once('/') {
            _ if pattern == "*" => true,
            None => subresource.is_empty() && pattern == resource,
            Some(("*", sub)) => !subresource.is_empty() && sub == subresource,
            Some((plural, "*")) => plural == resource,
            Some((plural, sub)) => plural == resource && sub == subresource,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn policy(rules: &str) -> Result<Policy, String> {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
        let policy: Policy = config_file::parse(&text, "Policy", &["audit.k8s.io/v1"])?;
        policy.check().map(|()| policy)
    }

    #[test]
    fn rules_match() {
        let user = User { name: "ann".into(), groups: vec!["dev".into()], ..User::default() };
        let check = |rule: &str, method: Method, path: &str, expected: bool| {
            let policy = policy(&format!("rules:\n- {{level: Metadata, {rule}}}")).expect(rule);
            let info = RequestInfo::new(&method, &path.parse().expect("path")).expect("request");
            let found = policy.decide(&info, Some(&user)).level == Level::Metadata;
            assert_eq!(found, expected, "{rule} {method} {path}");
        };
        const PODS: &str = "/api/v1/namespaces/a/pods";
        let get = |rule: &str, path: &str, expected: bool| check(rule, Method::GET, path, expected);
        get("users: [ann]", PODS, true);
        get("users: [bob]", PODS, false);
        get("userGroups: [ops, dev]", PODS, true);
        get("userGroups: [ops]", PODS, false);
        get("verbs: [list]", PODS, true);
        get("verbs: [get]", PODS, false);
        check("verbs: [create]", Method::POST, PODS, true);
        get("namespaces: [a]", PODS, true);
        get("namespaces: [b]", PODS, false);
        get("namespaces: ['']", "/api/v1/nodes", true);
        get("namespaces: ['']", "/version", false);
        get("resources: [{group: ''}]", PODS, true);
        get("resources: [{group: apps}]", PODS, false);
        get("resources: [{resources: [pods]}]", PODS, true);
        get("resources: [{resources: [pods]}]", "/api/v1/namespaces/a/pods/p/log", false);
        get("resources: [{resources: ['pods/*']}]", "/api/v1/namespaces/a/pods/p/log", true);
        get("resources: [{resources: ['pods/*']}]", PODS, true);
        get("resources: [{resources: ['*/log']}]", "/api/v1/namespaces/a/pods/p/log", true);
        get("resources: [{resources: ['*/log']}]", PODS, false);
        get("resources: [{resources: ['*']}]", "/api/v1/namespaces/a/pods/p/log", true);
        get("resources: [{resources: [pods], resourceNames: [p]}]", "/api/v1/namespaces/a/pods/p", true);
        get("resources: [{resources: [pods], resourceNames: [p]}]", "/api/v1/namespaces/a/pods/q", false);
        get("nonResourceURLs: ['/healthz*']", "/healthz/etcd", true);
        get("nonResourceURLs: ['/healthz']", "/healthz/etcd", false);
        get("nonResourceURLs: ['*']", "/version", true);
        get("nonResourceURLs: ['*']", PODS, false);
        get("users: []", "/version", true);
    }

    #[test]
    fn the_first_rule_decides() {
        let policy = policy(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n\
             - {level: None, users: [system:kube-proxy]}\n\
             - {level: Request, verbs: [get], omitStages: [ResponseStarted], omitManagedFields: false}\n\
             - {level: Metadata, users: [ann]}\n",
        )
        .expect("policy");
        let decide = |method: Method, name: Option<&str>| {
            let info = RequestInfo::new(&method, &"/version".parse().expect("path")).expect("request");
            let user = name.map(|name| User { name: name.into(), ..User::default() });
            policy.decide(&info, user.as_ref())
        };
        assert_eq!(decide(Method::GET, Some("system:kube-proxy")).level, Level::None);
        let decision = decide(Method::GET, Some("ann"));
        assert_eq!((decision.level, decision.omit_managed_fields), (Level::Request, false));
        assert_eq!(decision.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        let decision = decide(Method::POST, Some("ann"));
        assert_eq!((decision.level, decision.omit_managed_fields), (Level::Metadata, true));
        assert_eq!(decide(Method::POST, None).level, Level::None);
    }

    #[test]
    fn faults_stop_the_start() {
        let check = |rules: &str, part: &str| {
            let error = policy(rules).expect_err(rules);
            assert!(error.contains(part), "{rules}: {error}");
        };
        check("", "0 rules");
        check("rules: [{level: Everything}]", "unknown variant `Everything`");
        check("rules: [{users: [a]}]", "missing field `level`");
        check("rules: [{level: None, user: [a]}]", "unknown field `user`");
        check("omitStages: [Never]\nrules: [{level: None}]", "unknown variant `Never`");
        check("rules: [{level: None, namespaces: [a], nonResourceURLs: [/x]}]", "both regular resources");
        check("rules: [{level: None, nonResourceURLs: [x]}]", "must begin with a '/'");
        check("rules: [{level: None, nonResourceURLs: [/x*y]}]", "must be the final character");
        check("rules: [{level: None, resources: [{resourceNames: [x]}]}]", "requires at least one resource");
        check("rules: [{level: None, resources: [{group: apps/v1}]}]", "a group has no version");
    }
}
