//! Devices that several claims have at a time (KEP-5075): each takes its share of the device's capacities, as much as it
//! asks for, rounded as the driver wants it.
use super::{Id, qualified};
use k8s_openapi::api::resource::v1::{
    CapacityRequestPolicy, CapacityRequirements, Device, DeviceCapacity, DeviceRequestAllocationResult,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use knarr_api::quantity::Quantity;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Amounts by the names that the device has for its capacities.
pub type Share = BTreeMap<String, Quantity>;

/// Whether several may have the device at a time.
pub(super) fn is_shared(device: &Device) -> bool {
    device.allow_multiple_allocations == Some(true)
}

fn amount(text: &Text) -> Option<Quantity> {
    text.0.parse().ok()
}

/// What a request takes of a device; none where the device cannot give it to anybody.
pub(super) fn share_of(
    driver: &str,
    device: &Device,
    wanted: Option<&CapacityRequirements>,
) -> Option<Share> {
    let wanted = || wanted.and_then(|wanted| wanted.requests.as_ref()).into_iter().flatten();
    let capacities = device.capacity.as_ref();
    let same = |asked: &str, name: &str| qualified(asked, driver) == qualified(name, driver);
    let known = |asked: &str| capacities.into_iter().flatten().any(|(name, _)| same(asked, name));
    if !wanted().all(|(asked, _)| known(asked)) {
        return None;
    }
    let mut share = Share::new();
    for (name, capacity) in capacities.into_iter().flatten() {
        let asked = wanted().find(|(asked, _)| same(asked, name)).map(|(_, least)| least);
        let taken = match asked {
            Some(least) => rounded(amount(least)?, capacity.request_policy.as_ref())?,
            None => unasked(capacity)?,
        };
        share.insert(name.clone(), taken);
    }
    Some(share)
}

/// What is taken of a capacity that a request does not speak of: the default, or all of it.
fn unasked(capacity: &DeviceCapacity) -> Option<Quantity> {
    let default = capacity.request_policy.as_ref().and_then(|policy| policy.default.as_ref());
    amount(default.unwrap_or(&capacity.value))
}

/// The least amount that the policy allows and that is enough; none where it allows none.
fn rounded(least: Quantity, policy: Option<&CapacityRequestPolicy>) -> Option<Quantity> {
    let Some(policy) = policy else { return Some(least) };
    if let Some(values) = policy.valid_values.as_ref().filter(|values| !values.is_empty()) {
        return values.iter().filter_map(amount).filter(|value| *value >= least).min();
    }
    let Some(range) = &policy.valid_range else { return Some(least) };
    let lowest = amount(&range.min)?;
    let mut taken = least.max(lowest);
    if let Some(step) = range.step.as_ref().and_then(amount).filter(|step| step.sign() > 0) {
        let over = (taken - lowest).nanos() % step.nanos();
        if over > 0 {
            taken = taken + step - Quantity::from_nanos(over, step.format());
        }
    }
    let highest = range.max.as_ref().and_then(amount);
    highest.is_none_or(|highest| taken <= highest).then_some(taken)
}

/// Devices that are somebody's: wholly, or shares of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    whole: HashSet<Id>,
    shares: HashMap<Id, Vec<Share>>,
}

/// What somebody has of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The device.
    pub id: Id,
    /// None where it is the whole device.
    pub share: Option<Share>,
}

impl Taken {
    /// What a claim's status says; none where others may have the device nevertheless.
    pub(super) fn of(result: &DeviceRequestAllocationResult) -> Option<Self> {
        if result.admin_access == Some(true) {
            return None;
        }
        let amounts = result.consumed_capacity.iter().flatten();
        let amounts = amounts.filter_map(|(name, text)| Some((name.clone(), amount(text)?)));
        Some(Self {
            id: (result.driver.clone(), result.pool.clone(), result.device.clone()),
            share: result.share_id.is_some().then(|| amounts.collect()),
        })
    }
}

impl Used {
    pub(super) fn new(taken: impl Iterator<Item = Taken>) -> Self {
        let mut used = Self::default();
        taken.for_each(|taken| used.add(&taken));
        used
    }

    /// Somebody has the device, or a share of it.
    pub(super) fn contains(&self, id: &Id) -> bool {
        self.whole.contains(id) || self.shares.contains_key(id)
    }

    pub(super) fn add(&mut self, taken: &Taken) {
        match &taken.share {
            None => drop(self.whole.insert(taken.id.clone())),
            Some(share) => self.shares.entry(taken.id.clone()).or_default().push(share.clone()),
        }
    }

    /// Takes back what was added.
    pub(super) fn remove(&mut self, taken: &Taken) {
        let Some(share) = &taken.share else {
            self.whole.remove(&taken.id);
            return;
        };
        if let Some(shares) = self.shares.get_mut(&taken.id) {
            if let Some(index) = shares.iter().position(|other| other == share) {
                shares.swap_remove(index);
            }
            if shares.is_empty() {
                self.shares.remove(&taken.id);
            }
        }
    }

    /// Whether the device can be had: nobody has it, or all that have shares of it leave enough.
    pub(super) fn has_room(&self, taken: &Taken, device: &Device) -> bool {
        let Some(share) = &taken.share else { return !self.contains(&taken.id) };
        if self.whole.contains(&taken.id) {
            return false;
        }
        let others = self.shares.get(&taken.id);
        share.iter().all(|(name, wanted)| {
            let of_others = others.into_iter().flatten().filter_map(|other| other.get(name)).copied();
            let whole = device.capacity.as_ref().and_then(|all| amount(&all.get(name)?.value));
            whole.is_some_and(|whole| of_others.sum::<Quantity>() + *wanted <= whole)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn shares_are_rounded_as_the_policy_says() {
        let check = |policy: Value, asked: &str, expected: Option<&str>| {
            let capacity = json!({"value": "40Gi", "requestPolicy": policy});
            let device = json!({"name": "d", "capacity": {"memory": capacity}});
            let device: Device = serde_json::from_value(device).unwrap();
            let wanted = match asked {
                "" => json!({}),
                _ => json!({"requests": {"x/memory": asked}}),
            };
            let wanted = serde_json::from_value(wanted).unwrap();
            let share = share_of("x", &device, Some(&wanted)).map(|share| share["memory"].to_string());
            assert_eq!(share.as_deref(), expected, "{policy} {asked}");
        };
        check(Value::Null, "", Some("40Gi"));
        check(Value::Null, "1Gi", Some("1Gi"));
        check(json!({"default": "2Gi"}), "", Some("2Gi"));
        let values = || json!({"default": "2Gi", "validValues": ["2Gi", "4Gi"]});
        check(values(), "", Some("2Gi"));
        check(values(), "3Gi", Some("4Gi"));
        check(values(), "5Gi", None);
        let range = || json!({"default": "2Gi", "validRange": {"min": "2Gi", "max": "9Gi", "step": "3Gi"}});
        check(range(), "1Gi", Some("2Gi"));
        check(range(), "5Gi", Some("5Gi"));
        check(range(), "6Gi", Some("8Gi"));
        check(range(), "9Gi", None);
        let device: Device = serde_json::from_value(json!({"name": "d"})).unwrap();
        let wanted = serde_json::from_value(json!({"requests": {"memory": "1"}})).unwrap();
        assert_eq!(share_of("x", &device, Some(&wanted)), None);
        assert_eq!(share_of("x", &device, None), Some(Share::new()));
    }
}
