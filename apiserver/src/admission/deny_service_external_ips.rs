//! DenyServiceExternalIPs: services get no external addresses that they did not have.
use super::{Attributes, Operation, Plugin, array};
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;

/// The plugin.
pub struct DenyServiceExternalIps;

#[async_trait]
impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && attributes.is("", "services")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let Some(new) = &attributes.object else { return Ok(()) };
        if adds(new, attributes.old.as_ref()) {
            return Err(attributes.forbidden("Use of external IPs is denied by admission control."));
        }
        Ok(())
    }
}

fn adds(new: &Value, old: Option<&Value>) -> bool {
    let old = old.map(|old| array(&old["spec"]["externalIPs"])).unwrap_or_default();
    array(&new["spec"]["externalIPs"]).iter().any(|address| !old.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_may_only_go() {
        let service = |addresses: &[&str]| json!({"spec": {"externalIPs": addresses}});
        let two = service(&["1.1.1.1", "2.2.2.2"]);
        for (new, old, refused) in [
            (service(&[]), None, false),
            (service(&["1.1.1.1"]), None, true),
            (service(&["1.1.1.1"]), Some(&two), false),
            (service(&["3.3.3.3"]), Some(&two), true),
        ] {
            assert_eq!(adds(&new, old), refused, "{new}");
        }
    }
}
