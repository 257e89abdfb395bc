//! Keeps ServiceCIDRs while addresses depend on them, and says whether they can be used.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use knarr_component::{
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    context::Context,
    edit,
    meta::{has_finalizer, ignore_absent, is_deleting},
};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long a range that nobody uses stays after its deletion: API servers may have given out an address of it that is
/// not seen here yet.
const GRACE: Duration = Duration::from_secs(10);
/// Text of the condition while the range is used.
const READY: &str = "Kubernetes Service CIDR is ready";
/// Text of the condition while its deletion waits.
const IN_USE: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

fn ranges(cidr: &ServiceCIDR) -> Vec<IpNet> {
    let texts = cidr.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Whether the addresses of a range stay within other ranges, or there are none.
fn may_go(cidr: &ServiceCIDR, others: &[IpNet], addresses: &[std::net::IpAddr]) -> bool {
    ranges(cidr).iter().all(|range| {
        let orphaned = |address: &&std::net::IpAddr| {
            range.contains(*address) && !others.iter().any(|other| other.contains(*address))
        };
        others.iter().any(|other| other.contains(range)) || !addresses.iter().any(|one| orphaned(&one))
    })
}

/// What is to be done about a range.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    /// It gets the finalizer.
    Protect,
    /// Its condition Ready changes: status, reason, text.
    Tell(&'static str, &'static str, &'static str),
    /// Nothing depends on it; after this time it goes.
    Wait(Duration),
    /// It goes.
    Release,
}

fn step(cidr: &ServiceCIDR, may_go: impl FnOnce() -> bool, now: Timestamp) -> Step {
    let protected = has_finalizer(&cidr.metadata, FINALIZER);
    let conditions = cidr.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let status = conditions.into_iter().find(|one| one.type_ == "Ready").map(|one| one.status.as_str());
    let Some(deleted) = &cidr.metadata.deletion_timestamp else {
        return match (protected, status) {
            (false, _) => Step::Protect,
            (true, Some("True")) => Step::Nothing,
            (true, _) => Step::Tell("True", "", READY),
        };
    };
    if !protected {
        return Step::Nothing;
    }
    if !may_go() {
        return match status {
            Some("False") => Step::Nothing,
            _ => Step::Tell("False", "Terminating", IN_USE),
        };
    }
    let passed = Duration::try_from(now.duration_since(deleted.0)).unwrap_or_default();
    match GRACE.checked_sub(passed) {
        Some(left) if !left.is_zero() => Step::Wait(left),
        _ => Step::Release,
    }
}

#[derive(Clone)]
struct Controller {
    context: Context,
    cidrs: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller =
        Controller { cidrs: context.informers.get(), addresses: context.informers.get(), context };
    let queue: Queue<Key> = Queue::new();
    // Ranges stand in for one another: a change of one may let another one go.
    let (added, known) = (queue.clone(), controller.cidrs.clone());
    controller.cidrs.on_change(move |change| {
        let waiting = known.list().into_iter().filter(|cidr| is_deleting(&cidr.metadata));
        waiting.for_each(|cidr| added.add(Key::of(&cidr.metadata)));
        if !change.is_deletion() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let (added, known) = (queue.clone(), controller.cidrs.clone());
    controller.addresses.on_change(move |change| {
        if change.is_deletion() {
            let waiting = known.list().into_iter().filter(|cidr| is_deleting(&cidr.metadata));
            waiting.for_each(|cidr| added.add(Key::of(&cidr.metadata)));
        }
    });
    let synced = {
        let (cidrs, addresses) = (controller.cidrs.synced(), controller.addresses.synced());
        async {
            futures::join!(cidrs, addresses);
        }
    };
    let context = controller.context.clone();
    context
        .work("service-cidr-controller", synced, queue, 1, move |key: Key| {
            let controller = controller.clone();
            async move { controller.sync(&key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: &Key) -> SyncResult {
        let Some(cidr) = self.cidrs.get(key) else { return Ok(None) };
        let api = self.context.api_all::<ServiceCIDR>();
        let params = PatchParams::default();
        match step(&cidr, || self.may_go(&cidr), Timestamp::now()) {
            Step::Nothing => {}
            Step::Wait(left) => return Ok(Some(Requeue::After(left))),
            Step::Protect => {
                let patch = json!({"metadata": {"uid": cidr.metadata.uid, "finalizers": [FINALIZER]}});
                ignore_absent(api.patch(&key.name, &params, &Patch::Strategic(patch)).await)?;
            }
            Step::Tell(status, reason, message) => {
                let patch = condition(&cidr, status, reason, message);
                ignore_absent(api.patch_status(&key.name, &params, &Patch::Strategic(patch)).await)?;
            }
            Step::Release => {
                edit::release(&api, &*cidr, FINALIZER).await?;
            }
        }
        Ok(None)
    }

    fn may_go(&self, cidr: &ServiceCIDR) -> bool {
        let others = self.cidrs.list().into_iter().filter(|other| !is_deleting(&other.metadata));
        let others: Vec<IpNet> = others.flat_map(|other| ranges(&other)).collect();
        let all = self.addresses.list();
        // Addresses that others have made are none of the API server's.
        let given_out = all.iter().filter(|address| {
            let labels = address.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get("ipaddress.kubernetes.io/managed-by")).map(String::as_str)
                == Some("ipallocator.k8s.io")
        });
        let addresses: Vec<_> =
            given_out.filter_map(|address| address.metadata.name.as_deref()?.parse().ok()).collect();
        may_go(cidr, &others, &addresses)
    }
}

fn condition(cidr: &ServiceCIDR, status: &str, reason: &str, message: &str) -> Value {
    json!({"metadata": {"uid": cidr.metadata.uid}, "status": {"conditions": [{
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": crate::meta::now(),
    }]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(ranges: &[&str], deleted: Option<i64>, protected: bool, ready: Option<&str>) -> ServiceCIDR {
        let at = |second| Timestamp::from_second(second).expect("time").to_string();
        serde_json::from_value(json!({
            "metadata": {
                "name": "x", "deletionTimestamp": deleted.map(at),
                "finalizers": if protected { vec![FINALIZER] } else { vec![] },
            },
            "spec": {"cidrs": ranges},
            "status": {"conditions": ready.map(|status| vec![json!({
                "type": "Ready", "status": status, "reason": "", "message": "", "lastTransitionTime": at(0),
            })]).unwrap_or_default()},
        }))
        .expect("a range")
    }

    #[test]
    fn ranges_are_kept_while_addresses_depend_on_them() {
        let check = |deleted, protected, ready, free: bool, expected: Step| {
            let cidr = cidr(&["10.0.0.0/24"], deleted, protected, ready);
            let now = Timestamp::from_second(104).expect("time");
            assert_eq!(step(&cidr, || free, now), expected, "{deleted:?} {protected} {ready:?} {free}");
        };
        check(None, false, None, true, Step::Protect);
        check(None, true, None, true, Step::Tell("True", "", READY));
        check(None, true, Some("False"), true, Step::Tell("True", "", READY));
        check(None, true, Some("True"), true, Step::Nothing);
        check(Some(100), false, Some("True"), true, Step::Nothing);
        check(Some(100), true, Some("True"), false, Step::Tell("False", "Terminating", IN_USE));
        check(Some(100), true, Some("False"), false, Step::Nothing);
        check(Some(100), true, Some("False"), true, Step::Wait(Duration::from_secs(6)));
        check(Some(94), true, Some("False"), true, Step::Release);
    }

    #[test]
    fn other_ranges_take_addresses_over() {
        let check = |others: &[&str], addresses: &[&str], expected: bool| {
            let others: Vec<IpNet> = others.iter().map(|one| one.parse().expect("a network")).collect();
            let addresses: Vec<_> = addresses.iter().map(|one| one.parse().expect("an address")).collect();
            let cidr = cidr(&["10.0.0.0/24", "fd00::/112"], None, true, None);
            assert_eq!(may_go(&cidr, &others, &addresses), expected, "{others:?} {addresses:?}");
        };
        check(&[], &[], true);
        check(&[], &["10.0.1.1"], true);
        check(&[], &["10.0.0.1"], false);
        check(&[], &["fd00::1"], false);
        check(&["10.0.0.0/16"], &["10.0.0.1"], true);
        check(&["10.0.0.0/28"], &["10.0.0.1"], true);
        check(&["10.0.0.0/28"], &["10.0.0.1", "10.0.0.77"], false);
    }
}
