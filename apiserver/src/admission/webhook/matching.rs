//! Which webhooks a write concerns, and in which version they see it.
use super::super::{Attributes, Operation};
use super::hooks::{Criteria, Rule};
use crate::objects::Objects;
use crate::outbound;
use crate::registry::Row;
use knarr_api::Value;
use knarr_api::kind::GroupVersionKind;
use knarr_api::status::{Resource, Status};
use std::sync::Arc;

/// How a webhook is told of a write.
pub struct Invocation {
    /// The resource in the version its rule names.
    pub group: Arc<str>,
    /// That version.
    pub version: Arc<str>,
    /// Plural.
    pub plural: Arc<str>,
    /// The kind of the object in that version.
    pub gvk: GroupVersionKind,
    /// The row to convert objects to; none: they are sent as they were requested.
    pub row: Option<Arc<Row>>,
}

/// How a webhook or policy sees this write; none when it does not.
///
/// # Errors
/// Selectors that cannot be read or a namespace that is not there, where its rules concern the write.
pub fn invocation(
    objects: &dyn Objects,
    criteria: &Criteria,
    attributes: &Attributes<'_>,
) -> Result<Option<Invocation>, Status> {
    let in_namespace = matches_namespace(objects, criteria, attributes);
    if matches!(in_namespace, Ok(false)) {
        return Ok(None);
    }
    let of_object = match &criteria.objects {
        Ok(selector) => Ok(selector.is_everything()
            || [&attributes.object, &attributes.old]
                .into_iter()
                .flatten()
                .any(|o| selector.matches(labels(o)))),
        Err(text) => Err(outbound::internal(text)),
    };
    if matches!(of_object, Ok(false)) {
        return Ok(None);
    }
    if by_rules(&criteria.excluded, criteria.exact, attributes).is_some() {
        return Ok(None);
    }
    let Some(found) = by_rules(&criteria.rules, criteria.exact, attributes) else { return Ok(None) };
    in_namespace?;
    of_object?;
    Ok(Some(found))
}

/// The labels of an object; what has none has an empty set of them.
fn labels(object: &Value) -> &Value {
    &object["metadata"]["labels"]
}

fn matches_namespace(
    objects: &dyn Objects,
    criteria: &Criteria,
    attributes: &Attributes<'_>,
) -> Result<bool, Status> {
    let is_namespace = &*attributes.kind.plural == "namespaces" && attributes.kind.gvk.group.is_empty();
    if attributes.namespace.is_empty() && !is_namespace {
        return Ok(true);
    }
    let selector = criteria.namespaces.as_ref().map_err(|text| outbound::internal(text))?;
    if selector.is_everything() {
        return Ok(true);
    }
    // The request itself may be what gives a namespace its labels.
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if let (true, Some(object)) =
        (is_namespace && attributes.subresource.is_empty() && writes, &attributes.object)
    {
        return Ok(selector.matches(labels(object)));
    }
    let namespace = objects.get("", "namespaces", "", attributes.namespace);
    let resource = Resource { group: "", plural: "namespaces" };
    let namespace = namespace.ok_or_else(|| Status::not_found(resource, attributes.namespace))?;
    Ok(selector.matches(labels(&namespace)))
}

fn by_rules(rules: &[Rule], exact: bool, attributes: &Attributes<'_>) -> Option<Invocation> {
    let kind = attributes.kind;
    if rules.iter().any(|rule| matches(rule, attributes, &kind.gvk, &kind.plural)) {
        return Some(Invocation {
            group: kind.gvk.group.clone(),
            version: kind.gvk.version.clone(),
            plural: kind.plural.clone(),
            gvk: attributes.gvk().clone(),
            row: None,
        });
    }
    if exact {
        return None;
    }
    let others = attributes.siblings?.others();
    for rule in rules {
        for row in &others {
            let other = &row.kind;
            if matches(rule, attributes, &other.gvk, &other.plural) {
                let gvk = other.subresource(attributes.subresource).map_or(&other.gvk, |sub| &sub.gvk);
                return Some(Invocation {
                    group: other.gvk.group.clone(),
                    version: other.gvk.version.clone(),
                    plural: other.plural.clone(),
                    gvk: gvk.clone(),
                    row: (gvk != attributes.gvk()).then(|| row.clone()),
                });
            }
        }
    }
    None
}

fn matches(rule: &Rule, attributes: &Attributes<'_>, gvk: &GroupVersionKind, plural: &str) -> bool {
    let has = |list: &[String], item: &str| list.iter().any(|entry| entry == "*" || entry == item);
    matches_scope(rule, attributes, gvk, plural)
        && (rule.names.is_empty() || rule.names.iter().any(|name| name == attributes.name))
        && has(&rule.operations, attributes.operation.as_str())
        && has(&rule.groups, &gvk.group)
        && has(&rule.versions, &gvk.version)
        && rule.resources.iter().any(|entry| {
            let (resource, sub) = entry.split_once('/').unwrap_or((entry, ""));
            (resource == "*" || resource == plural) && (sub == "*" || sub == attributes.subresource)
        })
}

fn matches_scope(rule: &Rule, attributes: &Attributes<'_>, gvk: &GroupVersionKind, plural: &str) -> bool {
    // The namespace of a Namespace object is its own name, yet it lives in none.
    let is_namespace = gvk.group.is_empty() && &*gvk.version == "v1" && plural == "namespaces";
    let namespaced = !is_namespace && !attributes.namespace.is_empty();
    match rule.scope.as_str() {
        "Namespaced" => namespaced,
        "Cluster" => !namespaced,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Operation;
    use super::*;
    use crate::user::User;
    use knarr_api::table::builtin;

    fn attributes<'a>(user: &'a Arc<User>, plural: &str, sub: &'a str, namespace: &'a str) -> Attributes<'a> {
        let kind = builtin().kinds.iter().find(|k| &*k.plural == plural).unwrap();
        Attributes {
            operation: Operation::Create,
            kind,
            subresource: sub,
            namespace,
            name: "n",
            user,
            is_own: false,
            dry_run: false,
            object: None,
            old: None,
            options: Value::Null,
            siblings: None,
            reinvocation: Default::default(),
            notes: Default::default(),
        }
    }

    #[test]
    fn rules() {
        let user = Arc::new(User::anonymous());
        let check = |resources: &[&str], scope: &str, of: (&str, &str, &str), expected: bool| {
            let rule = Rule {
                operations: vec!["CREATE".to_owned()],
                groups: vec!["*".to_owned()],
                versions: vec!["*".to_owned()],
                resources: resources.iter().map(|r| (*r).to_owned()).collect(),
                scope: scope.to_owned(),
                names: Vec::new(),
            };
            let attributes = attributes(&user, of.0, of.1, of.2);
            let kind = attributes.kind;
            assert_eq!(
                matches(&rule, &attributes, &kind.gvk, &kind.plural),
                expected,
                "{resources:?} {of:?}"
            );
        };
        check(&["*"], "*", ("pods", "", "d"), true);
        check(&["*"], "*", ("pods", "exec", "d"), false);
        check(&["*/*"], "*", ("pods", "exec", "d"), true);
        check(&["*/*"], "*", ("pods", "", "d"), true);
        check(&["pods/*"], "*", ("pods", "", "d"), true);
        check(&["pods/exec"], "*", ("pods", "", "d"), false);
        check(&["*/status"], "*", ("pods", "status", "d"), true);
        check(&["services"], "*", ("pods", "", "d"), false);
        check(&["*"], "Cluster", ("pods", "", "d"), false);
        check(&["*"], "Namespaced", ("pods", "", "d"), true);
        check(&["*"], "Cluster", ("namespaces", "", "d"), true);
        check(&["*"], "Namespaced", ("namespaces", "", "d"), false);
        check(&["*"], "Cluster", ("nodes", "", ""), true);
    }
}
