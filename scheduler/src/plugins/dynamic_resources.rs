//! Resource claims: devices are not allocated here, so that a pod with claims is refused rather than started without
//! its devices.
use crate::plugin::{Event, Filter, Prepared};
use crate::pod::PodView;
use crate::world::World;

/// `spec.resourceClaims`.
pub struct DynamicResources;

impl Filter for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World) -> Prepared<'a> {
        match pod.resource_claims.first() {
            None => Prepared::Skip,
            Some(claim) => Prepared::Refuse(
                format!("resource claim {claim:?} cannot be allocated by this scheduler").into(),
            ),
        }
    }

    fn events(&self) -> &'static [Event] {
        &[]
    }
}
