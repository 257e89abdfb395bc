//! Rules of storage classes, drivers and what drivers report.
use super::super::Rules;
use super::super::constraints::Rule::{
    By, MaxBytes, NeedFormat, NeedOneOf, NotNegative, OneOf, Selector, Unique,
};
use super::super::constraints::{Row, check, immutable};
use super::super::cursor::{At, same};
use crate::{Value, names};

pub(in super::super) const RULES: &[(&str, Rules)] = &[
    ("CSIDriver", Rules { name: driver_name, object: driver, update: driver_update, ..Rules::PLAIN }),
    ("CSINode", Rules { object: node, update: node_update, ..Rules::PLAIN }),
    (
        "CSIStorageCapacity",
        Rules {
            object: |at| check(at, CAPACITY),
            update: |at, old| immutable(at, old, &["nodeTopology", "storageClassName"]),
            ..Rules::PLAIN
        },
    ),
    ("StorageClass", Rules { object: class, update: class_update, ..Rules::PLAIN }),
    (
        "VolumeAttachment",
        Rules {
            object: attachment,
            update: |at, old| immutable(at, old, &["spec"]),
            status: |at, _| attachment_status(at),
            ..Rules::PLAIN
        },
    ),
    (
        "VolumeAttributesClass",
        Rules { object: attributes_class, update: attributes_class_update, ..Rules::PLAIN },
    ),
];

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;

const CAPACITY: &[Row] = &[
    ("storageClassName", NeedFormat(names::dns_subdomain)),
    ("nodeTopology", Selector),
    ("capacity", By(not_negative)),
    ("maximumVolumeSize", By(not_negative)),
];
const CLASS: &[Row] = &[
    ("provisioner", NeedFormat(provisioner)),
    ("parameters", By(parameters)),
    ("reclaimPolicy", OneOf(&["Delete", "Retain"])),
    ("volumeBindingMode", NeedOneOf(&["Immediate", "WaitForFirstConsumer"])),
];
const DRIVER: &[Row] = &[
    ("attachRequired", By(needed)),
    ("podInfoOnMount", By(needed)),
    ("storageCapacity", By(needed)),
    ("fsGroupPolicy", OneOf(&["File", "None", "ReadWriteOnceWithFSType"])),
    ("tokenRequests", Unique("audience")),
    ("tokenRequests[].expirationSeconds", By(expiration)),
    ("volumeLifecycleModes[]", By(|mode| mode.one_of(&["Ephemeral", "Persistent"]))),
    ("nodeAllocatableUpdatePeriodSeconds", By(update_period)),
];
const NODE_DRIVER: &[Row] =
    &[("name", NeedFormat(driver_name)), ("nodeID", By(node_id)), ("allocatable.count", NotNegative)];

fn needed(at: &At<'_>) {
    if !at.is_set() {
        at.required("");
    }
}

fn not_negative(at: &At<'_>) {
    if at.quantity().is_some_and(|amount| amount.sign() < 0) {
        at.invalid(super::super::cursor::NOT_NEGATIVE);
    }
}

/// The name of a storage driver: at most 63, a DNS subdomain but for its case.
pub(in super::super) fn driver_name(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.len() > 63 {
        faults.push(names::max_len(63));
    }
    faults.extend(names::dns_subdomain(&name.to_lowercase()));
    faults
}

fn provisioner(text: &str) -> Vec<String> {
    names::qualified_name(&text.to_lowercase())
}

fn parameters(parameters: &At<'_>) {
    if parameters.len() > PARAMETERS_MAX {
        parameters.too_long(PARAMETERS_MAX);
        return;
    }
    if parameters.entries().any(|(key, _)| key.is_empty()) {
        parameters.invalid_text("", "field can not be empty.");
    }
    if total(parameters) > PARAMETERS_BYTES_MAX {
        parameters.too_long(PARAMETERS_BYTES_MAX);
    }
}

/// Bytes of all keys and values.
fn total(map: &At<'_>) -> usize {
    map.entries().map(|(key, value)| key.len() + value.text().len()).sum()
}

fn class(at: &At<'_>) {
    check(at, CLASS);
    let mut seen: Vec<&Value> = Vec::new();
    for term in at.get("allowedTopologies").items() {
        let expressions = term.get("matchLabelExpressions");
        for expression in expressions.items() {
            let values = expression.get("values");
            if values.is_empty() {
                values.required("");
            }
            check(&values, &[("", Unique(""))]);
            expression.get("key").format(names::qualified_name);
        }
        check(&expressions, &[("", Unique("key"))]);
        if seen.contains(&expressions.value()) {
            expressions.duplicate_text("");
        }
        seen.push(expressions.value());
    }
}

fn class_update(at: &At<'_>, old: &Value) {
    for name in ["parameters", "provisioner", "reclaimPolicy"] {
        if !same(at.get(name).value(), &old[name]) {
            at.get(name).forbidden(format!("updates to {name} are forbidden."));
        }
    }
    immutable(at, old, &["volumeBindingMode"]);
}

fn attributes_class(at: &At<'_>) {
    at.get("driverName").required_format(driver_name);
    if at.get("parameters").is_empty() {
        at.get("parameters").required("must contain at least one key/value pair");
    }
    parameters(&at.get("parameters"));
}

fn attributes_class_update(at: &At<'_>, old: &Value) {
    for name in ["driverName", "parameters"] {
        if !same(at.get(name).value(), &old[name]) {
            at.get(name).forbidden(format!("updates to {name} are forbidden."));
        }
    }
}

fn driver(at: &At<'_>) {
    check(&at.get("spec"), DRIVER);
}

fn expiration(seconds: &At<'_>) {
    if seconds.int().is_some_and(|seconds| seconds < 600) {
        seconds.invalid("may not specify a duration less than 10 minutes");
    }
    if seconds.int().is_some_and(|seconds| seconds > 1 << 32) {
        seconds.invalid("may not specify a duration larger than 2^32 seconds");
    }
}

fn update_period(seconds: &At<'_>) {
    if seconds.int().is_some_and(|seconds| seconds < 10) {
        seconds.invalid("must be greater than or equal to 10 seconds");
    }
}

fn driver_update(at: &At<'_>, old: &Value) {
    immutable(at, old, &["spec.attachRequired", "spec.volumeLifecycleModes"]);
}

fn node(at: &At<'_>) {
    for driver in at.get("spec.drivers").items() {
        check(&driver, NODE_DRIVER);
        let mut seen: Vec<&str> = Vec::new();
        for key in driver.get("topologyKeys").items() {
            if key.is_empty() {
                driver.required("");
            }
            if seen.contains(&key.text()) {
                driver.duplicate_text(key.text());
            }
            seen.push(key.text());
            for fault in names::qualified_name(key.text()) {
                driver.with(driver.get("topologyKeys").value()).invalid(fault);
            }
        }
    }
    check(at, &[("spec.drivers", Unique("name"))]);
}

fn node_id(id: &At<'_>) {
    if id.need() && id.text().len() > 256 {
        id.invalid("must be 256 characters or less");
    }
}

/// Drivers come and go, but one that stays says the same; only what it can allocate changes.
fn node_update(at: &At<'_>, old: &Value) {
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        if let Some(members) = driver.as_object_mut() {
            members.remove("allocatable");
        }
        driver
    };
    let drivers = at.get("spec.drivers");
    for before in old["spec"]["drivers"].as_array().into_iter().flatten() {
        for driver in drivers.items().filter(|driver| driver.get("name").value() == &before["name"]) {
            if fixed(driver.value()) != fixed(before) {
                at.get("CSINodeDriver").with(driver.value()).invalid(super::super::cursor::IMMUTABLE);
            }
        }
    }
}

fn attachment(at: &At<'_>) {
    let spec = at.get("spec");
    spec.get("attacher").required_format(driver_name);
    let source = spec.get("source");
    let both = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (source.find("persistentVolumeName"), source.find("inlineVolumeSpec")) {
        (Some(_), Some(_)) => source.forbidden(both),
        (None, None) => source.required(both),
        (Some(name), None) if name.is_empty() => name.required("must specify non empty persistentVolumeName"),
        (Some(name), None) => name.format(names::dns_subdomain),
        (None, Some(inline)) => super::inline_volume(&inline),
    }
    spec.get("nodeName").format(names::dns_subdomain);
    attachment_status(at);
}

fn attachment_status(at: &At<'_>) {
    let status = at.get("status");
    let metadata = status.get("attachmentMetadata");
    if total(&metadata) > METADATA_BYTES_MAX {
        metadata.too_long(METADATA_BYTES_MAX);
    }
    check(
        &status,
        &[("attachError?.message", MaxBytes(MESSAGE_MAX)), ("detachError?.message", MaxBytes(MESSAGE_MAX))],
    );
}
