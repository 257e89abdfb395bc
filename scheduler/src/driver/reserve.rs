//! Writes to resource claims which devices they get, and which pods they are for; waits for devices to be prepared.
use super::Scheduler;
use crate::devices::Allocation;
use crate::devices::conditions::{Prepared, has_conditions, prepared};
use crate::devices::extended::Special;
use crate::plugin::Event;
use crate::plugins::Plan;
use crate::pod::PodView;
use crate::views;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_component::client::message;
use knarr_component::store::Key;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keeps a claim from vanishing while devices are allocated for it.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// How often a claim is read again that others write at the same time.
const TRIES: usize = 5;

/// How long a driver may take to prepare devices.
const PREPARATION: Duration = Duration::from_secs(600);

/// Why a claim could not be reserved.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReserveError {
    #[error("{}", message(.0))]
    Write(#[from] kube::Error),
    #[error("resourceclaim {0:?} not found")]
    Gone(String),
    #[error("cannot describe the devices: {0}")]
    Form(#[from] serde_json::Error),
    #[error("claim {0} binding failed: condition {1} is true")]
    Failed(Key, String),
    #[error("claim {0} binding timeout")]
    Timeout(Key),
    #[error("claim {0} is written by others again and again")]
    Contended(Key),
}

impl Scheduler {
    /// Allocates devices for the pod's claims and reserves the claims for it. Gives the claim that was made for its extended
    /// resources, if there is one.
    pub(super) async fn reserve_devices(
        &self,
        pod: &PodView,
        plan: &Plan,
    ) -> Result<Option<Key>, ReserveError> {
        let is_special = |allocation: &&Allocation| {
            plan.special.as_ref().is_some_and(|special| special.claim.key == allocation.claim)
        };
        let (special, others): (Vec<_>, Vec<_>) = plan.devices.iter().partition(is_special);
        for allocation in &others {
            self.reserve(pod, allocation).await?;
        }
        for allocation in &others {
            if let Err(error) = self.devices_are_ready(&allocation.claim).await {
                self.give_devices_back(pod, &allocation.claim).await?;
                return Err(error);
            }
        }
        let (Some(special), Some(allocation)) = (&plan.special, special.first()) else { return Ok(None) };
        let claim = self.make_special(pod, special, allocation).await?;
        if let Err(error) = self.devices_are_ready(&claim).await {
            self.drop_special(pod, &claim).await;
            return Err(error);
        }
        Ok(Some(claim))
    }

    /// Makes the claim for the pod's extended resources, with its devices, and names it in the pod's status.
    async fn make_special(
        &self,
        pod: &PodView,
        special: &Special,
        allocation: &Allocation,
    ) -> Result<Key, ReserveError> {
        let mut claim = special.claim.value.clone();
        claim.metadata.name = None;
        claim.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let api: Api<ResourceClaim> = Api::namespaced(self.client.clone(), &pod.key.namespace);
        let made = api.create(&PostParams::default(), &claim).await?;
        let name = made.metadata.name.clone().unwrap_or_default();
        let key = Key::new(pod.key.namespace.clone(), name);
        let wanted = Allocation { claim: key.clone(), ..allocation.clone() };
        let told = async {
            self.write_reservation(&api, pod, &wanted, made).await?;
            let status = json!({"resourceClaimName": key.name, "requestMappings": special.mappings});
            let patch =
                json!({"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": status}});
            let pods = self.pods(&pod.key);
            pods.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            Ok(())
        };
        match told.await {
            Ok(()) => Ok(key),
            Err(error) => {
                self.drop_special(pod, &key).await;
                Err(error)
            }
        }
    }

    /// Removes the claim that was made for a pod's extended resources: the pod is not placed after all.
    pub(super) async fn drop_special(&self, pod: &PodView, claim: &Key) {
        let drop = async {
            self.give_devices_back(pod, claim).await?;
            let api: Api<ResourceClaim> = Api::namespaced(self.client.clone(), &claim.namespace);
            api.delete(&claim.name, &DeleteParams::default()).await?;
            let patch =
                json!({"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": null}});
            let pods = self.pods(&pod.key);
            pods.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            Ok::<_, ReserveError>(())
        };
        if let Err(error) = drop.await {
            // The next attempt finds the claim in the pod's status, or its owner's end removes it.
            tracing::warn!(pod = %pod.key, claim = claim.name, %error, "claim for extended resources not removed");
        }
    }

    /// Waits until the driver says that the devices of a claim can be used.
    async fn devices_are_ready(&self, claim: &Key) -> Result<(), ReserveError> {
        let mut changes = self.storage_changed.subscribe();
        let deadline = tokio::time::Instant::now() + PREPARATION;
        loop {
            changes.mark_unchanged();
            let known = self.state.lock().cache.world().devices.claims.get(claim).cloned();
            let known = known.ok_or_else(|| ReserveError::Gone(claim.name.clone()))?;
            match prepared(&known.value) {
                Prepared::Ready => return Ok(()),
                Prepared::Failed(condition) => return Err(ReserveError::Failed(claim.clone(), condition)),
                Prepared::Waiting => {}
            }
            let changed = tokio::time::timeout_at(deadline, changes.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(ReserveError::Timeout(claim.clone()));
            }
        }
    }

    /// A claim whose devices were not prepared loses them, so that it may get others, unless another pod has it.
    async fn give_devices_back(&self, pod: &PodView, claim: &Key) -> Result<(), ReserveError> {
        let api: Api<ResourceClaim> = Api::namespaced(self.client.clone(), &claim.namespace);
        let Some(mut current) = api.get_opt(&claim.name).await? else { return Ok(()) };
        let Some(status) = current.status.as_mut() else { return Ok(()) };
        let holders = status.reserved_for.get_or_insert_default();
        holders.retain(|holder| holder.uid != pod.uid);
        if holders.is_empty() {
            status.allocation = None;
            status.devices = None;
        }
        let written = api.replace_status(&claim.name, &PostParams::default(), &current).await?;
        let mut state = self.state.lock();
        state.cache.world_mut().devices.set_claim(&Arc::new(views::resource_claim(written)));
        Ok(())
    }

    async fn reserve(&self, pod: &PodView, wanted: &Allocation) -> Result<(), ReserveError> {
        let known = self.state.lock().cache.world().devices.claims.get(&wanted.claim).cloned();
        let known = known.ok_or_else(|| ReserveError::Gone(wanted.claim.name.clone()))?;
        let api: Api<ResourceClaim> = Api::namespaced(self.client.clone(), &wanted.claim.namespace);
        let mut claim = known.value.clone();
        for _ in 0..TRIES {
            match self.write_reservation(&api, pod, wanted, claim).await {
                // Someone else has written the claim: a controller its finalizer, or another pod its name.
                Err(ReserveError::Write(kube::Error::Api(status))) if status.code == 409 => {}
                other => return other,
            }
            let fresh = api.get_opt(&wanted.claim.name).await?;
            claim = fresh.ok_or_else(|| ReserveError::Gone(wanted.claim.name.clone()))?;
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(ReserveError::Gone(wanted.claim.name.clone()));
            }
        }
        Err(ReserveError::Contended(wanted.claim.clone()))
    }

    /// Writes to a claim, as it was read, what it gets and whom it is for.
    async fn write_reservation(
        &self,
        api: &Api<ResourceClaim>,
        pod: &PodView,
        wanted: &Allocation,
        mut claim: ResourceClaim,
    ) -> Result<(), ReserveError> {
        let status = claim.status.clone().unwrap_or_default();
        if status.reserved_for.iter().flatten().any(|holder| holder.uid == pod.uid) {
            return Ok(());
        }
        let name = &wanted.claim.name;
        // Another pod may have been quicker to allocate it.
        let allocation = wanted.allocation.as_ref().filter(|_| status.allocation.is_none());
        if let Some(allocation) = allocation {
            let finalizers = claim.metadata.finalizers.get_or_insert_default();
            if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
                finalizers.push(FINALIZER.to_owned());
                claim = api.replace(name, &PostParams::default(), &claim).await?;
            }
            let allocation: AllocationResult = serde_json::from_value(allocation.clone())?;
            claim.status.get_or_insert_default().allocation = Some(allocation);
            if has_conditions(&claim) {
                let allocation = claim.status.as_mut().and_then(|status| status.allocation.as_mut());
                allocation.into_iter().for_each(|allocation| {
                    allocation.allocation_timestamp = Some(Time(jiff::Timestamp::now()));
                });
            }
        }
        let holder = ResourceClaimConsumerReference {
            api_group: None,
            resource: "pods".to_owned(),
            name: pod.key.name.clone(),
            uid: pod.uid.clone(),
        };
        claim.status.get_or_insert_default().reserved_for.get_or_insert_default().push(holder);
        let written = api.replace_status(name, &PostParams::default(), &claim).await?;
        // Until the informer shows it, the devices must not look free.
        let mut state = self.state.lock();
        state.cache.world_mut().devices.set_claim(&Arc::new(views::resource_claim(written)));
        state.queue.event(Event::Device, Instant::now());
        Ok(())
    }
}
