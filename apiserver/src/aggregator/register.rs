//! APIService objects of this server's own group versions: made and taken away by itself, so that clients see all group
//! versions of the cluster in one place.
use super::{GROUP, PLURAL};
use crate::loopback::Loopback;
use crate::objects::Objects;
use crate::registry::{Registry, object};
use futures::future::join_all;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;
use std::sync::Arc;

/// Marks objects that are made here: `onstart` for built-in group versions, `true` for those of custom resources.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Priorities of custom resources.
const CUSTOM: (i32, i32) = (1000, 100);

/// Brings the automatic objects in line with what is served; is that done?
pub async fn register(registry: &Registry, objects: &dyn Objects, client: &Loopback) -> bool {
    let present = objects.list(GROUP, PLURAL, None);
    let steps = plan(&wanted(registry), &present);
    let outcomes = join_all(steps.into_iter().map(|step| carry_out(client, step))).await;
    let failed = outcomes.into_iter().filter_map(Result::err);
    let failed: Vec<Status> = failed.filter(|status| !matches!(status.code, 404 | 409)).collect();
    failed.iter().for_each(|status| tracing::debug!(%status, "an APIService could not be written"));
    failed.is_empty()
}

/// The objects that there should be.
fn wanted(registry: &Registry) -> Vec<Value> {
    let versions = registry.local_versions();
    let objects = versions.iter().filter_map(|(group, version, custom)| {
        let known = registry.api.group(group).filter(|_| !custom);
        let known = known.and_then(|group| group.versions.iter().find(|v| *v.version == **version));
        let (managed, priority) = match (custom, known) {
            (true, _) => ("true", CUSTOM),
            (false, known) => ("onstart", known?.priority?),
        };
        Some(json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
            "spec": {"group": &**group, "version": &**version, "groupPriorityMinimum": priority.0,
                "versionPriority": priority.1},
        }))
    });
    objects.collect()
}

#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    Update(Value),
    Delete(String),
}

/// Objects without the mark are somebody else's, and stay as they are.
fn plan(wanted: &[Value], present: &[Arc<Value>]) -> Vec<Step> {
    let managed = |object: &Value| object["metadata"]["labels"][MANAGED].is_string();
    let mut steps = Vec::new();
    for object in wanted {
        match present.iter().find(|p| object::name(p) == object::name(object)) {
            None => steps.push(Step::Create(object.clone())),
            Some(found) if managed(found) && !same(&found["spec"], &object["spec"]) => {
                let mut changed = (**found).clone();
                changed["spec"] = object["spec"].clone();
                steps.push(Step::Update(changed));
            }
            Some(_) => {}
        }
    }
    let stays = |name: &str| wanted.iter().any(|object| object::name(object) == name);
    let gone = present.iter().filter(|object| managed(object) && !stays(object::name(object)));
    steps.extend(gone.map(|object| Step::Delete(object::name(object).to_owned())));
    steps
}

fn same(present: &Value, wanted: &Value) -> bool {
    let members = ["group", "version", "groupPriorityMinimum", "versionPriority"];
    let empty = |value: &Value| value.is_null() || *value == "";
    members.iter().all(|m| present[*m] == wanted[*m] || empty(&present[*m]) && empty(&wanted[*m]))
        && present["service"].is_null()
}

async fn carry_out(client: &Loopback, step: Step) -> Result<(), Status> {
    let collection = format!("/apis/{GROUP}/v1/{PLURAL}");
    match step {
        Step::Create(object) => client.create(&collection, &object).await.map(drop),
        Step::Update(object) => {
            client.update(&format!("{collection}/{}", object::name(&object)), &object).await.map(drop)
        }
        Step::Delete(name) => client.delete(&format!("{collection}/{name}")).await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let object = |name: &str, priority: i32, label: Option<&str>| json!({"metadata": {"name": name, "labels": {MANAGED: label}}, "spec": {"versionPriority": priority}});
        let wanted =
            [object("a", 1, Some("true")), object("b", 1, Some("true")), object("c", 1, Some("true"))];
        let present = [
            object("b", 2, Some("onstart")),
            object("c", 2, None),
            object("d", 1, Some("true")),
            object("e", 1, None),
        ];
        let present: Vec<Arc<Value>> = present.into_iter().map(Arc::new).collect();
        assert_eq!(
            plan(&wanted, &present),
            [
                Step::Create(object("a", 1, Some("true"))),
                Step::Update(object("b", 1, Some("onstart"))),
                Step::Delete("d".to_owned()),
            ]
        );
    }
}
