//! Creating, deleting, adopting and releasing the objects that a workload manages.

use std::{fmt::Debug, future::Future, sync::Arc};

use futures::future::join_all;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1 as whole,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use knarr_component::{events::Recorder, informer::Informer, store::Key};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::de::DeserializeOwned;
use serde_json::json;

pub(crate) use knarr_component::client::message;

use crate::{
    expectations::Expectations,
    meta::{
        controller_of, controller_reference, ignore_absent, is_code, is_deleting, is_namespace_terminating,
        matches, name, namespace, uid,
    },
    pods::{self, Pod},
};

/// What to do about an object that a workload's selector or ownership concerns.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Claim {
    /// It is managed by the workload.
    Keep,
    /// It is nobody's and matches: take it.
    Adopt,
    /// It is managed by the workload but matches no more: let it go.
    Release,
    /// It is none of the workload's business.
    Ignore,
}

/// Decides what `owner` does about `object`.
pub(crate) fn claim(owner: &ObjectMeta, selector: &LabelSelector, object: &ObjectMeta) -> Claim {
    let matching = matches(selector, object.labels.as_ref());
    match controller_of(object) {
        Some(controller) if controller.uid != uid(owner) => Claim::Ignore,
        Some(_) if matching => Claim::Keep,
        Some(_) if is_deleting(owner) => Claim::Ignore,
        Some(_) => Claim::Release,
        None if is_deleting(owner) || !matching || is_deleting(object) => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// A kind that workloads manage.
pub(crate) trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Managed for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Name of the index of objects without a controller, by namespace.
const ORPHANS: &str = "orphans";

/// Lets [`candidates`] find objects that may be adopted.
pub(crate) fn index_orphans<C: Managed>(informer: &Informer<C>) {
    let orphans = |object: &C| {
        let orphan = controller_of(object.meta()).is_none();
        if orphan { object.meta().namespace.clone().into_iter().collect() } else { Vec::new() }
    };
    informer.add_index(ORPHANS, Arc::new(orphans));
}

/// The objects that an owner may have to claim: its own and those in its namespace that are
/// nobody's. All others are none of its business, and there may be thousands of them.
pub(crate) fn candidates<C: Managed>(informer: &Informer<C>, owner: &ObjectMeta) -> Vec<Arc<C>> {
    let mut all = informer.owned_by(uid(owner));
    // What names the owner but has no controller is found by both.
    all.retain(|own| controller_of(own.meta()).is_some());
    all.extend(informer.by_index(ORPHANS, namespace(owner)));
    all
}

/// The objects among `candidates` that `owner` manages, after adopting and releasing.
///
/// Before the first adoption the owner is read live: one that was deleted, or replaced by another
/// of the same name, must not adopt anything.
pub(crate) async fn claim_all<P: Managed, C: Managed>(
    client: &Client,
    owner: &P,
    selector: &LabelSelector,
    candidates: Vec<Arc<C>>,
) -> anyhow::Result<Vec<Arc<C>>> {
    claim_all_with(client, owner, selector, candidates, None).await
}

/// The same for an owner whose objects have a finalizer of its own: it comes with the adoption and
/// goes with the release, since nobody else would ever remove it.
pub(crate) async fn claim_all_with<P: Managed, C: Managed>(
    client: &Client,
    owner: &P,
    selector: &LabelSelector,
    candidates: Vec<Arc<C>>,
    finalizer: Option<&str>,
) -> anyhow::Result<Vec<Arc<C>>> {
    let namespace = owner.meta().namespace.clone().unwrap_or_default();
    let api: Api<C> = Api::namespaced(client.clone(), &namespace);
    let (mut claimed, mut may_adopt) = (Vec::new(), None);
    for object in candidates {
        match claim(owner.meta(), selector, object.meta()) {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Release => release(&api, owner, &*object, finalizer).await?,
            Claim::Adopt => {
                if may_adopt.is_none() {
                    let owners: Api<P> = Api::namespaced(client.clone(), &namespace);
                    let live = owners.get_opt(name(owner.meta())).await?;
                    may_adopt = Some(live.is_some_and(|live| {
                        live.meta().uid == owner.meta().uid && !is_deleting(live.meta())
                    }));
                }
                if may_adopt == Some(true)
                    && let Some(adopted) = adopt(&api, owner, &*object, finalizer).await?
                {
                    claimed.push(Arc::new(adopted));
                }
            }
        }
    }
    Ok(claimed)
}

async fn adopt<P: Managed, C: Managed>(
    api: &Api<C>,
    owner: &P,
    object: &C,
    finalizer: Option<&str>,
) -> kube::Result<Option<C>> {
    let mut patch = json!({"metadata": {
        "ownerReferences": [controller_reference(owner)],
        "uid": object.meta().uid,
    }});
    if let Some(finalizer) = finalizer {
        patch["metadata"]["finalizers"] = json!([finalizer]);
    }
    let patched = api.patch(name(object.meta()), &PatchParams::default(), &Patch::Strategic(patch)).await;
    ignore_absent(patched)
}

async fn release<P: Managed, C: Managed>(
    api: &Api<C>,
    owner: &P,
    object: &C,
    finalizer: Option<&str>,
) -> kube::Result<()> {
    let mut patch = json!({"metadata": {
        "ownerReferences": [{"$patch": "delete", "uid": owner.meta().uid}],
        "uid": object.meta().uid,
    }});
    if let Some(finalizer) = finalizer {
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
    }
    match api.patch(name(object.meta()), &PatchParams::default(), &Patch::Strategic(patch)).await {
        // 422: it is another object of that name, or has no owner left.
        Err(error) if !is_code(&error, 404) && !is_code(&error, 422) => Err(error),
        _ => Ok(()),
    }
}

/// Creates and deletes pods for a workload, and tells its user.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub client: Client,
    pub recorder: Recorder,
}

impl PodControl {
    /// Creates a pod.
    pub async fn create<P: Managed>(&self, owner: &P, pod: &whole::Pod) -> kube::Result<Pod> {
        match pods::create(&self.client, pod).await {
            Ok(pod) => {
                self.recorder.normal(
                    owner,
                    "SuccessfulCreate",
                    format!("Created pod: {}", name(&pod.metadata)),
                );
                Ok(pod)
            }
            Err(error) => {
                if !is_namespace_terminating(&error) {
                    self.recorder.warning(
                        owner,
                        "FailedCreate",
                        format!("Error creating: {}", message(&error)),
                    );
                }
                Err(error)
            }
        }
    }

    /// Deletes a pod; one that is gone is fine.
    pub async fn delete<P: Managed>(&self, owner: &P, pod: &Pod) -> kube::Result<()> {
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), owner.meta().namespace.as_deref().unwrap_or_default());
        let precondition = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let pod_name = name(&pod.metadata);
        match api.delete(pod_name, &DeleteParams::default().preconditions(precondition)).await {
            Ok(_) => {
                self.recorder.normal(owner, "SuccessfulDelete", format!("Deleted pod: {pod_name}"));
                Ok(())
            }
            // 409: another pod of that name; ours is gone.
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(()),
            Err(error) => {
                self.recorder.warning(owner, "FailedDelete", format!("Error deleting: {}", message(&error)));
                Err(error)
            }
        }
    }

    /// Creates `count` pods that [`Expectations`] already know of, few at first and more as they
    /// succeed: when something is wrong with the template or quota, only one request fails.
    pub async fn create_batch<P: Managed>(
        &self,
        owner: &P,
        count: usize,
        expectations: &Expectations,
        pod: impl Fn(usize) -> whole::Pod,
    ) -> kube::Result<()> {
        let key = Key::of(owner.meta());
        let pod = &pod;
        let (created, result) =
            slow_start(count, |index| async move { self.create(owner, &pod(index)).await }).await;
        for _ in created..count {
            expectations.created(&key);
        }
        match result {
            Err(error) if is_namespace_terminating(&error) => Ok(()),
            result => result,
        }
    }

    /// Deletes pods that [`Expectations`] already know of.
    pub async fn delete_batch<P: Managed>(
        &self,
        owner: &P,
        pods: &[Arc<Pod>],
        expectations: &Expectations,
    ) -> kube::Result<()> {
        let key = Key::of(owner.meta());
        let results = join_all(pods.iter().map(|pod| self.delete(owner, pod))).await;
        let mut first = Ok(());
        for (pod, result) in pods.iter().zip(results) {
            if result.is_err() {
                expectations.deleted(&key, uid(&pod.metadata));
                first = first.and(result);
            }
        }
        first
    }
}

/// Calls `act` for 0, 1, … in batches of 1, 2, 4, … until one fails; returns how many succeeded.
pub(crate) async fn slow_start<T, E, Fut: Future<Output = Result<T, E>>>(
    count: usize,
    act: impl Fn(usize) -> Fut,
) -> (usize, Result<(), E>) {
    let (mut started, mut succeeded, mut batch) = (0, 0, 1);
    while started < count {
        let end = count.min(started + batch);
        let results = join_all((started..end).map(&act)).await;
        let mut first = Ok(());
        for result in results {
            match result {
                Ok(_) => succeeded += 1,
                Err(error) => first = first.and(Err(error)),
            }
        }
        if first.is_err() {
            return (succeeded, first);
        }
        started = end;
        batch *= 2;
    }
    (succeeded, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn claims() {
        let owner = |deleting: bool| ObjectMeta {
            uid: Some("me".into()),
            deletion_timestamp: deleting.then(crate::meta::now),
            ..Default::default()
        };
        let selector =
            LabelSelector { match_labels: Some([("a".into(), "1".into())].into()), match_expressions: None };
        let check = |deleting: bool, controller: Option<&str>, label: &str, expected: Claim| {
            let object = ObjectMeta {
                labels: Some([("a".into(), label.into())].into()),
                owner_references: controller.map(|uid| {
                    vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]
                }),
                ..Default::default()
            };
            assert_eq!(
                claim(&owner(deleting), &selector, &object),
                expected,
                "{deleting} {controller:?} {label}"
            );
        };
        check(false, Some("me"), "1", Claim::Keep);
        check(false, Some("me"), "2", Claim::Release);
        check(true, Some("me"), "2", Claim::Ignore);
        check(false, Some("other"), "1", Claim::Ignore);
        check(false, None, "1", Claim::Adopt);
        check(true, None, "1", Claim::Ignore);
        check(false, None, "2", Claim::Ignore);
    }

    #[tokio::test]
    async fn batches_double_and_stop_at_a_failure() {
        let calls = RefCell::new(Vec::new());
        let calls = &calls;
        let run = async |count, fail_at| {
            calls.borrow_mut().clear();
            slow_start(count, |index| async move {
                calls.borrow_mut().push(index);
                if Some(index) == fail_at { Err(()) } else { Ok(()) }
            })
            .await
        };
        assert_eq!(run(10, None).await, (10, Ok(())));
        assert_eq!(run(10, Some(0)).await, (0, Err(())));
        assert_eq!(run(10, Some(4)).await, (6, Err(())));
        assert_eq!(calls.borrow().len(), 7);
    }
}
