//! Security contexts of pods and containers; the container's settings win.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile};

use super::ConfigError;
use crate::pod;
use crate::runtime::types::{
    Capability, Image, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, ProfileType, SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy,
};

/// Paths that a container does not see, unless it asks for an unmasked `/proc`.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths that a container sees but cannot write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The sandbox's settings.
pub fn sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let security = pod::security(pod);
    let all = pod::init_containers(pod).iter().chain(pod::containers(pod));
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        run_as_user: security.run_as_user.map(|value| Int64Value { value }),
        run_as_group: security
            .run_as_group
            .filter(|_| security.run_as_user.is_some())
            .map(|value| Int64Value { value }),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod) as i32,
        privileged: all.into_iter().any(is_privileged),
        selinux_options: None,
        readonly_rootfs: false,
        // The pause process needs nothing special, and a strict profile of the pod may not suit it.
        seccomp: Some(profile(ProfileType::RuntimeDefault, "")),
        apparmor: None,
    }
}

/// A container's settings; `target` is the container whose processes an ephemeral one sees.
pub fn container(pod: &Pod, container: &Container, target: Option<String>) -> LinuxContainerSecurityContext {
    let for_pod = pod::security(pod);
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = is_privileged(container);
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if privileged || unmasked { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() }
    };
    let capabilities = own.capabilities.unwrap_or_default();
    let selinux = own.se_linux_options.or_else(|| for_pod.se_linux_options.clone());
    LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
        }),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: selinux.map(|options| SeLinuxOption {
            user: options.user.unwrap_or_default(),
            role: options.role.unwrap_or_default(),
            r#type: options.type_.unwrap_or_default(),
            level: options.level.unwrap_or_default(),
        }),
        run_as_user: own.run_as_user.or(for_pod.run_as_user).map(|value| Int64Value { value }),
        run_as_group: own.run_as_group.or(for_pod.run_as_group).map(|value| Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or_default(),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod) as i32,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(own.seccomp_profile.as_ref().or(for_pod.seccomp_profile.as_ref()))),
        apparmor: None,
    }
}

/// Whether the container is privileged.
pub fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|security| security.privileged) == Some(true)
}

fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let security = pod::security(pod);
    let mut groups = security.supplemental_groups.clone().unwrap_or_default();
    groups.extend(security.fs_group);
    groups
}

fn groups_policy(pod: &Pod) -> SupplementalGroupsPolicy {
    match pod::security(pod).supplemental_groups_policy.as_deref() {
        Some("Strict") => SupplementalGroupsPolicy::Strict,
        _ => SupplementalGroupsPolicy::Merge,
    }
}

/// Which namespaces are the node's, the pod's or the container's own.
pub fn namespaces(pod: &Pod, target: Option<String>) -> NamespaceOption {
    let spec = pod::spec(pod);
    let shared =
        |node: Option<bool>| if node == Some(true) { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = match &target {
        _ if spec.host_pid == Some(true) => NamespaceMode::Node,
        _ if spec.share_process_namespace == Some(true) => NamespaceMode::Pod,
        Some(_) => NamespaceMode::Target,
        None => NamespaceMode::Container,
    };
    NamespaceOption {
        network: shared(spec.host_network) as i32,
        pid: pid as i32,
        ipc: shared(spec.host_ipc) as i32,
        target_id: target.unwrap_or_default(),
        // The pod's worker knows.
        userns_options: None,
    }
}

fn seccomp(chosen: Option<&SeccompProfile>) -> SecurityProfile {
    let Some(chosen) = chosen else { return profile(ProfileType::Unconfined, "") };
    match chosen.type_.as_str() {
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault, ""),
        "Localhost" => {
            profile(ProfileType::Localhost, chosen.localhost_profile.as_deref().unwrap_or_default())
        }
        _ => profile(ProfileType::Unconfined, ""),
    }
}

/// Names the file of a profile of the node's as the runtime finds it: below `folder`.
pub fn locate_profile(context: &mut LinuxContainerSecurityContext, folder: &Path) {
    let own = context.seccomp.as_mut().filter(|own| own.profile_type == ProfileType::Localhost as i32);
    if let Some(own) = own {
        own.localhost_ref = folder.join(&own.localhost_ref).display().to_string();
    }
}

fn profile(kind: ProfileType, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: kind as i32, localhost_ref: reference.to_owned() }
}

/// Checks `runAsNonRoot` against the user that the container would get.
pub fn verify_non_root(pod: &Pod, container: &Container, image: &Image) -> Result<(), ConfigError> {
    let for_pod = pod::security(pod);
    let own = container.security_context.as_ref();
    let non_root = own.and_then(|own| own.run_as_non_root).or(for_pod.run_as_non_root);
    if non_root != Some(true) {
        return Ok(());
    }
    let place = || format!("(pod: {:?}, container: {})", pod::display(pod), container.name);
    match own.and_then(|own| own.run_as_user).or(for_pod.run_as_user) {
        Some(0) => {
            Err(ConfigError::Invalid(format!("container's runAsUser breaks non-root policy {}", place())))
        }
        Some(_) => Ok(()),
        None => match (&image.uid, image.username.as_str()) {
            (Some(uid), _) if uid.value == 0 => Err(root_image(&place())),
            (Some(_), _) => Ok(()),
            (None, "") => Err(root_image(&place())),
            (None, user) => Err(ConfigError::Invalid(format!(
                "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {}",
                place()
            ))),
        },
    }
}

fn root_image(place: &str) -> ConfigError {
    ConfigError::Invalid(format!("container has runAsNonRoot and image will run as root {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pod: &str, own: &str) -> Pod {
        pod::tests::pod(&format!(
            "{{spec: {{securityContext: {pod}, containers: [{{name: a, securityContext: {own}}}]}}}}"
        ))
    }

    #[test]
    fn non_root() {
        let check = |for_pod: &str, own: &str, uid: Option<i64>, user: &str, ok: bool| {
            let pod = one(for_pod, own);
            let image = Image {
                uid: uid.map(|value| Int64Value { value }),
                username: user.to_owned(),
                ..Default::default()
            };
            let result = verify_non_root(&pod, &pod::containers(&pod)[0], &image);
            assert_eq!(result.is_ok(), ok, "{for_pod} {own} {uid:?} {user}: {result:?}");
        };
        check("{}", "{}", Some(0), "", true);
        check("{runAsNonRoot: true}", "{}", Some(0), "", false);
        check("{runAsNonRoot: true}", "{}", Some(7), "", true);
        check("{runAsNonRoot: true}", "{}", None, "www", false);
        check("{runAsNonRoot: true}", "{}", None, "", false);
        check("{runAsNonRoot: true}", "{runAsNonRoot: false}", Some(0), "", true);
        check("{runAsNonRoot: true, runAsUser: 5}", "{}", Some(0), "", true);
        check("{runAsNonRoot: true, runAsUser: 5}", "{runAsUser: 0}", Some(1), "", false);
    }

    #[test]
    fn the_container_wins() {
        let pod = one("{runAsUser: 1, runAsGroup: 2, fsGroup: 3, supplementalGroups: [4]}", "{runAsUser: 9}");
        let made = container(&pod, &pod::containers(&pod)[0], None);
        assert_eq!(made.run_as_user.map(|v| v.value), Some(9));
        assert_eq!(made.run_as_group.map(|v| v.value), Some(2));
        assert_eq!(made.supplemental_groups, [4, 3]);
        assert!(!made.no_new_privs);
        assert_eq!(made.masked_paths.len(), MASKED.len());
        let pod = one("{}", "{privileged: true}");
        let made = container(&pod, &pod::containers(&pod)[0], None);
        assert!(made.privileged && made.masked_paths.is_empty());
        assert!(sandbox(&pod).privileged);
    }
}
