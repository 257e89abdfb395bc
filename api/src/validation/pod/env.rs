//! Rules of environment variables, and of references to fields and resources of the pod.
use super::super::cursor::At;
use super::mounts;
use super::volumes::Volume;
use crate::names;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Field labels that pods know, though not every place may use each.
const POD_FIELDS: [&str; 19] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.host",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.qosClass",
    "status.reason",
];
const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn env(variable: &At<'_>, volumes: &[Volume<'_>]) {
    variable.get("name").required_format(names::env_var_name);
    let Some(from) = variable.find("valueFrom") else { return };
    let mut sources = 0;
    if let Some(source) = from.find("fieldRef") {
        sources += 1;
        field_ref(&source, &ENV_FIELDS);
    }
    if let Some(source) = from.find("resourceFieldRef") {
        sources += 1;
        resource_field_ref(&source, false);
    }
    for source in ["configMapKeyRef", "secretKeyRef"].iter().filter_map(|name| from.find(name)) {
        sources += 1;
        source.get("name").need();
        source.get("key").required_format(names::config_map_key);
    }
    if let Some(source) = from.find("fileKeyRef") {
        sources += 1;
        file_key_ref(&source, volumes);
    }
    if sources == 0 {
        from.invalid_text(
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        );
    } else if !variable.get("value").is_empty() {
        from.invalid_text("", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        from.invalid_text("", "may not have more than one field specified at a time");
    }
}

/// A reference to a variable in a file that another container of the pod has written (KEP-3721).
fn file_key_ref(reference: &At<'_>, volumes: &[Volume<'_>]) {
    let (name, path, key) = (reference.get("volumeName"), reference.get("path"), reference.get("key"));
    name.required_format(names::dns_label);
    if path.need() {
        mounts::local_non_reserved_path(&path);
    }
    key.required_format(names::env_var_name);
    if name.is_empty() {
        return;
    }
    match volumes.iter().find(|volume| volume.name == name.text()) {
        None => name.not_found(),
        Some(volume) if !volume.empty_dir => name.invalid("referenced volume must be of type emptyDir"),
        Some(_) => {}
    }
}

pub(super) fn env_from(list: &At<'_>) {
    for source in list.items() {
        source.get("prefix").format_if_set(names::env_var_name);
        let set: Vec<At<'_>> =
            ["configMapRef", "secretRef"].iter().filter_map(|name| source.find(name)).collect();
        set.iter().for_each(|reference| {
            reference.get("name").need();
        });
        match set.len() {
            1 => {}
            0 => list.invalid_text("", "must specify one of: `configMapRef` or `secretRef`"),
            _ => list.invalid_text("", "may not have more than one field specified at a time"),
        }
    }
}

/// A reference to one of some fields of the pod, or to one of its labels or annotations.
pub(super) fn field_ref(reference: &At<'_>, fields: &[&str]) {
    reference.get("apiVersion").need();
    let path = reference.get("fieldPath");
    if !path.need() {
        return;
    }
    let text = path.text();
    if let Some((head, key)) = text.strip_suffix("']").and_then(|t| t.split_once("['")) {
        let faults = match head {
            "metadata.annotations" => names::qualified_name(&key.to_lowercase()),
            "metadata.labels" => names::qualified_name(key),
            _ => {
                reference.invalid_text(head, "does not support subscript");
                return;
            }
        };
        faults.into_iter().for_each(|fault| reference.invalid_text(key, fault));
    } else if !POD_FIELDS.contains(&text) {
        path.invalid(format!("error converting fieldPath: field label not supported: {text}"));
    } else if !fields.contains(&text) {
        let mut supported = fields.to_vec();
        supported.sort_unstable();
        path.not_supported(&supported);
    }
}

/// A reference to an amount of a container's resources.
pub(super) fn resource_field_ref(reference: &At<'_>, volume: bool) {
    let resource = reference.get("resource");
    if volume && !reference.get("containerName").need() || !resource.need() {
        return;
    }
    let text = resource.text();
    let huge = text.starts_with("limits.hugepages-") || text.starts_with("requests.hugepages-");
    if !RESOURCE_FIELDS.contains(&text) && !huge {
        resource.not_supported(&RESOURCE_FIELDS);
    }
    let divisor = reference.get("divisor");
    let Some(unit) = divisor.quantity().filter(|unit| !unit.is_zero()).map(|unit| unit.to_string()) else {
        return;
    };
    let name = text.split_once('.').map_or(text, |(_, name)| name);
    let sizes = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    if name == "cpu" {
        if !["1m", "1"].contains(&unit.as_str()) {
            divisor.invalid_text(name, "only divisor's values 1m and 1 are supported with the cpu resource");
        }
    } else if !sizes.contains(&unit.as_str()) {
        let sizes = sizes.join(", ");
        divisor.invalid_text(
            name,
            format!("only divisor's values {sizes} are supported with the {name} resource"),
        );
    }
}
