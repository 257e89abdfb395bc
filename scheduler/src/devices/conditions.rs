//! Devices that their driver prepares before a pod may be bound (KEP-5007): what it says of them in the claim's status.
use k8s_openapi::api::resource::v1::{DeviceRequestAllocationResult, ResourceClaim};

/// How far the devices of a claim are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// All conditions hold, or there are none.
    Ready,
    /// The driver has not said of all that they hold.
    Waiting,
    /// A device cannot be had; the condition that says so.
    Failed(String),
}

fn results(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
    devices.and_then(|devices| devices.results.as_ref()).into_iter().flatten()
}

/// What the claim's status says.
pub fn prepared(claim: &ResourceClaim) -> Prepared {
    let told = claim.status.iter().flat_map(|status| status.devices.iter().flatten());
    let mut found = Prepared::Ready;
    for result in results(claim) {
        let wanted = result.binding_conditions.iter().flatten();
        let device = told.clone().find(|device| {
            (&device.driver, &device.pool, &device.device) == (&result.driver, &result.pool, &result.device)
                && device.share_id == result.share_id
        });
        let holds = |kind: &String| {
            let conditions = device.iter().flat_map(|device| device.conditions.iter().flatten());
            conditions.into_iter().any(|one| one.type_ == *kind && one.status == "True")
        };
        if let Some(failure) = result.binding_failure_conditions.iter().flatten().find(|kind| holds(kind)) {
            return Prepared::Failed(failure.clone());
        }
        if !wanted.into_iter().all(holds) {
            found = Prepared::Waiting;
        }
    }
    found
}

/// Whether anything of the claim has to be prepared.
pub fn has_conditions(claim: &ResourceClaim) -> bool {
    results(claim).any(|result| result.binding_conditions.as_ref().is_some_and(|all| !all.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_driver_tells_when_devices_are_ready() {
        let check = |conditions: Value, expected: Prepared| {
            let claim: ResourceClaim = serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": {
                "allocation": {"devices": {"results": [
                    {"request": "r", "driver": "d", "pool": "p", "device": "a",
                     "bindingConditions": ["Attached", "Warm"], "bindingFailureConditions": ["Broken"]},
                    {"request": "r", "driver": "d", "pool": "p", "device": "b"},
                ]}},
                "devices": [{"driver": "d", "pool": "p", "device": "a", "conditions": conditions}],
            }}))
            .unwrap();
            assert!(has_conditions(&claim));
            assert_eq!(prepared(&claim), expected, "{conditions}");
        };
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        check(json!([]), Prepared::Waiting);
        check(json!([condition("Attached", "True")]), Prepared::Waiting);
        check(json!([condition("Attached", "True"), condition("Warm", "False")]), Prepared::Waiting);
        check(json!([condition("Attached", "True"), condition("Warm", "True")]), Prepared::Ready);
        let broken = json!([condition("Broken", "True"), condition("Attached", "True")]);
        check(broken, Prepared::Failed("Broken".to_owned()));
    }
}
