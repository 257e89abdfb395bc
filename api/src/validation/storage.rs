//! Rules of volumes and claims; classes and drivers lie in [`csi`].
mod csi;

pub(super) use csi::{RULES, driver_name};

use super::cursor::{At, same};
use super::{Rules, labels, pod, resources, sources};
use crate::quantity::Quantity;
use crate::{Value, names};

pub(super) const CORE_RULES: &[(&str, Rules)] = &[
    ("PersistentVolume", Rules { object: volume, update: volume_update, ..Rules::PLAIN }),
    (
        "PersistentVolumeClaim",
        Rules {
            object: |at| claim_spec(&at.get("spec")),
            update: claim_update,
            status: claim_status,
            ..Rules::PLAIN
        },
    ),
];
const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

fn access_modes(modes: &At<'_>, absent: &str) {
    if modes.is_empty() {
        modes.required(absent);
    }
    for mode in modes.items() {
        if !ACCESS_MODES.contains(&mode.text()) {
            modes.with(mode.value()).not_supported(&ACCESS_MODES);
        }
    }
    if modes.len() > 1 && modes.items().any(|mode| mode.text() == "ReadWriteOncePod") {
        modes.forbidden("may not use ReadWriteOncePod with other access modes");
    }
}

fn volume(at: &At<'_>) {
    let spec = at.get("spec");
    volume_spec(&spec);
    if spec.find("local").is_some() && !spec.get("nodeAffinity").is_set() {
        at.get("metadata.annotations").required("Local volume requires node affinity");
    }
}

/// A volume that stands inside an attachment has no life of its own.
fn inline_volume(spec: &At<'_>) {
    for name in ["claimRef", "persistentVolumeReclaimPolicy", "volumeMode"].map(|name| spec.get(name)) {
        if name.is_set() && !(name.text() == "Filesystem" || name.text() == "Retain") {
            name.forbidden("may not be specified in the context of inline volumes");
        }
    }
    if spec.find("csi").is_none() {
        spec.get("csi").required("must specify csi volume source in the context of inline volumes");
    }
    volume_spec(spec);
}

fn volume_spec(spec: &At<'_>) {
    access_modes(&spec.get("accessModes"), "");
    let capacity = spec.get("capacity");
    if capacity.is_empty() {
        capacity.required("");
    } else if !capacity.key("storage").is_set() || capacity.len() > 1 {
        capacity.not_supported(&["storage"]);
    }
    for (name, quantity) in capacity.entries() {
        resources::name(&quantity, name);
        resources::positive(&quantity);
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    policy.one_of_if_set(&["Delete", "Recycle", "Retain"]);
    spec.exactly_one(&SOURCES, "may not specify more than 1 volume type", "must specify a volume type");
    sources::all(spec);
    if spec.find("csi").is_some() {
        spec.get("csi.volumeHandle").need();
    }
    if spec.get("hostPath.path").text() == "/" && policy.text() == "Recycle" {
        policy.forbidden("may not be 'recycle' for a hostPath mount of '/'");
    }
    if let Some(affinity) = spec.find("nodeAffinity") {
        let required = affinity.get("required");
        if required.is_set() {
            pod::node_selector(&required);
        } else {
            required.required("must specify required node constraints");
        }
    }
    spec.get("storageClassName").format_if_set(names::dns_subdomain);
    spec.get("volumeMode").one_of_if_set(&["Block", "Filesystem"]);
    let class = spec.get("volumeAttributesClassName");
    if class.is_set() {
        if class.is_empty() {
            class.required("an empty string is disallowed");
        } else {
            class.format(names::dns_subdomain);
        }
        if spec.find("csi").is_none() {
            spec.get("csi").required("has to be specified when using volumeAttributesClassName");
        }
    }
}

fn volume_update(at: &At<'_>, old: &Value) {
    let (spec, old) = (at.get("spec"), &old["spec"]);
    if SOURCES.iter().any(|source| !same(spec.get(source).value(), &old[*source])) {
        let source = spec.get("persistentvolumesource");
        source.forbidden("spec.persistentvolumesource is immutable after creation");
    }
    spec.get("volumeMode").immutable(&old["volumeMode"]);
    if !same(&old["nodeAffinity"], &Value::Null) {
        spec.get("nodeAffinity").immutable(&old["nodeAffinity"]);
    }
    attributes_class_stays(&spec, old);
}

/// A class of attributes may be changed, but not taken away.
fn attributes_class_stays(spec: &At<'_>, old: &Value) {
    let (class, before) = (spec.get("volumeAttributesClassName"), &old["volumeAttributesClassName"]);
    if !same(before, &Value::Null) && class.is_empty() {
        class.forbidden(if class.is_set() {
            "update from non-nil value to an empty string is forbidden"
        } else {
            "update from non-nil value to nil is forbidden"
        });
    }
}

/// The specification of a claim, also as a template in pods.
pub(super) fn claim_spec(spec: &At<'_>) {
    access_modes(&spec.get("accessModes"), "at least 1 access mode is required");
    labels::selector(&spec.get("selector"));
    let storage = spec.get("resources.requests").key("storage");
    if storage.is_set() {
        resources::positive(&spec.get("resources").key("storage").with(storage.value()));
    } else {
        spec.get("resources").key("storage").required("");
    }
    spec.get("storageClassName").format_if_set(names::dns_subdomain);
    spec.get("volumeMode").one_of_if_set(&["Block", "Filesystem"]);
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    for source in [&source, &reference].into_iter().filter(|s| s.is_set()) {
        source.get("name").need();
        source.get("kind").need();
        let (group, kind) = (source.get("apiGroup"), source.get("kind"));
        if group.is_empty() && kind.text() != "PersistentVolumeClaim" {
            source.invalid_text(
                kind.text(),
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            );
        }
        group.format_if_set(names::dns_subdomain);
    }
    reference.get("namespace").format_if_set(names::dns_label);
    if source.is_set() && !reference.get("namespace").is_empty() {
        source.invalid("may not be specified when dataSourceRef.namespace is specified");
    } else if source.is_set() && reference.is_set() && !same_source(source.value(), reference.value()) {
        source.invalid("must match dataSourceRef");
    }
    spec.get("volumeAttributesClassName").format_if_set(names::dns_subdomain);
}

fn same_source(a: &Value, b: &Value) -> bool {
    ["apiGroup", "kind", "name"].iter().all(|name| same(&a[*name], &b[*name]))
}

fn claim_update(at: &At<'_>, old: &Value) {
    let (spec, old_spec) = (at.get("spec"), &old["spec"]);
    let bound = at.get("status.phase").text() == "Bound";
    let rest = |spec: &Value| {
        let mut spec = spec.as_object().cloned().unwrap_or_default();
        // A claim gets its volume and may be told its class once.
        for name in ["volumeName", "storageClassName"] {
            if same(&old_spec[name], &Value::Null) {
                spec.remove(name);
            }
        }
        spec.remove("volumeAttributesClassName");
        if bound && let Some(requests) = spec.get_mut("resources").and_then(|r| r.get_mut("requests")) {
            requests.as_object_mut().map(|requests| requests.remove("storage"));
        }
        Value::Object(spec)
    };
    if !same(&rest(spec.value()), &rest(old_spec)) {
        spec.forbidden(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims",
        );
        return;
    }
    let size = |value: &Value| Quantity::from_value(value).and_then(Result::ok);
    let asked = |spec: &Value| size(&spec["resources"]["requests"]["storage"]);
    let granted = size(&old["status"]["capacity"]["storage"]);
    // A request that failed may be lowered again, but not to what the volume already has.
    if let (Some(new), Some(before), Some(granted)) = (asked(spec.value()), asked(old_spec), granted)
        && new < before
        && new <= granted
    {
        spec.get("resources.requests.storage").forbidden("field can not be less than status.capacity");
    }
    attributes_class_stays(&spec, old_spec);
}

fn claim_status(at: &At<'_>, _: &Value) {
    let status = at.get("status");
    for (name, quantity) in status.get("capacity").entries() {
        resources::amount(&quantity, name);
    }
    for list in ["allocatedResources", "allocatedResourceStatuses"] {
        for (name, value) in status.get(list).entries() {
            if name != "storage" && !name.contains('/') {
                value.invalid_text(name, "must be a standard resource type or fully qualified");
            }
        }
    }
}
