//! Rules of the status of a ResourceClaim: who uses it, what it got, what drivers say of the devices.
use super::super::constraints::Rule::{By, MaxBytes, MaxItems, Need, NeedFormat, NeedOneOf, Unique};
use super::super::constraints::{Row, check};
use super::super::cursor::{At, same};
use super::super::storage::driver_name;
use super::super::{metadata, net, pod};
use super::{configuration, pool_name, raw_object, request_name, request_names};
use crate::{Value, names};

const CONSUMERS_MAX: usize = 256;
const CONSUMER: &[Row] = &[("resource", Need), ("name", Need), ("uid", Need)];
const DEVICE: &[Row] =
    &[("driver", NeedFormat(driver_name)), ("pool", By(pool_name)), ("device", NeedFormat(names::dns_label))];
const NETWORK: &[Row] = &[
    ("interfaceName", MaxBytes(256)),
    ("hardwareAddress", MaxBytes(128)),
    ("ips[]", By(interface_address)),
    ("ips", MaxItems(16)),
    ("ips", Unique("")),
];

pub(super) fn claim(at: &At<'_>, old: &Value) {
    let (status, requests) = (at.get("status"), at.get("spec.devices.requests"));
    let (users, allocation) = (status.get("reservedFor"), status.get("allocation"));
    users.items().for_each(|user| check(&user, CONSUMER));
    check(&users, &[("", MaxItems(CONSUMERS_MAX)), ("", Unique("uid"))]);
    devices(&status, &allocation);
    if !users.is_empty() && !allocation.is_set() {
        users.forbidden("may not be specified when `allocated` is not set");
    } else if at.get("metadata.deletionTimestamp").is_set() {
        let before = old["status"]["reservedFor"].as_array().map(Vec::as_slice).unwrap_or_default();
        if users.items().any(|user| !before.contains(user.value())) {
            users.forbidden(
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            );
        }
    }
    let before = &old["status"]["allocation"];
    if allocation.is_set() && !same(before, &Value::Null) {
        allocation.immutable(before);
    } else if allocation.is_set() {
        allocated(&allocation, &requests);
    }
}

fn allocated(allocation: &At<'_>, requests: &At<'_>) {
    let (results, configs) = (allocation.get("devices.results"), allocation.get("devices.config"));
    for result in results.items() {
        request_name(&result.get("request"), requests);
        check(&result, DEVICE);
    }
    results.at_most(32);
    for config in configs.items() {
        check(&config, &[("source", NeedOneOf(&["FromClaim", "FromClass"]))]);
        request_names(&config.get("requests"), requests);
        configuration(&config);
    }
    configs.at_most(64);
    if let Some(selector) = allocation.find("nodeSelector") {
        pod::node_selector(&selector);
    }
}

/// A device as an allocation and as a driver names it.
fn identity(device: &At<'_>) -> String {
    let part = |name: &str| device.get(name).text();
    let share = match part("shareID") {
        "" => String::new(),
        share => format!("/{share}"),
    };
    format!("{}/{}/{}{share}", part("driver"), part("pool"), part("device"))
}

fn devices(status: &At<'_>, allocation: &At<'_>) {
    let known: Vec<String> = allocation.get("devices.results").items().map(|r| identity(&r)).collect();
    let mut seen: Vec<String> = Vec::new();
    for device in status.get("devices").items() {
        check(&device, DEVICE);
        let id = identity(&device);
        if !known.contains(&id) {
            device.invalid_text(&id, "must be an allocated device in the claim");
        }
        if seen.contains(&id) {
            device.get("deviceID").duplicate_text(&id);
        }
        seen.push(id);
        let conditions = device.get("conditions");
        conditions.at_most(8);
        metadata::conditions(&conditions);
        if let Some(data) = device.find("data") {
            raw_object(&data, 10 * 1024);
        }
        check(&device.get("networkData"), NETWORK);
    }
}

/// An address with the length of its network's prefix.
fn interface_address(at: &At<'_>) {
    if net::Cidr::parse(at.text()).is_none() {
        at.invalid("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)");
    }
}
