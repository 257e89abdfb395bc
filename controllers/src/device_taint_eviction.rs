//! Deletes pods that use devices with `NoExecute` taints that their claims do not tolerate, or no longer (KEP-5055).
//!
//! Taints are those that drivers publish in ResourceSlices; DeviceTaintRules, which are off by default, do not count.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{DeviceTaint, DeviceToleration, ResourceClaim, ResourceSlice},
};
use knarr_api::gates;
use knarr_component::{
    events::Recorder,
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};

use crate::{
    context::Context,
    meta::{is_deleting, namespace},
    pods,
    taints::NO_EXECUTE,
};

const WORKERS: usize = 8;

/// Driver, pool and name of a device.
type Id = (String, String, String);

/// The `NoExecute` taints of devices, by device, of the newest generation of each pool.
fn tainted(slices: &[Arc<ResourceSlice>]) -> BTreeMap<Id, Vec<DeviceTaint>> {
    let mut newest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for spec in slices.iter().map(|slice| &slice.spec) {
        let generation = newest.entry((&spec.driver, &spec.pool.name)).or_default();
        *generation = (*generation).max(spec.pool.generation);
    }
    let mut all = BTreeMap::new();
    let of_newest = |slice: &&Arc<ResourceSlice>| {
        let spec = &slice.spec;
        newest.get(&(spec.driver.as_str(), spec.pool.name.as_str())) == Some(&spec.pool.generation)
    };
    for spec in slices.iter().filter(of_newest).map(|slice| &slice.spec) {
        for device in spec.devices.iter().flatten() {
            let taints = device.taints.iter().flatten().filter(|taint| taint.effect == NO_EXECUTE);
            let taints: Vec<DeviceTaint> = taints.cloned().collect();
            if !taints.is_empty() {
                all.insert((spec.driver.clone(), spec.pool.name.clone(), device.name.clone()), taints);
            }
        }
    }
    all
}

fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let matches =
        |ours: Option<&String>, theirs: &str| ours.is_none_or(|one| one.is_empty() || one == theirs);
    let exists = toleration.operator.as_deref() == Some("Exists");
    matches(toleration.effect.as_ref(), &taint.effect)
        && matches(toleration.key.as_ref(), &taint.key)
        && (exists
            || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
}

/// Until when a taint lets the users of a device be; none for ever.
fn bearable_until(
    taint: &DeviceTaint,
    tolerations: &[DeviceToleration],
    now: Timestamp,
) -> Option<Timestamp> {
    let since = taint.time_added.as_ref().map_or(now, |time| time.0);
    let tolerating: Vec<_> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
    if tolerating.is_empty() {
        return Some(since);
    }
    let shortest = tolerating.into_iter().filter_map(|toleration| toleration.toleration_seconds).min()?;
    since.checked_add(SignedDuration::from_secs(shortest.max(0))).ok()
}

/// When the users of a claim have to go; none if they may stay.
fn ends_at(
    claim: &ResourceClaim,
    tainted: impl FnOnce() -> BTreeMap<Id, Vec<DeviceTaint>>,
    now: Timestamp,
) -> Option<Timestamp> {
    let allocation = claim.status.as_ref()?.allocation.as_ref()?;
    let results = allocation.devices.as_ref()?.results.as_ref().filter(|results| !results.is_empty())?;
    let tainted = tainted();
    let ends = results.iter().flat_map(|result| {
        let id = (result.driver.clone(), result.pool.clone(), result.device.clone());
        let tolerations = result.tolerations.as_deref().unwrap_or_default();
        let taints = tainted.get(&id).into_iter().flatten();
        taints.filter_map(move |taint| bearable_until(taint, tolerations, now))
    });
    ends.min()
}

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    if !gates::enabled("DRADeviceTaints") {
        return Ok(());
    }
    let controller = Arc::new(Controller {
        pods: context.informers.get(),
        claims: context.informers.get(),
        slices: context.informers.get(),
        recorder: context.recorder("device-taint-eviction"),
        context,
    });
    let queue: Queue<Key> = Queue::new();
    let added = queue.clone();
    controller.claims.on_change(move |change| {
        if !change.is_deletion() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let (added, claims) = (queue.clone(), controller.claims.clone());
    controller.slices.on_change(move |change| {
        let (driver, pool) = (&change.object().spec.driver, &change.object().spec.pool.name);
        let from_here = |claim: &ResourceClaim| {
            let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
            let results =
                allocation.and_then(|all| all.devices.as_ref()).and_then(|all| all.results.as_ref());
            results.into_iter().flatten().any(|one| one.driver == *driver && one.pool == *pool)
        };
        let concerned = claims.list().into_iter().filter(|claim| from_here(claim));
        concerned.for_each(|claim| added.add(Key::of(&claim.metadata)));
    });
    let synced = {
        let (pods, claims) = (controller.pods.synced(), controller.claims.synced());
        let slices = controller.slices.synced();
        async {
            futures::join!(pods, claims, slices);
        }
    };
    let context = controller.context.clone();
    context
        .work("device-taint-eviction-controller", synced, queue, WORKERS, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(claim) = self.claims.get(&key) else { return Ok(None) };
        let present = Timestamp::now();
        let Some(end) = ends_at(&claim, || tainted(&self.slices.list()), present) else { return Ok(None) };
        let wait = Duration::try_from(end.duration_since(present)).unwrap_or_default();
        if !wait.is_zero() {
            return Ok(Some(Requeue::After(wait)));
        }
        let users = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        for user in users.filter(|user| user.resource == "pods") {
            let pod = self.pods.get(&Key::new(namespace(&claim.metadata), user.name.as_str()));
            let pod = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(user.uid.as_str()));
            if let Some(pod) =
                pod.filter(|pod| !is_deleting(&pod.metadata) && !pods::node_name(pod).is_empty())
            {
                self.recorder.normal(&*pod, "DeviceTaintManagerEviction", "Marking for deletion");
                let message = "Device Taint manager: deleting due to NoExecute taint";
                pods::disrupt(&self.context, &pod, "DeletionByDeviceTaintManager", message).await?;
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("time")
    }

    fn slice(pool: &str, generation: i64, effect: &str) -> Arc<ResourceSlice> {
        let taint =
            json!({"key": "broken", "value": "yes", "effect": effect, "timeAdded": at(100).to_string()});
        let spec = json!({
            "driver": "d", "pool": {"name": pool, "generation": generation, "resourceSliceCount": 1},
            "devices": [{"name": "x", "taints": [taint]}],
        });
        Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a slice"))
    }

    fn claim(pool: &str, tolerations: serde_json::Value) -> ResourceClaim {
        let result =
            json!({"request": "r", "driver": "d", "pool": pool, "device": "x", "tolerations": tolerations});
        let status = json!({"allocation": {"devices": {"results": [result]}}});
        serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": status})).expect("a claim")
    }

    #[test]
    fn users_of_tainted_devices_go() {
        let slices = [slice("old", 1, NO_EXECUTE), slice("old", 2, "None"), slice("new", 1, NO_EXECUTE)];
        let check = |pool: &str, tolerations: serde_json::Value, expected: Option<i64>| {
            let end = ends_at(&claim(pool, tolerations.clone()), || tainted(&slices), at(500));
            assert_eq!(end, expected.map(at), "{pool} {tolerations}");
        };
        check("new", json!([]), Some(100));
        check("old", json!([]), None);
        check("other", json!([]), None);
        check("new", json!([{"key": "broken", "operator": "Exists"}]), None);
        check("new", json!([{"operator": "Exists", "tolerationSeconds": 60}]), Some(160));
        check("new", json!([{"operator": "Exists", "effect": "NoSchedule"}]), Some(100));
        check("new", json!([{"key": "broken", "operator": "Equal", "value": "no"}]), Some(100));
        check("new", json!([{"key": "broken", "operator": "Equal", "value": "yes"}]), None);
    }
}
