//! Writes to resource claims which devices they get, and which pods they are for.
use super::Scheduler;
use crate::devices::Allocation;
use crate::plugin::Event;
use crate::plugins::Plan;
use crate::pod::PodView;
use crate::views;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use kube::Api;
use kube::api::PostParams;
use std::sync::Arc;
use std::time::Instant;

/// Keeps a claim from vanishing while devices are allocated for it.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// Why a claim could not be reserved.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReserveError {
    #[error(transparent)]
    Write(#[from] kube::Error),
    #[error("resourceclaim {0:?} not found")]
    Gone(String),
    #[error("cannot describe the devices: {0}")]
    Form(#[from] serde_json::Error),
}

impl Scheduler {
    /// Allocates devices for the pod's claims and reserves the claims for it.
    pub(super) async fn reserve_devices(&self, pod: &PodView, plan: &Plan) -> Result<(), ReserveError> {
        for allocation in &plan.devices {
            self.reserve(pod, allocation).await?;
        }
        Ok(())
    }

    async fn reserve(&self, pod: &PodView, wanted: &Allocation) -> Result<(), ReserveError> {
        let known = self.state.lock().cache.world().devices.claims.get(&wanted.claim).cloned();
        let known = known.ok_or_else(|| ReserveError::Gone(wanted.claim.name.clone()))?;
        let mut claim = known.value.clone();
        let status = claim.status.clone().unwrap_or_default();
        if status.reserved_for.iter().flatten().any(|holder| holder.uid == pod.uid) {
            return Ok(());
        }
        let api: Api<ResourceClaim> = Api::namespaced(self.client.clone(), &wanted.claim.namespace);
        let name = &wanted.claim.name;
        if let Some(allocation) = &wanted.allocation {
            let finalizers = claim.metadata.finalizers.get_or_insert_default();
            if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
                finalizers.push(FINALIZER.to_owned());
                claim = api.replace(name, &PostParams::default(), &claim).await?;
            }
            let allocation: AllocationResult = serde_json::from_value(allocation.clone())?;
            claim.status.get_or_insert_default().allocation = Some(allocation);
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
