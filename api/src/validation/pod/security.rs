//! Rules of security contexts, of pods and of containers.
use super::super::cursor::At;
use crate::names;

fn id(at: &At<'_>) {
    if let Some(number) = at.int() {
        names::id(number).into_iter().for_each(|fault| at.invalid(fault));
    }
}

pub(super) fn pod(spec: &At<'_>) {
    let context = spec.get("securityContext");
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context.get(name));
    }
    context.get("supplementalGroups").items().for_each(|group| id(&group));
    context.get("fsGroupChangePolicy").one_of_if_set(&["Always", "OnRootMismatch"]);
    context.get("supplementalGroupsPolicy").one_of_if_set(&["Merge", "Strict"]);
    profiles(&context);
    sysctls(&context.get("sysctls"), spec);
    if spec.get("shareProcessNamespace").is_true() && spec.get("hostPID").is_true() {
        let both = spec.get("shareProcessNamespace");
        both.invalid("ShareProcessNamespace and HostPID cannot both be enabled");
    }
    if spec.get("hostUsers").value() == &crate::Value::Bool(false) {
        for name in ["hostNetwork", "hostPID", "hostIPC"].map(|name| spec.get(name)) {
            if name.is_true() {
                name.forbidden("when `hostUsers` is false");
            }
        }
    } else {
        for list in ["containers", "initContainers"] {
            for mount in spec.get(list).items().map(|container| container.get("securityContext.procMount")) {
                if mount.text() == "Unmasked" {
                    mount.invalid("`hostUsers` must be false to use `Unmasked`");
                }
            }
        }
    }
}

fn sysctls(list: &At<'_>, spec: &At<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for sysctl in list.items() {
        let name = sysctl.get("name");
        let dotted = name.text().replace('/', ".");
        if !name.need() {
            continue;
        }
        if name.text().len() > 253 || !dotted.split('.').all(is_sysctl_segment) {
            let pattern = "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            name.invalid(format!("must have at most 253 characters and match regex ^{pattern}$"));
        } else if seen.contains(&name.text()) {
            name.duplicate();
        }
        seen.push(name.text());
        if dotted.starts_with("net.") && spec.get("hostNetwork").is_true() {
            name.invalid("may not be specified when 'hostNetwork' is true");
        }
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        if ipc.iter().any(|prefix| dotted.starts_with(prefix)) && spec.get("hostIPC").is_true() {
            name.invalid("may not be specified when 'hostIPC' is true");
        }
    }
}

/// Whether a part of a sysctl's name is of small letters, digits, `-` and `_`, with one of the former at both ends.
fn is_sysctl_segment(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || b"-_".contains(byte))
}

/// seccomp and AppArmor profiles.
fn profiles(context: &At<'_>) {
    for name in ["seccompProfile", "appArmorProfile"] {
        let Some(profile) = context.find(name) else { continue };
        let (ty, file) = (profile.get("type"), profile.get("localhostProfile"));
        if !ty.is_set() || ty.is_empty() {
            ty.required("type is required when seccompProfile is set");
            continue;
        }
        ty.one_of(&["Localhost", "RuntimeDefault", "Unconfined"]);
        match (ty.text(), file.is_set()) {
            ("Localhost", false) => file.required("must be set when seccomp type is Localhost"),
            ("Localhost", true) => super::mounts::local_descending_path(&file),
            (_, true) => file.invalid("can only be set when seccomp type is Localhost"),
            _ => {}
        }
    }
}

pub(super) fn container(context: &At<'_>) {
    if !context.is_set() {
        return;
    }
    id(&context.get("runAsUser"));
    id(&context.get("runAsGroup"));
    context.get("procMount").one_of_if_set(&["Default", "Unmasked"]);
    profiles(context);
    if context.get("allowPrivilegeEscalation").value() == &crate::Value::Bool(false) {
        if context.get("privileged").is_true() {
            context.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if context.get("capabilities.add").items().any(|c| c.text() == "CAP_SYS_ADMIN") {
            let both = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            context.invalid(both);
        }
    }
}
