//! Rules of what containers mount.
use super::super::cursor::At;
use super::volumes::Volume;

pub(super) fn mounts(container: &At<'_>, volumes: &[Volume<'_>]) {
    let mut paths: Vec<&str> = Vec::new();
    let devices: Vec<(&str, &str)> = container
        .get("volumeDevices")
        .items()
        .map(|device| (device.get("name").text(), device.get("devicePath").text()))
        .collect();
    for mount in container.get("volumeMounts").items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.need() && !volumes.iter().any(|v| v.name == name.text()) {
            name.not_found();
        }
        if path.need() && paths.contains(&path.text()) {
            path.invalid("must be unique");
        }
        paths.push(path.text());
        if devices.iter().any(|(device, _)| *device == name.text()) {
            name.invalid("must not already exist in volumeDevices");
        }
        if devices.iter().any(|(_, device)| *device == path.text()) {
            path.invalid("must not already exist as a path in volumeDevices");
        }
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        local_descending_path(&sub);
        if !expression.is_empty() {
            if !sub.is_empty() {
                expression.invalid("subPathExpr and subPath are mutually exclusive");
            }
            local_descending_path(&expression);
        }
        propagation(&mount, container);
        recursive_read_only(&mount);
    }
    let mut device_paths: Vec<&str> = Vec::new();
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if name.need() {
            match volumes.iter().find(|v| v.name == name.text()) {
                None => name.not_found(),
                Some(volume) if !volume.block => name.invalid(
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ),
                Some(_) => {}
            }
        }
        if path.need() {
            if device_paths.contains(&path.text()) {
                path.invalid("must be unique");
            }
            no_backsteps(&path);
        }
        device_paths.push(path.text());
    }
}

fn propagation(mount: &At<'_>, container: &At<'_>) {
    let propagation = mount.get("mountPropagation");
    propagation.one_of_if_set(&["Bidirectional", "HostToContainer", "None"]);
    let privileged = container.get("securityContext.privileged").is_true();
    if propagation.text() == "Bidirectional" && !privileged {
        propagation.forbidden("Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive_read_only(mount: &At<'_>) {
    let recursive = mount.get("recursiveReadOnly");
    recursive.one_of_if_set(&["Disabled", "Enabled", "IfPossible"]);
    if !matches!(recursive.text(), "Enabled" | "IfPossible") {
        return;
    }
    if !mount.get("readOnly").is_true() {
        recursive.forbidden("may only be specified when readOnly is true");
    }
    if !matches!(mount.get("mountPropagation").text(), "" | "None") {
        recursive.forbidden("may only be specified when mountPropagation is None or not specified");
    }
}

/// A relative path that does not leave its place.
pub(super) fn local_descending_path(path: &At<'_>) {
    if path.text().starts_with('/') {
        path.invalid("must be a relative path");
    }
    no_backsteps(path);
}

/// The same of a file in a volume, where names that begin with `..` are the kubelet's own.
pub(super) fn local_non_reserved_path(path: &At<'_>) {
    local_descending_path(path);
    if path.text().starts_with("..") && !path.text().starts_with("../") {
        path.invalid("must not start with '..'");
    }
}

pub(in super::super) fn no_backsteps(path: &At<'_>) {
    if path.text().split('/').any(|part| part == "..") {
        path.invalid("must not contain '..'");
    }
}
