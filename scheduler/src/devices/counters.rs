//! Counters of pools (KEP-4815): devices that are parts of the same hardware consume what it has, so that only those parts
//! can be allocated together that there is enough for.
use super::{Id, Used};
use k8s_openapi::api::resource::v1::{Counter, Device, ResourceSlice};
use knarr_api::quantity::Quantity;
use std::collections::HashMap;

/// Driver, pool, set of counters, counter.
type Name = (String, String, String, String);

/// What is left of each counter, in billionths.
#[derive(Debug, Default)]
pub(super) struct Counters(HashMap<Name, i128>);

fn amount(counter: &Counter) -> i128 {
    counter.value.0.parse::<Quantity>().map(|amount| amount.nanos()).unwrap_or_default()
}

/// What a device consumes.
fn consumed<'a>(id: &'a Id, device: &'a Device) -> impl Iterator<Item = (Name, i128)> + 'a {
    device.consumes_counters.iter().flatten().flat_map(move |of_set| {
        of_set.counters.iter().map(move |(counter, value)| {
            let name = (id.0.clone(), id.1.clone(), of_set.counter_set.clone(), counter.clone());
            (name, amount(value))
        })
    })
}

impl Counters {
    /// What the pools have, less what the devices consume that are somebody's, wherever they are.
    pub(super) fn left(pools: &[Vec<&ResourceSlice>], used: &Used) -> Self {
        let mut left = Self::default();
        for spec in pools.iter().flatten().map(|slice| &slice.spec) {
            for set in spec.shared_counters.iter().flatten() {
                for (counter, value) in &set.counters {
                    let (driver, pool) = (spec.driver.clone(), spec.pool.name.clone());
                    left.0.insert((driver, pool, set.name.clone(), counter.clone()), amount(value));
                }
            }
        }
        for spec in pools.iter().flatten().map(|slice| &slice.spec) {
            for device in spec.devices.iter().flatten() {
                let id = (spec.driver.clone(), spec.pool.name.clone(), device.name.clone());
                if device.consumes_counters.is_some() && used.contains(&id) {
                    left.change(&id, device, -1);
                }
            }
        }
        left
    }

    /// Takes what a device consumes, if all of it is there; a counter that there is not holds nothing.
    pub(super) fn take(&mut self, id: &Id, device: &Device) -> bool {
        let enough = |(name, amount): (Name, i128)| self.0.get(&name).is_some_and(|left| *left >= amount);
        let all = consumed(id, device).all(enough);
        if all {
            self.change(id, device, -1);
        }
        all
    }

    /// Takes it back.
    pub(super) fn give_back(&mut self, id: &Id, device: &Device) {
        self.change(id, device, 1);
    }

    fn change(&mut self, id: &Id, device: &Device, sign: i128) {
        for (name, amount) in consumed(id, device) {
            self.0.entry(name).and_modify(|left| *left += sign * amount);
        }
    }
}
