//! Nobody grants more than they hold: the check behind writes to roles and bindings.
//!
//! A writer of a role needs every permission in it, or the verb `escalate` on it; a writer of a binding needs every
//! permission of the bound role, or the verb `bind` on that role.
use super::rbac::{GROUP, Rule, resource_matches};
use super::{Attributes, Authorizer};
use crate::user::User;
use knarr_api::Value;
use knarr_api::status::{Resource, Status};

/// Checks a create or update of a Role, ClusterRole, RoleBinding or ClusterRoleBinding; other kinds pass. `old` is
/// the stored object of an update: an update that adds no rules needs no permission.
///
/// # Errors
/// `Forbidden`, listing what the user lacks; `NotFound` where a binding names a missing role.
pub fn check(
    authorizer: &Authorizer,
    user: &User,
    plural: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if user.in_group(crate::user::MASTERS) {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let (wanted, held_by) = match plural {
        "roles" | "clusterroles" => {
            if old.is_some_and(|old| {
                old["rules"] == object["rules"] && old["aggregationRule"] == object["aggregationRule"]
            }) || allowed(authorizer, user, "escalate", plural, namespace, name)
            {
                return Ok(());
            }
            (role_rules(object), name)
        }
        "rolebindings" | "clusterrolebindings" => {
            if old.is_some_and(|old| {
                old["roleRef"] == object["roleRef"] && old["subjects"] == object["subjects"]
            }) {
                return Ok(());
            }
            match binding_rules(authorizer, user, namespace, object)? {
                Some(rules) => (rules, name),
                None => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    let (held, _) = authorizer.rbac.rules_for(user, namespace);
    let missing = uncovered(&held, &wanted);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Status::forbidden(Resource { group: GROUP, plural }, held_by, refusal(user, &missing)))
}

/// A role with an aggregation rule may come to hold anything.
fn role_rules(role: &Value) -> Vec<Rule> {
    if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
        let all = || vec!["*".into()];
        return vec![
            Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), urls: all(), ..Rule::default() },
        ];
    }
    Rule::list(role)
}

/// The rules of the bound role; none when the user may bind it whatever it holds.
fn binding_rules(
    authorizer: &Authorizer,
    user: &User,
    namespace: &str,
    binding: &Value,
) -> Result<Option<Vec<Rule>>, Status> {
    let reference = &binding["roleRef"];
    let role = reference["name"].as_str().unwrap_or_default();
    let cluster = reference["kind"] == "ClusterRole";
    let plural = if cluster { "clusterroles" } else { "roles" };
    if allowed(authorizer, user, "bind", plural, namespace, role) {
        return Ok(None);
    }
    let rules = authorizer.rbac.role(if cluster { "" } else { namespace }, role);
    let rules = rules.ok_or_else(|| Status::not_found(Resource { group: GROUP, plural }, role))?;
    Ok(Some(rules.to_vec()))
}

fn allowed(
    authorizer: &Authorizer,
    user: &User,
    verb: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let attributes = Attributes {
        verb,
        group: GROUP,
        version: "v1",
        resource: plural,
        namespace,
        name,
        is_resource: true,
        ..Attributes::default()
    };
    authorizer.authorize(user, &attributes).is_allowed()
}

/// The single permissions of `wanted` that no rule of `held` covers.
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(split).filter(|one| !held.iter().any(|rule| covers(rule, one))).collect()
}

/// A rule as single permissions: one verb, one group, one resource and at most one name each.
fn split(rule: &Rule) -> Vec<Rule> {
    let mut out = Vec::new();
    for verb in &rule.verbs {
        for group in &rule.groups {
            for resource in &rule.resources {
                let one = Rule {
                    verbs: vec![verb.clone()],
                    groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.names.is_empty() {
                    out.push(one);
                } else {
                    out.extend(
                        rule.names.iter().map(|name| Rule { names: vec![name.clone()], ..one.clone() }),
                    );
                }
            }
        }
        out.extend(rule.urls.iter().map(|url| Rule {
            verbs: vec![verb.clone()],
            urls: vec![url.clone()],
            ..Rule::default()
        }));
    }
    out
}

fn covers(rule: &Rule, one: &Rule) -> bool {
    let all = |have: &[Box<str>], want: &[Box<str>]| {
        have.iter().any(|h| &**h == "*") || want.iter().all(|w| have.contains(w))
    };
    let resource = |want: &str| {
        let (resource, subresource) = want.split_once('/').unwrap_or((want, ""));
        rule.resources.iter().any(|have| **have == *want || resource_matches(have, resource, subresource))
    };
    all(&rule.verbs, &one.verbs)
        && all(&rule.groups, &one.groups)
        && one.resources.iter().all(|want| resource(want))
        && (rule.names.is_empty()
            || (!one.names.is_empty() && one.names.iter().all(|n| rule.names.contains(n))))
        && one.urls.iter().all(|want| rule.urls.iter().any(|have| super::rbac::url_matches(have, want)))
}

fn refusal(user: &User, missing: &[Rule]) -> String {
    let groups = user.groups.iter().map(|g| format!("{g:?}")).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = compact(missing).iter().map(describe).collect();
    lines.sort();
    format!(
        "user {:?} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        lines.join("\n")
    )
}

/// Puts permissions together again that differ only in their verb.
fn compact(rules: &[Rule]) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = |o: &&mut Rule| {
            o.groups == rule.groups
                && o.resources == rule.resources
                && o.names == rule.names
                && o.urls == rule.urls
        };
        match out.iter_mut().find(same) {
            Some(known) => known.verbs.extend(rule.verbs.iter().cloned()),
            None => out.push(rule.clone()),
        }
    }
    out
}

fn describe(rule: &Rule) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, list: &[Box<str>]| {
        if !list.is_empty() {
            let items = list.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(" ");
            parts.push(format!("{name}:[{items}]"));
        }
    };
    part("NonResourceURLs", &rule.urls);
    part("APIGroups", &rule.groups);
    part("Resources", &rule.resources);
    part("ResourceNames", &rule.names);
    part("Verbs", &rule.verbs);
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Mode;
    use serde_json::json;

    fn rule(value: &Value) -> Rule {
        Rule::from_value(value)
    }

    #[test]
    fn coverage() {
        let held = [
            rule(&json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods", "*/scale"]})),
            rule(&json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["a"]})),
            rule(&json!({"verbs": ["get"], "nonResourceURLs": ["/logs/*"]})),
        ];
        let check = |value: Value, expected: bool| {
            assert_eq!(uncovered(&held, &[rule(&value)]).is_empty(), expected, "{value}");
        };
        check(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}), true);
        check(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "secrets"]}), false);
        check(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["rc/scale"]}), true);
        check(
            json!({"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"], "resourceNames": ["a"]}),
            true,
        );
        check(
            json!({"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"], "resourceNames": ["a", "b"]}),
            false,
        );
        check(json!({"verbs": ["get"], "nonResourceURLs": ["/logs/x", "/logs/*"]}), true);
        check(json!({"verbs": ["get"], "nonResourceURLs": ["*"]}), false);
    }

    #[test]
    fn writers_of_roles() {
        let authorizer = Authorizer::new(&[Mode::Rbac]);
        let user = User { name: "ann".into(), groups: vec!["dev".into()], ..User::default() };
        let role = json!({"metadata": {"name": "r", "namespace": "n"},
            "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]});
        let refused = check(&authorizer, &user, "roles", &role, None).unwrap_err();
        assert_eq!(
            refused.message,
            "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ann\" (groups=[\"dev\"]) is attempting to \
             grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \
             \"list\"]}"
        );
        assert!(check(&authorizer, &user, "roles", &role, Some(&role)).is_ok());
        authorizer.rbac.set_role("n", "own", Some(&role));
        let binding = json!({"roleRef": {"kind": "Role", "name": "own"}, "subjects": [{"kind": "User", "name": "ann"}]});
        authorizer.rbac.set_binding("n", "own", Some(&binding));
        assert!(check(&authorizer, &user, "roles", &role, None).is_ok());
        let grant = json!({"metadata": {"name": "b", "namespace": "n"}, "roleRef": {"kind": "ClusterRole", "name": "x"}});
        assert_eq!(check(&authorizer, &user, "rolebindings", &grant, None).unwrap_err().code, 404);
    }
}
