//! ClusterRoles whose rules are the union of other ClusterRoles' rules.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    context::Context,
    meta::{ignore_absent, matches, name},
};

/// The rules of all roles that a role selects, each once, or `None` when it selects none at all.
fn aggregate(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let selected = all.iter().filter(|other| {
            name(&other.metadata) != name(&role.metadata) && matches(selector, other.metadata.labels.as_ref())
        });
        for rule in selected.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let roles: Informer<ClusterRole> = context.informers.get();
    let queue = Queue::new();
    let (added, known) = (queue.clone(), roles.clone());
    roles.on_change(move |_| {
        // Any role may be part of any other.
        let aggregated = known.list().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregated.for_each(|role| added.add(Key::of(&role.metadata)));
    });
    let synced = roles.synced();
    let this = context.clone();
    context
        .work("clusterrole-aggregation-controller", synced, queue, 1, move |key| {
            let (context, roles) = (this.clone(), roles.clone());
            async move { sync(&context, &roles, &key).await }
        })
        .await
}

async fn sync(context: &Context, roles: &Informer<ClusterRole>, key: &Key) -> SyncResult {
    let Some(role) = roles.get(key) else { return Ok(None) };
    let Some(rules) = aggregate(&role, &roles.list()) else { return Ok(None) };
    if role.rules.as_deref().unwrap_or_default() == rules {
        return Ok(None);
    }
    let patch = json!({"metadata": {"resourceVersion": role.metadata.resource_version}, "rules": rules});
    let api = context.api_all::<ClusterRole>();
    ignore_absent(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::rbac::v1::AggregationRule,
        apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
    };

    use super::*;

    #[test]
    fn selected_rules_appear_once() {
        let role = |name: &str, label: &str, verbs: &[&str]| {
            let rule = |verb: &&str| PolicyRule { verbs: vec![verb.to_string()], ..Default::default() };
            Arc::new(ClusterRole {
                metadata: ObjectMeta {
                    name: Some(name.into()),
                    labels: Some([(label.to_string(), "true".to_string())].into()),
                    ..Default::default()
                },
                rules: Some(verbs.iter().map(rule).collect()),
                aggregation_rule: None,
            })
        };
        let all =
            [role("a", "view", &["get", "list"]), role("b", "view", &["get"]), role("c", "edit", &["put"])];
        let selector = LabelSelector {
            match_labels: Some([("view".to_string(), "true".to_string())].into()),
            ..Default::default()
        };
        let view = ClusterRole {
            aggregation_rule: Some(AggregationRule { cluster_role_selectors: Some(vec![selector]) }),
            ..Default::default()
        };
        let rules = aggregate(&view, &all).unwrap();
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list"]);
        assert_eq!(aggregate(&all[0], &all), None);
    }
}
