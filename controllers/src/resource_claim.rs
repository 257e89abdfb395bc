//! ResourceClaims: made from templates for pods, and given back when their pods are done.

mod decide;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::bail;
use k8s_openapi::api::{
    core::v1::PodResourceClaim,
    resource::v1::{ResourceClaim, ResourceClaimTemplate},
};
use knarr_component::{events::Recorder, informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::{
    ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;

use crate::{
    context::Context,
    control::message,
    meta::{controller_of, controller_reference, ignore_absent, is_deleting, name, namespace, uid},
    pods::Pod,
};

use decide::{FINALIZER, POD_CLAIM, Step, claims_of, holders, is_done, known_name, step};

/// What to work on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Item {
    Pod(Key),
    Claim(Key),
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Item::Pod(key) => write!(f, "pod {key}"),
            Item::Claim(key) => write!(f, "claim {key}"),
        }
    }
}

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        pods: context.informers.get(),
        claims: context.informers.get(),
        templates: context.informers.get(),
        recorder: context.recorder("resource_claim"),
        context,
    });
    let queue = Queue::new();
    let (added, known) = (queue.clone(), controller.claims.clone());
    controller.pods.on_change(move |change| {
        let pod = change.object();
        if claims_of(pod).is_empty() && !has_special_claim(pod) {
            return;
        }
        if !change.is_deletion() && !is_done(pod) {
            return added.add(Item::Pod(Key::of(&pod.metadata)));
        }
        for claim in known.list_namespace(namespace(&pod.metadata)) {
            let owned = controller_of(&claim.metadata).is_some_and(|owner| owner.uid == uid(&pod.metadata));
            if owned || holders(&claim).iter().any(|holder| holder.uid == uid(&pod.metadata)) {
                added.add(Item::Claim(Key::of(&claim.metadata)));
            }
        }
    });
    let added = queue.clone();
    controller.claims.on_change(move |change| {
        let claim = &change.object().metadata;
        if change.is_deletion() {
            if let Some(owner) = controller_of(claim).filter(|owner| owner.kind == "Pod") {
                added.add(Item::Pod(Key::new(namespace(claim), owner.name.clone())));
            }
        } else {
            added.add(Item::Claim(Key::of(claim)));
        }
    });
    let (added, pods) = (queue.clone(), controller.pods.clone());
    controller.templates.on_change(move |change| {
        let waiting = pods.list_namespace(namespace(&change.object().metadata)).into_iter();
        let waiting = waiting.filter(|pod| !claims_of(pod).is_empty());
        waiting.for_each(|pod| added.add(Item::Pod(Key::of(&pod.metadata))));
    });
    let synced = {
        let (pods, claims) = (controller.pods.synced(), controller.claims.synced());
        let templates = controller.templates.synced();
        async {
            futures::join!(pods, claims, templates);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_resource_claim_syncs;
    context
        .work("resourceclaim-controller", synced, queue, workers, move |item| {
            let controller = controller.clone();
            async move {
                match item {
                    Item::Pod(key) => controller.sync_pod(key).await,
                    Item::Claim(key) => controller.sync_claim(key).await,
                }
            }
        })
        .await
}

/// Whether the scheduler made a claim for the pod's extended resources.
fn has_special_claim(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.extended_resource_claim_status.is_some())
}

impl Controller {
    async fn sync_pod(&self, key: Key) -> SyncResult {
        let pod = self.pods.get(&key).filter(|pod| !is_deleting(&pod.metadata) && !is_done(pod));
        let Some(pod) = pod else { return Ok(None) };
        let mut made: BTreeMap<String, String> = BTreeMap::new();
        for wanted in claims_of(&pod) {
            let claimed = self.claim_for(&key, &pod, wanted).await;
            match claimed {
                Ok(Some(claim)) if known_name(&pod, &wanted.name) != Some(Some(claim.as_str())) => {
                    drop(made.insert(wanted.name.clone(), claim));
                }
                Ok(_) => {}
                Err(error) => {
                    let text = format!("PodResourceClaim {}: {error:#}", wanted.name);
                    self.recorder.warning(&*pod, "FailedResourceClaimCreation", text);
                    return Err(error);
                }
            }
        }
        if !made.is_empty() {
            let statuses: Vec<_> =
                made.iter().map(|(name, claim)| json!({"name": name, "resourceClaimName": claim})).collect();
            let patch = Patch::Strategic(json!({
                "metadata": {"uid": pod.metadata.uid}, "status": {"resourceClaimStatuses": statuses},
            }));
            let api = self.context.api::<Pod>(&key.namespace);
            ignore_absent(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
        }
        Ok(None)
    }

    /// The name of the claim that a pod gets from a template; `None` where it names one itself.
    async fn claim_for(
        &self,
        key: &Key,
        pod: &Pod,
        wanted: &PodResourceClaim,
    ) -> anyhow::Result<Option<String>> {
        let Some(template_name) = wanted.resource_claim_template_name.as_deref() else { return Ok(None) };
        let owned = |claim: &ResourceClaim| {
            controller_of(&claim.metadata).is_some_and(|owner| owner.uid == uid(&pod.metadata))
        };
        match known_name(pod, &wanted.name) {
            Some(None) => return Ok(None),
            Some(Some(claim)) => match self.claims.get(&Key::new(key.namespace.clone(), claim)) {
                Some(found) if !owned(&found) => {
                    bail!("resource claim template {template_name}: claim {claim} is not owned by the pod")
                }
                Some(_) => return Ok(Some(claim.to_string())),
                None => {}
            },
            None => {}
        }
        let made_before = self
            .claims
            .list_namespace(&key.namespace)
            .into_iter()
            .find(|claim| owned(claim) && claim.annotations().get(POD_CLAIM) == Some(&wanted.name));
        if let Some(found) = made_before {
            return Ok(Some(found.name_any()));
        }
        let template = self.templates.get(&Key::new(key.namespace.clone(), template_name));
        let Some(template) = template else {
            bail!(
                "resource claim template {template_name:?}: resourceclaimtemplate.resource.k8s.io \
                 {template_name:?} not found"
            );
        };
        let meta = template.spec.metadata.clone().unwrap_or_default();
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.insert(POD_CLAIM.to_string(), wanted.name.clone());
        let claim = ResourceClaim {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-{}-", key.name, wanted.name)),
                labels: meta.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![controller_reference(pod)]),
                ..Default::default()
            },
            spec: template.spec.spec.clone(),
            status: None,
        };
        let api = self.context.api::<ResourceClaim>(&key.namespace);
        let made = api
            .create(&PostParams::default(), &claim)
            .await
            .map_err(|error| anyhow::anyhow!("create ResourceClaim: {}", message(&error)))?;
        Ok(Some(made.name_any()))
    }

    /// Whether the pod that holds a claim is gone or done.
    async fn is_free(&self, space: &str, pod: &str, pod_uid: &str) -> kube::Result<bool> {
        let known = self.pods.get(&Key::new(space, pod)).filter(|pod| uid(&pod.metadata) == pod_uid);
        if let Some(pod) = known {
            return Ok(is_done(&pod));
        }
        // It may be younger than what the informer shows.
        let live = self.context.api::<Pod>(space).get_opt(pod).await?;
        Ok(live.is_none_or(|live| uid(&live.metadata) != pod_uid))
    }

    async fn sync_claim(&self, key: Key) -> SyncResult {
        let Some(claim) = self.claims.get(&key) else { return Ok(None) };
        let mut gone = Vec::new();
        for holder in holders(&claim) {
            let is_pod =
                holder.resource == "pods" && holder.api_group.as_deref().unwrap_or_default().is_empty();
            if is_pod && self.is_free(&key.namespace, &holder.name, &holder.uid).await? {
                gone.push(holder.uid.clone());
            }
        }
        let owner = controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
        let owner_is_done = match owner {
            Some(owner) => self.is_free(&key.namespace, &owner.name, &owner.uid).await?,
            None => false,
        };
        let api = self.context.api::<ResourceClaim>(&key.namespace);
        match step(&claim, &gone, owner_is_done) {
            Step::Nothing => {}
            Step::Update(updated) => {
                let updated = *updated;
                let answer = api.replace_status(&key.name, &PostParams::default(), &updated).await;
                ignore_absent(answer)?;
            }
            Step::Unprotect => {
                let finalizers = claim.metadata.finalizers.clone().unwrap_or_default();
                let left: Vec<String> = finalizers.into_iter().filter(|have| have != FINALIZER).collect();
                let patch = Patch::Merge(json!({"metadata": {
                    "resourceVersion": claim.metadata.resource_version, "finalizers": left,
                }}));
                ignore_absent(api.patch(&key.name, &PatchParams::default(), &patch).await)?;
            }
            Step::Delete => {
                let precondition = Preconditions { uid: claim.metadata.uid.clone(), resource_version: None };
                let parameters = DeleteParams::default().preconditions(precondition);
                ignore_absent(api.delete(name(&claim.metadata), &parameters).await)?;
            }
        }
        Ok(None)
    }
}
