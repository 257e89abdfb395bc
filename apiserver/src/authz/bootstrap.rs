//! The roles and bindings every cluster has from its start, from the table in `bootstrap.txt`, as the objects to
//! reconcile: rules and subjects that are missing are added, what an administrator added stays.
use super::rbac::{GROUP, Rule};
use knarr_api::Value;
use serde_json::json;

static TABLE: &str = include_str!("bootstrap.txt");
const EVENTS: &str = "create,patch,update core,events.k8s.io events";

/// One object to have: plural name, namespace (empty: none) and the object.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Plural resource name in the RBAC group.
    pub resource: &'static str,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The object.
    pub object: Value,
}

impl Wanted {
    /// The object's name.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// All bootstrap objects: roles before bindings, aggregated roles with their rules resolved.
pub fn objects() -> Vec<Wanted> {
    let mut table = Table::default();
    for line in TABLE.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end()) {
        table.line(line);
    }
    table.resolve_aggregates();
    table.roles.append(&mut table.bindings);
    table.roles
}

#[derive(Default)]
struct Table {
    roles: Vec<Wanted>,
    bindings: Vec<Wanted>,
    /// The rules that follow are those of a role whose gate is off.
    skipping: bool,
}

impl Table {
    fn line(&mut self, line: &str) {
        let rule = line.strip_prefix("  ");
        let text = rule.unwrap_or(line);
        let (gate, line) = text.split_once("? ").map_or((None, text), |(gate, line)| (Some(gate), line));
        let enabled = gate.is_none_or(knarr_api::gates::enabled);
        if rule.is_some() {
            if enabled && !self.skipping {
                self.rule(line);
            }
            return;
        }
        self.skipping = !enabled;
        if self.skipping {
            return;
        }
        let mut words = line.split_whitespace();
        let (Some(head), Some(first)) = (words.next(), words.next()) else { return };
        match head {
            "role" => self.cluster_role(first, words, None),
            "aggregate" => {
                let key = words.next().unwrap_or_default();
                self.cluster_role(first, words, Some(key));
            }
            "controller" => {
                let name = format!("system:controller:{first}");
                self.cluster_role(&name, [].into_iter(), None);
                let account = format!("account:kube-system/{first}");
                self.binding("", &name, "ClusterRole", &name, [account.as_str()].into_iter());
            }
            "local" => {
                let object = object("Role", first, words.next().unwrap_or_default());
                self.roles.push(Wanted { resource: "roles", namespace: first.to_owned(), object });
            }
            "bind" => self.binding("", first, "ClusterRole", first, words),
            "bind-local" => {
                let (name, role) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                self.binding(first, name, "Role", role, words);
            }
            _ => {}
        }
    }

    fn cluster_role<'a>(&mut self, name: &str, labels: impl Iterator<Item = &'a str>, from: Option<&str>) {
        let mut role = object("ClusterRole", "", name);
        for label in labels {
            role["metadata"]["labels"][aggregate_label(label)] = json!("true");
        }
        if let Some(key) = from {
            role["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {aggregate_label(key): "true"}}]});
        }
        self.roles.push(Wanted { resource: "clusterroles", namespace: String::new(), object: role });
    }

    fn rule(&mut self, text: &str) {
        let text = if text.trim() == "events" { EVENTS } else { text };
        if let Some(rules) = self.roles.last_mut().and_then(|role| role.object["rules"].as_array_mut()) {
            rules.push(parse_rule(text).to_value());
        }
    }

    fn binding<'a>(
        &mut self,
        namespace: &str,
        name: &str,
        role_kind: &str,
        role: &str,
        subjects: impl Iterator<Item = &'a str>,
    ) {
        let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
        let mut binding = object(kind, namespace, name);
        binding["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
        let subjects: Vec<Value> = subjects.filter_map(parse_subject).collect();
        if !subjects.is_empty() {
            binding["subjects"] = Value::Array(subjects);
        }
        let resource = if namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
        self.bindings.push(Wanted { resource, namespace: namespace.to_owned(), object: binding });
    }

    /// Fills the rules of aggregated roles from what they select; views before edits before admins, since each
    /// selects the one before.
    fn resolve_aggregates(&mut self) {
        for name in ["view", "edit", "admin"] {
            let label = aggregate_label(name);
            let selected =
                self.roles.iter().filter(|role| role.object["metadata"]["labels"][&label] == "true");
            let mut sources: Vec<&Wanted> = selected.collect();
            sources.sort_by(|a, b| a.name().cmp(b.name()));
            let mut rules: Vec<Value> = Vec::new();
            for rule in sources.iter().filter_map(|role| role.object["rules"].as_array()).flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
            if let Some(role) =
                self.roles.iter_mut().find(|role| role.name() == name && role.namespace.is_empty())
            {
                role.object["rules"] = Value::Array(rules);
            }
        }
    }
}

fn aggregate_label(short: &str) -> String {
    format!("{GROUP}/aggregate-to-{short}")
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    if kind.ends_with("Role") {
        object["rules"] = json!([]);
    }
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

fn parse_rule(text: &str) -> Rule {
    let list = |word: Option<&str>| -> Vec<Box<str>> {
        word.map(|word| word.split(',').map(Into::into).collect()).unwrap_or_default()
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let verbs = match words.first().copied() {
        Some("R") => Some("get,list,watch"),
        Some("W") => Some("create,delete,deletecollection,patch,update"),
        Some("RW") => Some("create,delete,deletecollection,get,list,patch,update,watch"),
        other => other,
    };
    if words.len() == 2 {
        return Rule { verbs: list(verbs), urls: list(words.get(1).copied()), ..Rule::default() };
    }
    let groups =
        list(words.get(1).copied()).into_iter().map(|g| if &*g == "core" { "".into() } else { g }).collect();
    Rule {
        verbs: list(verbs),
        groups,
        resources: list(words.get(2).copied()),
        names: list(words.get(3).copied()),
        urls: Vec::new(),
    }
}

fn parse_subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once(':')?;
    Some(match kind {
        "account" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        _ => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
    })
}

/// What the object has to become so that the wanted rules or subjects hold; none when they already do, or when its
/// `autoupdate` annotation says to leave it alone.
pub fn reconcile(wanted: &Value, found: &Value) -> Option<Value> {
    if found["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] == "false" {
        return None;
    }
    let mut next = found.clone();
    let mut changed = false;
    for section in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][section].as_object().into_iter().flatten() {
            if next["metadata"][section].get(key).is_none() {
                next["metadata"][section][key] = value.clone();
                changed = true;
            }
        }
    }
    if wanted.get("aggregationRule").is_none() {
        let missing = super::escalation::uncovered(&Rule::list(found), &Rule::list(wanted));
        if !missing.is_empty() {
            let mut rules = found["rules"].as_array().cloned().unwrap_or_default();
            rules.extend(missing.iter().map(Rule::to_value));
            next["rules"] = Value::Array(rules);
            changed = true;
        }
    }
    for subject in wanted["subjects"].as_array().into_iter().flatten() {
        let mut subjects = next["subjects"].as_array().cloned().unwrap_or_default();
        if !subjects.contains(subject) {
            subjects.push(subject.clone());
            next["subjects"] = Value::Array(subjects);
            changed = true;
        }
    }
    changed.then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn table_is_consistent() {
        let objects = objects();
        let mut seen = HashSet::new();
        for wanted in &objects {
            assert!(
                seen.insert((wanted.resource, &wanted.namespace, wanted.name().to_owned())),
                "{wanted:?}"
            );
            let reference = &wanted.object["roleRef"];
            if let Some(role) = reference["name"].as_str() {
                let namespace = if reference["kind"] == "Role" { wanted.namespace.as_str() } else { "" };
                let exists = objects.iter().any(|o| {
                    o.object.get("roleRef").is_none() && o.namespace == namespace && o.name() == role
                });
                assert!(exists, "{role} of {}", wanted.name());
            } else {
                for rule in wanted.object["rules"].as_array().unwrap() {
                    assert!(rule.get("verbs").is_some(), "{wanted:?}");
                    let form = rule.get("resources").is_some() != rule.get("nonResourceURLs").is_some();
                    assert!(form, "{rule} of {}", wanted.name());
                }
                assert!(!wanted.object["rules"].as_array().unwrap().is_empty(), "{wanted:?}");
            }
        }
        assert!(objects.len() > 130, "{}", objects.len());
    }

    #[test]
    fn aggregates_hold_what_they_select() {
        let objects = objects();
        let role = |name: &str| {
            let found = objects.iter().find(|o| o.name() == name && o.resource == "clusterroles").unwrap();
            Rule::list(&found.object)
        };
        let none = crate::authz::escalation::uncovered(&role("admin"), &role("system:aggregate-to-view"));
        assert!(none.is_empty(), "{none:?}");
        assert!(!crate::authz::escalation::uncovered(&role("view"), &role("edit")).is_empty());
    }

    #[test]
    fn reconciling_adds_what_is_missing() {
        let wanted = objects().into_iter().find(|o| o.name() == "system:basic-user").unwrap().object;
        assert!(reconcile(&wanted, &wanted).is_none());
        let mut found = wanted.clone();
        found["rules"].as_array_mut().unwrap().pop();
        found["rules"].as_array_mut().unwrap().push(json!({"verbs": ["get"], "nonResourceURLs": ["/mine"]}));
        let next = reconcile(&wanted, &found).unwrap();
        assert_eq!(next["rules"].as_array().unwrap().len(), 3);
        found["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = json!("false");
        assert!(reconcile(&wanted, &found).is_none());
    }
}
