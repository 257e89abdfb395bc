//! Rules of devices that are claimed: claims, their templates, classes; slices lie in [`slice`].
mod slice;
mod status;

use super::constraints::Rule::{By, MaxBytes, MaxItems, NeedFormat, NeedOneOf, OneOf, Unique, UniqueItem};
use super::constraints::{Row, check, immutable};
use super::cursor::At;
use super::storage::driver_name;
use super::{Rules, metadata};
use crate::cel::device;
use crate::{Value, names};

pub(super) const RULES: &[(&str, Rules)] = &[
    ("DeviceClass", Rules { object: |at| check(&at.get("spec"), CLASS), ..Rules::PLAIN }),
    (
        "ResourceClaim",
        Rules {
            object: |at| claim_spec(&at.get("spec")),
            update: spec_stays,
            status: status::claim,
            ..Rules::PLAIN
        },
    ),
    (
        "ResourceClaimTemplate",
        Rules {
            object: |at| {
                metadata::template(&at.get("spec.metadata"));
                claim_spec(&at.get("spec.spec"));
            },
            update: spec_stays,
            ..Rules::PLAIN
        },
    ),
    ("ResourceSlice", Rules { object: slice::slice, update: slice::update, ..Rules::PLAIN }),
];

const ITEMS_MAX: usize = 32;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;

const CLASS: &[Row] = &[
    ("selectors[]", By(selector)),
    ("selectors", MaxItems(ITEMS_MAX)),
    ("config[]", By(configuration)),
    ("config", MaxItems(ITEMS_MAX)),
    ("extendedResourceName", By(extended_resource)),
];
const CLAIM: &[Row] = &[
    ("requests[]", By(request)),
    ("requests", MaxItems(ITEMS_MAX)),
    ("requests", UniqueItem("name")),
    ("constraints[]", By(constraint)),
    ("constraints", MaxItems(ITEMS_MAX)),
    ("config[]", By(configuration)),
    ("config", MaxItems(ITEMS_MAX)),
];
/// What all ways of asking for devices of one class have.
const EXACT: &[Row] = &[
    ("deviceClassName", NeedFormat(names::dns_subdomain)),
    ("selectors[]", By(selector)),
    ("selectors", MaxItems(ITEMS_MAX)),
    ("tolerations[]", By(toleration)),
];
const TOLERATION: &[Row] = &[
    ("key", super::constraints::Rule::Format(names::qualified_name)),
    ("operator", NeedOneOf(&["Equal", "Exists"])),
    ("effect", OneOf(&["NoExecute", "NoSchedule"])),
];

fn spec_stays(at: &At<'_>, old: &Value) {
    immutable(at, old, &["spec"]);
}

fn claim_spec(spec: &At<'_>) {
    let devices = spec.get("devices");
    let requests = devices.get("requests");
    check(&devices, CLAIM);
    for list in ["constraints", "config"] {
        for entry in devices.get(list).items() {
            request_names(&entry.get("requests"), &requests);
        }
    }
}

/// A list of names of requests, each of them there.
fn request_names(list: &At<'_>, requests: &At<'_>) {
    list.items().for_each(|name| request_name(&name, requests));
    check(list, &[("", MaxItems(ITEMS_MAX)), ("", Unique(""))]);
}

/// `request`, or `request/subrequest`.
fn request_name(name: &At<'_>, requests: &At<'_>) {
    const FAULT: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let parts: Vec<&str> = name.text().split('/').collect();
    if parts.len() > 2 {
        name.invalid(FAULT);
        return;
    }
    for part in &parts {
        names::dns_label(part).into_iter().for_each(|fault| name.invalid_text(part, fault));
    }
    let known = requests.items().any(|request| {
        request.get("name").text() == parts[0]
            && parts.get(1).is_none_or(|sub| {
                request.get("firstAvailable").items().any(|one| one.get("name").text() == *sub)
            })
    });
    if !known {
        name.invalid_text(name.text(), FAULT);
    }
}

fn request(request: &At<'_>) {
    request.get("name").format(names::dns_label);
    let (exactly, first) = (request.find("exactly"), request.get("firstAvailable"));
    match (&exactly, first.is_empty()) {
        (None, true) => request.required("exactly one of `exactly` or `firstAvailable` is required"),
        (Some(_), false) => request
            .with(&Value::Null)
            .invalid("exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"),
        _ => {}
    }
    if let Some(exact) = exactly {
        check(&exact, EXACT);
        allocation_mode(&exact);
    }
    for sub in first.items() {
        sub.get("name").format(names::dns_label);
        check(&sub, EXACT);
        allocation_mode(&sub);
    }
    check(&first, &[("", MaxItems(8)), ("", UniqueItem("name"))]);
}

fn allocation_mode(request: &At<'_>) {
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    let number = count.int().unwrap_or(0);
    match mode.text() {
        "All" if number != 0 => count.invalid("must not be specified when allocationMode is 'All'"),
        "ExactCount" if number <= 0 => {
            count
                .with(if count.is_set() { count.value() } else { &ZERO })
                .invalid("must be greater than zero");
        }
        "All" | "ExactCount" => {}
        _ => mode.not_supported(&["All", "ExactCount"]),
    }
}

static ZERO: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from(0));

fn selector(selector: &At<'_>) {
    let Some(cel) = selector.find("cel") else {
        selector.get("cel").required("");
        return;
    };
    check(&cel, &[("expression", MaxBytes(EXPRESSION_MAX))]);
    let expression = cel.get("expression");
    if expression.text().len() > EXPRESSION_MAX {
        return;
    }
    match device::check(expression.text()) {
        Ok(()) => {}
        Err(device::Fault::Invalid(fault)) => expression.invalid(fault),
        Err(device::Fault::Expensive) => expression.forbidden("too complex, exceeds cost limit"),
    }
}

fn constraint(constraint: &At<'_>) {
    let (same, distinct) = (constraint.get("matchAttribute"), constraint.get("distinctAttribute"));
    if !same.is_set() && !distinct.is_set() {
        same.required("");
    }
    for attribute in [same, distinct].iter().filter(|at| at.is_set()) {
        qualified_name(attribute, attribute.text());
        if !attribute.is_empty() && !attribute.text().contains('/') {
            attribute.invalid("must include a domain");
        }
    }
}

/// Parameters for a driver.
fn configuration(config: &At<'_>) {
    let Some(opaque) = config.find("opaque") else {
        config.get("opaque").required("");
        return;
    };
    opaque.get("driver").required_format(driver_name);
    raw_object(&opaque.get("parameters"), PARAMETERS_MAX);
}

/// A JSON object of at most `limit` bytes, kept as it comes. What was stored before the limit was made is kept too.
fn raw_object(at: &At<'_>, limit: usize) {
    match at.value() {
        Value::Null => at.required(""),
        Value::Object(_) if at.before().is_none() && at.value().to_string().len() > limit => {
            at.too_long(limit)
        }
        Value::Object(_) => {}
        _ => at.invalid_text("<value omitted>", "parameters must be a valid JSON object"),
    }
}

fn extended_resource(name: &At<'_>) {
    if !name.is_set() {
        return;
    }
    let text = name.text();
    let native = !text.contains('/') || text.contains("kubernetes.io/");
    let faults = names::qualified_name(&format!("requests.{text}"));
    if native || text.starts_with("requests.") || !faults.is_empty() {
        name.invalid("must be a valid extended resource name");
    }
}

fn toleration(at: &At<'_>) {
    check(at, TOLERATION);
    let value = at.get("value");
    match at.get("operator").text() {
        "Exists" if !value.is_empty() => value.invalid("must be empty for operator `Exists`"),
        "Equal" => value.format(names::label_value),
        _ => {}
    }
}

/// A taint of a device.
pub(super) fn taint(taint: &At<'_>) {
    taint.get("key").format(names::qualified_name);
    taint.get("value").format_if_set(names::label_value);
    taint.get("effect").need_one_of(&["NoExecute", "NoSchedule", "None"]);
}

/// The name of an attribute or capacity: an identifier, perhaps with a domain; faults stand at `at`.
fn qualified_name(at: &At<'_>, name: &str) {
    if name.is_empty() {
        at.required("name required");
        return;
    }
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [id] => identifier(at, id),
        [domain, id] => {
            if domain.is_empty() {
                at.required("the domain must not be empty");
            } else {
                driver_name(domain).into_iter().for_each(|fault| at.invalid_text(domain, fault));
            }
            if id.is_empty() {
                at.required("the name must not be empty");
            } else {
                identifier(at, id);
            }
        }
        _ => {}
    }
}

fn identifier(at: &At<'_>, id: &str) {
    if id.len() > 32 {
        at.too_long(32);
    }
    for fault in names::c_identifier(id) {
        at.push(crate::field::Error::new(
            crate::field::ErrorType::TypeInvalid,
            at.path(),
            format!("Invalid value: {}: {fault}", Value::from(id)),
        ));
    }
}

/// The name of a pool: DNS subdomains joined by `/`.
pub(super) fn pool_name(pool: &At<'_>) {
    if !pool.need() {
        return;
    }
    if pool.text().len() > 253 {
        pool.too_long(253);
    }
    for part in pool.text().split('/') {
        names::dns_subdomain(part).into_iter().for_each(|fault| pool.invalid_text(part, fault));
    }
}
