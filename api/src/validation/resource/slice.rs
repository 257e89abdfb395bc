//! Rules of ResourceSlices: the devices that a driver offers.
use super::super::constraints::Rule::{By, MaxItems, NeedFormat, UniqueItem};
use super::super::constraints::{Row, check, immutable};
use super::super::cursor::At;
use super::super::pod;
use super::super::storage::driver_name;
use super::{pool_name, qualified_name, taint};
use crate::quantity::Quantity;
use crate::{Value, names};

const DEVICES_MAX: usize = 128;
/// Most devices of a slice whose devices have taints or take from counters.
const RICH_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_BYTES_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
/// Most values that a request for a shared capacity may choose from.
const VALID_VALUES_MAX: usize = 10;
/// The ways to say to which nodes devices belong.
const PLACES: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
const VALUES: [&str; 8] = ["int", "bool", "string", "version", "ints", "bools", "strings", "versions"];

const SLICE: &[Row] = &[
    ("driver", NeedFormat(driver_name)),
    ("pool.name", By(pool_name)),
    ("devices[]", By(device)),
    ("devices", UniqueItem("name")),
    ("sharedCounters[]", By(counter_set)),
    ("sharedCounters", MaxItems(COUNTER_SETS_MAX)),
    ("sharedCounters", UniqueItem("name")),
];
const DEVICE: &[Row] = &[
    ("name", NeedFormat(names::dns_label)),
    ("taints[]", By(taint)),
    ("taints", MaxItems(TAINTS_MAX)),
    ("consumesCounters[]", By(consumption)),
    ("consumesCounters", MaxItems(2)),
    ("consumesCounters", UniqueItem("counterSet")),
    ("bindingConditions", MaxItems(4)),
    ("bindingFailureConditions", MaxItems(4)),
];

pub(super) fn slice(at: &At<'_>) {
    let spec = at.get("spec");
    check(&spec, SLICE);
    let (count, generation) = (spec.get("pool.resourceSliceCount"), spec.get("pool.generation"));
    if count.int().unwrap_or(0) <= 0 {
        count.invalid("must be greater than zero");
    }
    if generation.int().is_some_and(|number| number < 0) {
        generation.invalid("must be greater than or equal to zero");
    }
    let places = place(&spec, &PLACES, "must be either unset or set to a non-empty string");
    if let Some(selector) = spec.find("nodeSelector") {
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            // Slices of one pool are merged, which works for single terms only.
            terms.invalid("must have exactly one node selector term");
        }
    }
    match places.as_slice() {
        [_] => {}
        [] => spec.required(
            "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
        ),
        several => spec.invalid_text(
            &format!("{{{}}}", several.join(", ")),
            "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but \
             multiple fields are set",
        ),
    }
    let devices = spec.get("devices");
    if !devices.is_empty() && !spec.get("sharedCounters").is_empty() {
        spec.invalid_text("", "only one of `sharedCounters` or `devices` is allowed");
    }
    let rich = devices.items().any(|d| !d.get("taints").is_empty() || !d.get("consumesCounters").is_empty());
    devices.at_most(if rich { RICH_DEVICES_MAX } else { DEVICES_MAX });
    let each = spec.get("perDeviceNodeSelection").is_true();
    for device in devices.items() {
        device_place(&device, each);
    }
}

/// Which of the ways are used; they are checked too, and `unnamed` is said of a node without a name.
fn place(at: &At<'_>, ways: &[&str], unnamed: &str) -> Vec<String> {
    if let Some(name) = at.find("nodeName") {
        match name.text() {
            "" => name.invalid(unnamed),
            _ => name.format(names::dns_subdomain),
        }
    }
    if let Some(selector) = at.find("nodeSelector") {
        pod::node_selector(&selector);
    }
    for switch in ways[2..].iter().filter_map(|way| at.find(way)).filter(|switch| !switch.is_true()) {
        switch.invalid("must be either unset or set to true");
    }
    let used = |way: &&&str| match **way {
        "nodeName" => !at.get(way).is_empty(),
        "nodeSelector" => at.get(way).is_set(),
        _ => at.get(way).is_true(),
    };
    ways.iter().filter(used).map(|way| format!("`{way}`")).collect()
}

fn device_place(device: &At<'_>, each: bool) {
    const ASKED: &str = "when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    if !each {
        if PLACES[..3].iter().any(|way| device.find(way).is_some()) {
            let fault = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is \
                         set to true in the ResourceSlice spec";
            device.push(crate::field::Error::invalid(device.path(), &Value::Null, fault));
        }
        return;
    }
    match place(device, &PLACES[..3], "must not be empty").as_slice() {
        [_] => {}
        [] => device.required(format!(
            "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required {ASKED}"
        )),
        several => device.invalid_text(
            &format!("{{{}}}", several.join(", ")),
            format!("exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required {ASKED}"),
        ),
    }
}

fn device(device: &At<'_>) {
    check(device, DEVICE);
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    for (name, attribute) in attributes.entries() {
        qualified_name(&attribute, name);
        value(&attribute);
    }
    let shared = device.get("allowMultipleAllocations").is_true();
    for (name, amount) in capacity.entries() {
        qualified_name(&amount, name);
        if let Some(policy) = amount.find("requestPolicy") {
            if shared {
                request_policy(&policy, amount.get("value").quantity().unwrap_or_default());
            } else {
                policy.forbidden("allowMultipleAllocations must be true");
            }
        }
    }
    let total = attributes.len() + capacity.len();
    if total > ATTRIBUTES_MAX {
        let fault = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        device.push(crate::field::Error::invalid(device.path(), &Value::from(total), fault));
    }
    let (bind, fail) = (device.get("bindingConditions"), device.get("bindingFailureConditions"));
    if bind.is_empty() != fail.is_empty() {
        let absent = if bind.is_empty() { &bind } else { &fail };
        absent.required("bindingConditions and bindingFailureConditions must be set together");
    }
    for condition in bind.items().chain(fail.items()) {
        condition.format(names::qualified_name);
    }
}

/// What may be asked of a capacity that allocations share.
fn request_policy(policy: &At<'_>, most: Quantity) {
    let (values, range) = (policy.get("validValues"), policy.find("validRange"));
    let default = policy.get("default");
    match range {
        Some(_) if !values.is_empty() => policy.forbidden(
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ),
        _ if !values.is_empty() => match default.quantity() {
            None => default.required("required when validValues is defined"),
            Some(default) => valid_values(&values, default, most),
        },
        Some(range) => match default.quantity() {
            None => default.required("required when validRange is defined"),
            Some(default) => valid_range(&range, default, most),
        },
        None => {}
    }
}

fn valid_values(values: &At<'_>, default: Quantity, most: Quantity) {
    let items: Vec<(At<'_>, Quantity)> =
        values.items().map(|item| (item.clone(), item.quantity().unwrap_or_default())).collect();
    for (item, _) in items.windows(2).filter(|pair| pair[0].1 > pair[1].1).map(|pair| &pair[1]) {
        item.invalid("values must be sorted in ascending order");
    }
    if values.len() > VALID_VALUES_MAX {
        values.at_most(VALID_VALUES_MAX);
    } else {
        for (item, _) in items.iter().filter(|(_, value)| *value > most) {
            item.invalid(format!("option is larger than capacity value: {most}"));
        }
        let mut seen: Vec<i64> = Vec::new();
        for (item, value) in &items {
            if seen.contains(&value.value()) {
                item.duplicate_text(&value.value().to_string());
            }
            seen.push(value.value());
        }
    }
    if !items.iter().any(|(_, value)| *value == default) {
        values
            .invalid_text(&default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn valid_range(range: &At<'_>, default: Quantity, most: Quantity) {
    let (low, high, step) = (range.get("min"), range.get("max"), range.get("step"));
    let Some(min) = low.quantity() else { return low.required("required when validRange is defined") };
    let text = |quantity: Quantity| quantity.to_string();
    if min > most {
        low.invalid_text(&text(min), format!("min is larger than capacity value: {most}"));
    }
    if default < min {
        low.invalid_text(&text(default), format!("default is less than min: {min}"));
    }
    if let Some(max) = high.quantity() {
        if min > max {
            high.invalid_text(&text(min), format!("min is larger than max: {max}"));
        }
        if max > most {
            high.invalid_text(&text(max), format!("max is larger than capacity value: {most}"));
        }
        if default > max {
            high.invalid_text(&text(default), format!("default is more than max: {max}"));
        }
    }
    let Some(width) = step.quantity() else { return };
    let next = min + width;
    if next > most {
        step.invalid_text(&text(width), format!("one step {next} is larger than capacity value: {most}"));
    }
    for value in std::iter::once(default).chain(high.quantity()) {
        let above = value.value().wrapping_sub(min.value());
        if above.checked_rem(width.value()) != Some(0) {
            let fault = format!("value is not a multiple of a given step ({width}) from ({min})");
            step.invalid_text(&text(value), fault);
        }
    }
}

/// An attribute has one value of one type.
fn value(attribute: &At<'_>) {
    match VALUES.iter().filter(|name| attribute.find(name).is_some()).count() {
        0 => attribute.invalid_text("", "exactly one value must be specified"),
        1 => {}
        _ => attribute.invalid("exactly one value must be specified"),
    }
    let texts = |one: &str, many: &str| {
        attribute.find(one).into_iter().chain(attribute.get(many).items()).collect::<Vec<_>>()
    };
    for text in texts("version", "versions") {
        if !is_semver(text.text()) {
            text.invalid("must be a string compatible with semver.org spec 2.0.0");
        }
    }
    for text in texts("string", "strings").into_iter().chain(texts("version", "versions")) {
        if text.text().len() > ATTRIBUTE_BYTES_MAX {
            text.too_long(ATTRIBUTE_BYTES_MAX);
        }
    }
}

/// `1.2.3`, perhaps with `-pre.release` and `+build`.
fn is_semver(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3
        && parts.into_iter().all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn counter_set(set: &At<'_>) {
    set.get("name").required_format(names::dns_label);
    counters(&set.get("counters"));
}

fn consumption(consumption: &At<'_>) {
    consumption.get("counterSet").required_format(names::dns_label);
    counters(&consumption.get("counters"));
}

fn counters(counters: &At<'_>) {
    counters.need();
    for (name, counter) in counters.entries() {
        names::dns_label(name).into_iter().for_each(|fault| counter.invalid_text(name, fault));
    }
    counters.at_most(COUNTERS_MAX);
}

pub(super) fn update(at: &At<'_>, old: &Value) {
    immutable(at, old, &["spec.pool.name", "spec.driver", "spec.nodeName"]);
}
