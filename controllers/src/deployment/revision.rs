//! Which ReplicaSet has the current template, and the revisions of templates.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::REVISION;
use crate::{
    meta::{Map, annotation, controller_reference, name},
    template_hash,
};

/// Label that tells pods of one template from those of another.
const HASH: &str = "pod-template-hash";
/// Annotation with the earlier revisions of a template.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Length of that annotation.
const HISTORY_LENGTH: usize = 2000;
/// Annotations that belong to a Deployment or to a ReplicaSet alone.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    super::scale::DESIRED,
    super::scale::MAX,
    "deprecated.deployment.rollback.to",
];

/// Whether a ReplicaSet has the Deployment's template, its hash aside.
pub(super) fn same_template(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let ours = deployment.spec.as_ref().map(|spec| &spec.template);
    let theirs = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    matches!((ours, theirs), (Some(ours), Some(theirs)) if without_hash(ours) == without_hash(theirs))
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH);
    }
    meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
    // Servers differ in whether they return the field.
    meta.creation_timestamp = None;
    template
}

/// The revision of a ReplicaSet, 0 when it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    annotation(&set.metadata, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or_default()
}

/// The revision the Deployment should show, if it does not.
pub(super) fn for_deployment(deployment: &Deployment, new: &ReplicaSet) -> Option<String> {
    let revision = annotation(&new.metadata, REVISION)?;
    (annotation(&deployment.metadata, REVISION) != Some(revision)).then(|| revision.to_string())
}

/// Copies the Deployment's annotations and raises the revision, keeping the old one as history.
pub(super) fn annotate(deployment: &Deployment, set: &mut ReplicaSet, newest: i64) {
    let (before, old) = (annotation(&set.metadata, REVISION).map(String::from), revision(set));
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    if old < newest {
        annotations.insert(REVISION.to_string(), newest.to_string());
        if let Some(before) = before {
            add_history(annotations, &before);
        }
    }
}

fn add_history(annotations: &mut Map, revision: &str) {
    let history = annotations.get(HISTORY).cloned().unwrap_or_default();
    if history.split(',').any(|known| known == revision) {
        return;
    }
    let mut all: Vec<&str> = history.split(',').filter(|known| !known.is_empty()).collect();
    all.push(revision);
    let length = |all: &[&str]| all.iter().map(|known| known.len() + 1).sum::<usize>();
    while length(&all) > HISTORY_LENGTH {
        all.remove(0);
    }
    annotations.insert(HISTORY.to_string(), all.join(","));
}

/// An empty ReplicaSet for the Deployment's template.
pub(super) fn new_set(deployment: &Deployment, newest: i64) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash::hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.to_string(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH.to_string(), hash.clone());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name(&deployment.metadata))),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: Some(0),
            selector,
            template: Some(template),
        }),
        status: None,
    };
    annotate(deployment, &mut set, newest);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_keeps_the_newest() {
        let mut annotations = Map::new();
        let many: Vec<String> = (1000..1600).map(|revision| revision.to_string()).collect();
        many.iter().for_each(|revision| add_history(&mut annotations, revision));
        add_history(&mut annotations, "1599");
        let history = &annotations[HISTORY];
        assert!(history.len() < HISTORY_LENGTH && history.ends_with(",1598,1599"), "{history}");
    }
}
