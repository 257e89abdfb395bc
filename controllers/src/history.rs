//! ControllerRevisions: the templates that DaemonSets and StatefulSets have had.
//!
//! A revision holds a template as a strategic merge patch of its owner, so that
//! `kubectl rollout undo` only has to apply it.

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        runtime::RawExtension,
    },
};
use knarr_component::informer::Informer;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::{
    context::Context,
    control::{Managed, candidates, claim_all},
    meta::{controller_reference, created, ignore_absent, is_code, is_deleting, name, namespace},
    template_hash,
};

/// Label of a pod (and a revision) with the hash of its template.
pub(crate) const HASH: &str = "controller-revision-hash";

/// All revisions of an owner, oldest first, and the one of its template.
pub(crate) struct Revisions {
    pub current: Arc<ControllerRevision>,
    pub all: Vec<Arc<ControllerRevision>>,
    /// How often a name was taken, to be kept in the owner's status.
    pub collisions: Option<i32>,
}

/// What to do so that a template has a revision with the highest number.
#[derive(Debug, PartialEq)]
enum Step {
    Have(usize),
    Renumber(usize, i64),
    Create(i64),
}

fn step(all: &[Arc<ControllerRevision>], data: &Value) -> Step {
    let highest = all.iter().map(|revision| revision.revision).max().unwrap_or_default();
    let same =
        |revision: &Arc<ControllerRevision>| revision.data.as_ref().is_some_and(|have| have.0 == *data);
    match all.iter().rposition(same) {
        Some(index) if all[index].revision == highest => Step::Have(index),
        Some(index) => Step::Renumber(index, highest + 1),
        None => Step::Create(highest + 1),
    }
}

/// A template as a patch of its owner.
fn patch_of(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_string(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision holds.
pub(crate) fn template_of(revision: &ControllerRevision) -> anyhow::Result<PodTemplateSpec> {
    let mut template = revision.data.as_ref().and_then(|data| data.0.pointer("/spec/template")).cloned();
    if let Some(fields) = template.as_mut().and_then(Value::as_object_mut) {
        fields.remove("$patch");
    }
    let text = || format!("revision {} holds no pod template", name(&revision.metadata));
    serde_json::from_value(template.with_context(text)?).with_context(text)
}

/// Finds, renumbers or creates the revision of an owner's template.
pub(crate) async fn revisions<P: Managed>(
    context: &Context,
    informer: &Informer<ControllerRevision>,
    owner: &P,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
) -> anyhow::Result<Revisions> {
    let candidates = candidates(informer, owner.meta());
    let mut all = claim_all(&context.client, owner, selector, candidates).await?;
    sort(&mut all);
    let api = context.api::<ControllerRevision>(namespace(owner.meta()));
    let data = patch_of(template);
    let mut collisions = collisions;
    let current = match step(&all, &data) {
        Step::Have(index) => all[index].clone(),
        Step::Renumber(index, number) => {
            let renumbered = ControllerRevision { revision: number, ..(*all[index]).clone() };
            let updated =
                api.replace(name(&renumbered.metadata), &PostParams::default(), &renumbered).await?;
            all[index] = Arc::new(updated);
            all[index].clone()
        }
        Step::Create(number) => loop {
            let revision = new(owner, template, &data, number, collisions);
            match api.create(&PostParams::default(), &revision).await {
                Ok(created) => {
                    all.push(Arc::new(created));
                    break all[all.len() - 1].clone();
                }
                Err(error) if is_code(&error, 409) => {
                    let existing = api.get(name(&revision.metadata)).await?;
                    if existing.data == revision.data {
                        break Arc::new(existing);
                    }
                    collisions = Some(collisions.unwrap_or_default() + 1);
                }
                Err(error) => return Err(error).context("cannot create ControllerRevision"),
            }
        },
    };
    sort(&mut all);
    Ok(Revisions { current, all, collisions })
}

fn sort(all: &mut [Arc<ControllerRevision>]) {
    all.sort_by_key(|revision| {
        (revision.revision, created(&revision.metadata), name(&revision.metadata).to_string())
    });
}

fn new<P: Managed>(
    owner: &P,
    template: &PodTemplateSpec,
    data: &Value,
    number: i64,
    collisions: Option<i32>,
) -> ControllerRevision {
    let hash = template_hash::hash(data, collisions);
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(HASH.to_string(), hash.clone());
    labels.insert("controller.kubernetes.io/hash".to_string(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name(owner.meta()))),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone().map(|mut annotations| {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
                annotations
            }),
            owner_references: Some(vec![controller_reference(owner)]),
            ..Default::default()
        },
        data: Some(RawExtension(data.clone())),
        revision: number,
    }
}

/// Deletes the oldest revisions beyond a limit, except those that are `live`.
pub(crate) async fn truncate(
    context: &Context,
    all: &[Arc<ControllerRevision>],
    limit: Option<i32>,
    live: impl Fn(&ControllerRevision) -> bool,
) -> anyhow::Result<()> {
    for revision in surplus(all, limit.unwrap_or(10), live) {
        let api = context.api::<ControllerRevision>(namespace(&revision.metadata));
        ignore_absent(api.delete(name(&revision.metadata), &DeleteParams::default()).await)?;
    }
    Ok(())
}

fn surplus(
    all: &[Arc<ControllerRevision>],
    limit: i32,
    live: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    let old: Vec<_> =
        all.iter().filter(|revision| !live(revision) && !is_deleting(&revision.metadata)).cloned().collect();
    let surplus = old.len().saturating_sub(limit.max(0) as usize);
    old.into_iter().take(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: i64, data: &str) -> Arc<ControllerRevision> {
        Arc::new(ControllerRevision {
            revision: number,
            data: Some(RawExtension(json!(data))),
            ..Default::default()
        })
    }

    #[test]
    fn a_template_gets_the_highest_number() {
        let all = [revision(1, "a"), revision(2, "b")];
        assert_eq!(step(&all, &json!("b")), Step::Have(1));
        assert_eq!(step(&all, &json!("a")), Step::Renumber(0, 3));
        assert_eq!(step(&all, &json!("c")), Step::Create(3));
        assert_eq!(step(&[], &json!("c")), Step::Create(1));
    }

    #[test]
    fn live_revisions_stay() {
        let all: Vec<_> = (1..=5).map(|number| revision(number, "x")).collect();
        let gone = surplus(&all, 2, |revision| revision.revision == 1);
        assert_eq!(gone.iter().map(|revision| revision.revision).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn templates_survive() {
        let template = PodTemplateSpec { spec: Some(Default::default()), ..Default::default() };
        let revision =
            ControllerRevision { data: Some(RawExtension(patch_of(&template))), ..Default::default() };
        assert_eq!(template_of(&revision).unwrap(), template);
    }
}
