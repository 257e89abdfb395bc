//! Rules of volumes, claims and storage classes.
use super::cursor::{At, same};
use super::{Rules, labels, pod, resources};
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
pub(super) const RULES: &[(&str, Rules)] = &[
    ("CSIDriver", Rules { name: driver_name, object: csi_driver, update: csi_driver_update, ..Rules::PLAIN }),
    ("CSINode", Rules { object: csi_node, ..Rules::PLAIN }),
    ("StorageClass", Rules { object: class, update: class_update, ..Rules::PLAIN }),
    (
        "VolumeAttachment",
        Rules {
            object: attachment,
            update: |at, old| at.get("spec").immutable(&old["spec"]),
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
    if let Some(host) = spec.find("hostPath") {
        pod::host_path(&host);
        if host.get("path").text() == "/" && policy.text() == "Recycle" {
            policy.forbidden("may not be 'recycle' for a hostPath mount of '/'");
        }
    }
    if let Some(local) = spec.find("local") {
        local.get("path").need();
        if !spec.get("nodeAffinity").is_set() {
            at.get("metadata.annotations").required("Local volume requires node affinity");
        }
    }
    if let Some(csi) = spec.find("csi") {
        csi.get("driver").required_format(driver_name);
        csi.get("volumeHandle").need();
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
        if source.get("apiGroup").is_empty() && source.get("kind").text() != "PersistentVolumeClaim" {
            source.invalid("must be 'PersistentVolumeClaim' when referencing the default apiGroup");
        }
    }
    if source.is_set() && reference.is_set() && !same_source(source.value(), reference.value()) {
        source.invalid("must match dataSourceRef");
    }
    spec.get("volumeAttributesClassName").format_if_set(names::dns_subdomain);
}

fn same_source(a: &Value, b: &Value) -> bool {
    ["apiGroup", "kind", "name"].iter().all(|name| same(&a[*name], &b[*name]))
}

fn claim_update(at: &At<'_>, old: &Value) {
    let (spec, old_spec) = (at.get("spec"), &old["spec"]);
    let bound = old["status"]["phase"] == "Bound";
    let rest = |spec: &Value| {
        let mut spec = spec.as_object().cloned().unwrap_or_default();
        // A claim gets its volume and may be told its class once.
        if same(&old_spec["volumeName"], &Value::Null) {
            spec.remove("volumeName");
        }
        if same(&old_spec["storageClassName"], &Value::Null) {
            spec.remove("storageClassName");
        }
        spec.remove("volumeAttributesClassName");
        if bound {
            spec.remove("resources");
        }
        Value::Object(spec)
    };
    let fixed = (rest(spec.value()), rest(old_spec));
    let limits = (&spec.get("resources.limits").value(), &old_spec["resources"]["limits"]);
    if !same(&fixed.0, &fixed.1) || bound && !same(limits.0, limits.1) {
        spec.forbidden(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims",
        );
        return;
    }
    let amount = |spec: &Value| {
        crate::quantity::Quantity::from_value(&spec["resources"]["requests"]["storage"]).and_then(Result::ok)
    };
    let granted =
        crate::quantity::Quantity::from_value(&old["status"]["capacity"]["storage"]).and_then(Result::ok);
    if let (Some(new), Some(before)) = (amount(spec.value()), amount(old_spec))
        && new < before
        && granted.is_none_or(|granted| new <= granted)
    {
        let requests = spec.get("resources.requests.storage");
        requests.forbidden("field can not be less than status.capacity");
    }
}

fn claim_status(at: &At<'_>, _: &Value) {
    for (name, quantity) in at.get("status.capacity").entries() {
        resources::amount(&quantity, name);
    }
}

fn class(at: &At<'_>) {
    let provisioner = at.get("provisioner");
    if provisioner.need() {
        provisioner.format(|text| names::qualified_name(&text.to_lowercase()));
    }
    let parameters = at.get("parameters");
    if parameters.len() > 512 {
        parameters.too_long(512);
    }
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            parameters.invalid_text(key, "field can not be empty.");
        }
        size += key.len() + value.text().len();
    }
    if size > 256 * 1024 {
        parameters.too_long(256 * 1024);
    }
    at.get("reclaimPolicy").one_of_if_set(&["Delete", "Retain"]);
    at.get("volumeBindingMode").need_one_of(&["Immediate", "WaitForFirstConsumer"]);
}

fn class_update(at: &At<'_>, old: &Value) {
    for name in ["parameters", "provisioner", "reclaimPolicy"] {
        if !same(at.get(name).value(), &old[name]) {
            at.get(name).forbidden(format!("updates to {name} are forbidden."));
        }
    }
    at.get("volumeBindingMode").immutable(&old["volumeBindingMode"]);
}

/// The name of a storage driver: at most 63, a DNS subdomain but for its case.
fn driver_name(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.len() > 63 {
        faults.push(names::max_len(63));
    }
    faults.extend(names::dns_subdomain(&name.to_lowercase()));
    faults
}

fn csi_driver(at: &At<'_>) {
    let spec = at.get("spec");
    for flag in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        if !spec.get(flag).is_set() {
            spec.get(flag).required("");
        }
    }
    spec.get("fsGroupPolicy").one_of_if_set(&["File", "None", "ReadWriteOnceWithFSType"]);
    for mode in spec.get("volumeLifecycleModes").items() {
        mode.one_of(&["Ephemeral", "Persistent"]);
    }
}

fn csi_driver_update(at: &At<'_>, old: &Value) {
    for name in ["attachRequired", "volumeLifecycleModes"] {
        at.get("spec").get(name).immutable(&old["spec"][name]);
    }
}

fn csi_node(at: &At<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for driver in at.get("spec.drivers").items() {
        let (name, node) = (driver.get("name"), driver.get("nodeID"));
        name.required_format(driver_name);
        if seen.contains(&name.text()) {
            name.duplicate();
        }
        seen.push(name.text());
        if node.need() && node.text().len() > 256 {
            node.invalid("must be 256 characters or less");
        }
        driver.get("allocatable.count").not_negative();
    }
}

fn attachment(at: &At<'_>) {
    let spec = at.get("spec");
    spec.get("attacher").required_format(driver_name);
    spec.get("nodeName").required_format(names::dns_subdomain);
    let source = spec.get("source");
    match (source.find("persistentVolumeName").is_some(), source.find("inlineVolumeSpec").is_some()) {
        (true, true) => {
            source.forbidden("must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        }
        (false, false) => {
            source.required("must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        }
        _ => {}
    }
}
