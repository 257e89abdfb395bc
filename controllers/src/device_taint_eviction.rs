//! Deletes pods that use devices with `NoExecute` taints that their claims do not tolerate, or no longer (KEP-5055).
//!
//! Taints are those that drivers publish in ResourceSlices and, where `DRADeviceTaintRules` is on, those of
//! DeviceTaintRules, whose statuses tell how far the evictions are.

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::resource::{
    v1::{DeviceRequestAllocationResult, DeviceTaint, DeviceToleration, ResourceClaim, ResourceSlice},
    v1beta2::DeviceTaintRule,
};
use knarr_api::gates;
use knarr_component::{
    events::Recorder,
    informer::Informer,
    queue::Queue,
    runner::{self, Requeue, SyncResult},
    store::Key,
};
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    context::Context,
    meta::{ignore_absent, is_deleting, name, namespace, now, uid},
    pods::{self, Pod},
    taints::NO_EXECUTE,
};

use rules::{Counts, EVICTING, Rule, condition};

const NAME: &str = "device-taint-eviction-controller";
const WORKERS: usize = 8;
/// Time between two statuses of a rule: pods that were placed meanwhile, by a scheduler that did not know of it, count.
const STATUS_PERIOD: Duration = Duration::from_secs(10);

/// Driver, pool and name of a device.
type Id = (String, String, String);

/// Slices of the newest generation of each pool.
fn newest(slices: &[Arc<ResourceSlice>]) -> Vec<&Arc<ResourceSlice>> {
    let mut newest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for spec in slices.iter().map(|slice| &slice.spec) {
        let generation = newest.entry((&spec.driver, &spec.pool.name)).or_default();
        *generation = (*generation).max(spec.pool.generation);
    }
    let of_newest = |slice: &&Arc<ResourceSlice>| {
        let spec = &slice.spec;
        newest.get(&(spec.driver.as_str(), spec.pool.name.as_str())) == Some(&spec.pool.generation)
    };
    slices.iter().filter(of_newest).collect()
}

/// All taints of devices that evict.
struct Taints {
    of_drivers: BTreeMap<Id, Vec<DeviceTaint>>,
    of_rules: Vec<Rule>,
}

impl Taints {
    fn new(slices: &[Arc<ResourceSlice>], rules: impl IntoIterator<Item = Rule>) -> Self {
        let evicts = |taint: &DeviceTaint| taint.effect == NO_EXECUTE;
        let mut of_drivers = BTreeMap::new();
        for spec in newest(slices).into_iter().map(|slice| &slice.spec) {
            for device in spec.devices.iter().flatten() {
                let taints = device.taints.iter().flatten().filter(|taint| evicts(taint));
                let taints: Vec<DeviceTaint> = taints.cloned().collect();
                if !taints.is_empty() {
                    let id = (spec.driver.clone(), spec.pool.name.clone(), device.name.clone());
                    of_drivers.insert(id, taints);
                }
            }
        }
        let of_rules = rules.into_iter().filter(|rule| evicts(&rule.taint)).collect();
        Self { of_drivers, of_rules }
    }

    /// Those of a device, with the rule that is the reason.
    fn of(&self, id: &Id) -> impl Iterator<Item = (&DeviceTaint, Option<&Rule>)> {
        let of_driver = self.of_drivers.get(id).into_iter().flatten().map(|taint| (taint, None));
        let of_rules = self.of_rules.iter().filter(|rule| rule.selects(id));
        of_driver.chain(of_rules.map(|rule| (&rule.taint, Some(rule))))
    }
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

/// What was allocated to a claim.
fn results(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
    devices.and_then(|devices| devices.results.as_ref()).into_iter().flatten()
}

fn id_of(result: &DeviceRequestAllocationResult) -> Id {
    (result.driver.clone(), result.pool.clone(), result.device.clone())
}

/// When the users of a claim have to go, and the rule that is the reason; none if they may stay.
fn ends_at<'t>(
    claim: &ResourceClaim,
    taints: &'t Taints,
    now: Timestamp,
) -> Option<(Timestamp, Option<&'t Rule>)> {
    let ends = results(claim).flat_map(|result| {
        let tolerations = result.tolerations.as_deref().unwrap_or_default();
        let taints: Vec<_> = taints.of(&id_of(result)).collect();
        taints
            .into_iter()
            .filter_map(move |(taint, rule)| Some((bearable_until(taint, tolerations, now)?, rule)))
    });
    ends.min_by_key(|(end, _)| *end)
}

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    /// None where rules are switched off.
    rules: Option<Informer<DeviceTaintRule>>,
    /// Rules whose statuses are to be written.
    statuses: Queue<Key>,
    /// UIDs of the pods that each rule, by its UID, evicted.
    evicted: Mutex<HashMap<String, HashSet<String>>>,
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
        rules: gates::enabled("DRADeviceTaintRules").then(|| context.informers.get()),
        statuses: Queue::new(),
        evicted: Mutex::default(),
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
        add_claims(&claims, &added, |(of_driver, of_pool, _)| of_driver == driver && of_pool == pool);
    });
    if let Some(rules) = &controller.rules {
        let (added, claims, statuses) =
            (queue.clone(), controller.claims.clone(), controller.statuses.clone());
        rules.on_change(move |change| {
            let rule = Rule::of(change.object());
            add_claims(&claims, &added, |id| rule.selects(id));
            statuses.add(Key::of(&change.object().metadata));
        });
    }
    let synced = {
        let (pods, claims) = (controller.pods.synced(), controller.claims.synced());
        let (slices, rules) = (controller.slices.synced(), controller.rules.as_ref().map(Informer::synced));
        async {
            futures::join!(pods, claims, slices);
            if let Some(rules) = rules {
                rules.await;
            }
        }
    };
    let context = controller.context.clone();
    let (statuses, stop, this) = (controller.statuses.clone(), context.stop.clone(), controller.clone());
    let told = runner::run("device-taint-rules", statuses, 1, stop, move |key| {
        let this = this.clone();
        async move { this.sync_rule(key).await }
    });
    let evicted = context.work(NAME, synced, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    futures::join!(evicted, told).0
}

/// Has claims looked at that have one of these devices.
fn add_claims(claims: &Informer<ResourceClaim>, queue: &Queue<Key>, concerned: impl Fn(&Id) -> bool) {
    for claim in claims.list() {
        if results(&claim).any(|result| concerned(&id_of(result))) {
            queue.add(Key::of(&claim.metadata));
        }
    }
}

impl Controller {
    fn rules(&self) -> impl Iterator<Item = Rule> {
        let all = self.rules.as_ref().map(|rules| rules.list()).unwrap_or_default();
        all.into_iter().map(|rule| Rule::of(&rule))
    }

    async fn sync(&self, key: Key) -> SyncResult {
        let Some(claim) = self.claims.get(&key).filter(|claim| results(claim).next().is_some()) else {
            return Ok(None);
        };
        let present = Timestamp::now();
        let taints = Taints::new(&self.slices.list(), self.rules());
        let Some((end, rule)) = ends_at(&claim, &taints, present) else { return Ok(None) };
        let wait = Duration::try_from(end.duration_since(present)).unwrap_or_default();
        if !wait.is_zero() {
            return Ok(Some(Requeue::After(wait)));
        }
        for pod in self.users(&claim) {
            self.recorder.normal(&*pod, "DeviceTaintManagerEviction", "Marking for deletion");
            let message = "Device Taint manager: deleting due to NoExecute taint";
            pods::disrupt(&self.context, &pod, "DeletionByDeviceTaintManager", message).await?;
            if let Some(rule) = rule {
                let mut evicted = self.evicted.lock();
                evicted.entry(rule.uid.clone()).or_default().insert(uid(&pod.metadata).to_owned());
            }
        }
        Ok(None)
    }

    /// Pods on nodes that use a claim and are not leaving.
    fn users(&self, claim: &ResourceClaim) -> Vec<Arc<Pod>> {
        let users = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        let users = users.filter(|user| user.resource == "pods").filter_map(|user| {
            let pod = self.pods.get(&Key::new(namespace(&claim.metadata), user.name.as_str()))?;
            let same = pod.metadata.uid.as_deref() == Some(user.uid.as_str());
            let stays = same && !is_deleting(&pod.metadata) && !pods::node_name(&pod).is_empty();
            stays.then_some(pod)
        });
        users.collect()
    }

    /// Tells in a rule's status what it does.
    async fn sync_rule(&self, key: Key) -> SyncResult {
        let Some(rule) = self.rules.as_ref().and_then(|rules| rules.get(&key)) else { return Ok(None) };
        let effect = rule.spec.taint.effect.as_str();
        let old = rule.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let old = old.into_iter().find(|condition| condition.type_ == EVICTING);
        let seen = old.is_some_and(|condition| condition.observed_generation == rule.metadata.generation);
        // A rule that only counts does so once.
        if effect == "None" && seen {
            return Ok(None);
        }
        let counts = self.count(&rule);
        let (status, reason, message) = condition(effect, &counts);
        let status = if status { "True" } else { "False" };
        let same =
            old.is_some_and(|old| old.status == status && old.reason == reason && old.message == message);
        if !(seen && same) {
            let condition = json!({
                "type": EVICTING, "status": status, "reason": reason, "message": message,
                "observedGeneration": rule.metadata.generation, "lastTransitionTime": now(),
            });
            let patch = json!({
                "apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule",
                "metadata": {"uid": uid(&rule.metadata)}, "status": {"conditions": [condition]},
            });
            let api = self.context.api_all::<DeviceTaintRule>();
            let params = PatchParams::apply(NAME).force();
            ignore_absent(api.patch_status(name(&rule.metadata), &params, &Patch::Apply(patch)).await)?;
        }
        let goes_on = effect == NO_EXECUTE && (counts.pods > 0 || !(seen && same));
        Ok(goes_on.then_some(Requeue::After(STATUS_PERIOD)))
    }

    /// What a rule does now, or would do if it evicted.
    fn count(&self, rule: &DeviceTaintRule) -> Counts {
        let rule = Rule::of(rule).evicting();
        let evicted = self.evicted.lock().get(&rule.uid).map_or(0, HashSet::len);
        let slices = self.slices.list();
        let published = newest(&slices).into_iter().flat_map(|slice| {
            let spec = &slice.spec;
            let id = |name: &String| (spec.driver.clone(), spec.pool.name.clone(), name.clone());
            spec.devices.iter().flatten().map(move |device| id(&device.name))
        });
        let published = published.filter(|id| rule.selects(id)).count();
        let taints = Taints::new(&[], [rule.clone()]);
        let (mut allocated, mut going) = (BTreeSet::new(), BTreeSet::new());
        for claim in self.claims.list() {
            allocated.extend(results(&claim).map(id_of).filter(|id| rule.selects(id)));
            if ends_at(&claim, &taints, Timestamp::now()).is_some() {
                going.extend(self.users(&claim).iter().map(|pod| Key::of(&pod.metadata)));
            }
        }
        let namespaces: BTreeSet<&str> = going.iter().map(|pod| pod.namespace.as_str()).collect();
        Counts {
            published,
            allocated: allocated.len(),
            pods: going.len(),
            namespaces: namespaces.len(),
            evicted,
        }
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
            let taints = Taints::new(&slices, []);
            let end = ends_at(&claim(pool, tolerations.clone()), &taints, at(500)).map(|(end, _)| end);
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

    #[test]
    fn rules_taint_devices_too() {
        let rule = json!({"metadata": {"uid": "u"}, "spec": {
            "deviceSelector": {"pool": "p"}, "taint": {"key": "old", "effect": NO_EXECUTE, "timeAdded": at(50).to_string()},
        }});
        let rule = Rule::of(&serde_json::from_value(rule).expect("a rule"));
        let taints = Taints::new(&[slice("p", 1, NO_EXECUTE)], [rule]);
        let end = |pool: &str, tolerations| {
            let claim = claim(pool, tolerations);
            ends_at(&claim, &taints, at(500)).map(|(end, rule)| (end.as_second(), rule.is_some()))
        };
        assert_eq!(end("p", json!([])), Some((50, true)));
        assert_eq!(end("p", json!([{"key": "old", "operator": "Exists"}])), Some((100, false)));
        assert_eq!(end("q", json!([])), None);
    }
}
