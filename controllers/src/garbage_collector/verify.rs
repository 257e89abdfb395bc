//! Asking the server what is really there.

use std::{collections::HashMap, sync::Arc};

use anyhow::anyhow;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{
    Collector,
    graph::{FOREGROUND, Object, OwnerState, Uid},
};
use crate::resources::Resource;

impl Collector {
    /// The object as the server has it; `None` when it is gone.
    pub(super) async fn latest(&self, object: &Object) -> kube::Result<Option<Object>> {
        let api = object.resource.objects(&self.context.client, &object.namespace);
        let latest = api.get_metadata_opt(&object.name).await?;
        Ok(latest.map(|latest| Object::new(&object.resource, latest.metadata)))
    }

    /// What became of each owner of an object. `None` if that cannot be known, now or ever: objects of the whole
    /// cluster cannot have an owner in some namespace.
    pub(super) async fn verify_owners(
        &self,
        object: &Object,
    ) -> anyhow::Result<Option<HashMap<Uid, OwnerState>>> {
        let strange =
            |owner: &&OwnerReference| self.graph.lock().is_elsewhere(object, &Uid::from(owner.uid.as_str()));
        object.references.iter().filter(strange).for_each(|owner| self.warn_of_namespace(object, owner));
        let mut states = HashMap::new();
        for owner in object.references.iter() {
            let resource = self.resource(&owner.api_version, &owner.kind).ok_or_else(|| {
                // It may be a resource that is not served yet; nothing is decided without it.
                anyhow!("{object}: no resource for owner {} {}", owner.api_version, owner.kind)
            })?;
            if resource.namespaced && object.namespace.is_empty() {
                return Ok(None);
            }
            let api = resource.objects(&self.context.client, &object.namespace);
            let state = match api.get_metadata_opt(&owner.name).await? {
                Some(live) if live.metadata.uid.as_deref() == Some(&owner.uid) => {
                    let deleting = live.metadata.deletion_timestamp.is_some();
                    let foreground = crate::meta::has_finalizer(&live.metadata, FOREGROUND);
                    if deleting && foreground { OwnerState::WaitsForDependents } else { OwnerState::Present }
                }
                _ => OwnerState::Absent,
            };
            states.insert(Uid::from(owner.uid.as_str()), state);
        }
        Ok(Some(states))
    }

    /// The resource of a kind. Its version may be another one than the one preferred now.
    fn resource(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let resources = self.resources.read();
        if let Some(resource) = resources.get(&(api_version.to_string(), kind.to_string())) {
            return Some(resource.clone());
        }
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        resources.values().find(|resource| resource.api.group == group && resource.api.kind == kind).cloned()
    }
}
