//! AlwaysAdmit and AlwaysDeny, which the original has deprecated: one does nothing, the other refuses every write.
use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use knarr_api::status::Status;

/// AlwaysAdmit.
pub struct AlwaysAdmit;

/// AlwaysDeny.
pub struct AlwaysDeny;

#[async_trait]
impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }

    fn handles(&self, _: Operation, _: &Attributes<'_>) -> bool {
        false
    }
}

#[async_trait]
impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn handles(&self, _: Operation, attributes: &Attributes<'_>) -> bool {
        // What the server itself makes at its start has to be there.
        !attributes.is_own
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        Err(attributes.forbidden("admission control is denying all modifications"))
    }
}
