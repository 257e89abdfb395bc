//! Rules of roles and bindings.
use super::Rules;
use super::cursor::{At, same};
use crate::{Value, names};

pub(super) const RULES: &[(&str, Rules)] = &[
    ("ClusterRole", Rules { name: names::path_segment, object: cluster_role, ..Rules::PLAIN }),
    (
        "ClusterRoleBinding",
        Rules {
            name: names::path_segment,
            object: |at| binding(at, true),
            update: role_stays,
            ..Rules::PLAIN
        },
    ),
    (
        "Role",
        Rules {
            name: names::path_segment,
            object: |at| policy_rules(&at.get("rules"), true),
            ..Rules::PLAIN
        },
    ),
    (
        "RoleBinding",
        Rules {
            name: names::path_segment,
            object: |at| binding(at, false),
            update: role_stays,
            ..Rules::PLAIN
        },
    ),
];

const GROUP: &str = "rbac.authorization.k8s.io";

fn cluster_role(at: &At<'_>) {
    policy_rules(&at.get("rules"), false);
    let Some(aggregation) = at.find("aggregationRule") else { return };
    let selectors = aggregation.get("clusterRoleSelectors");
    if selectors.is_empty() {
        selectors.required("at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for selector in selectors.items() {
        super::labels::selector(&selector);
    }
}

fn policy_rules(rules: &At<'_>, namespaced: bool) {
    for rule in rules.items() {
        if rule.get("verbs").is_empty() {
            rule.get("verbs").required("verbs must contain at least one value");
        }
        let (urls, groups, resources) =
            (rule.get("nonResourceURLs"), rule.get("apiGroups"), rule.get("resources"));
        if !urls.is_empty() {
            if namespaced {
                urls.invalid("namespaced rules cannot apply to non-resource URLs");
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
                urls.invalid("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if groups.is_empty() {
            groups.required("resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            resources.required("resource rules must supply at least one resource");
        }
    }
}

fn binding(at: &At<'_>, cluster: bool) {
    let role = at.get("roleRef");
    role.get("apiGroup").one_of(&[GROUP]);
    role.get("kind").one_of(if cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] });
    role.get("name").required_format(names::path_segment);
    for subject in at.get("subjects").items() {
        let (name, group) = (subject.get("name"), subject.get("apiGroup"));
        let named = name.need();
        match subject.get("kind").text() {
            "ServiceAccount" => {
                if named {
                    name.format(names::dns_subdomain);
                }
                if !group.is_empty() {
                    group.not_supported(&[""]);
                }
                subject.get("namespace").need();
            }
            "User" | "Group" => group.one_of(&[GROUP]),
            _ => subject.get("kind").not_supported(&["ServiceAccount", "User", "Group"]),
        }
    }
}

fn role_stays(at: &At<'_>, old: &Value) {
    if !same(at.get("roleRef").value(), &old["roleRef"]) {
        at.get("roleRef").invalid("cannot change roleRef");
    }
}
