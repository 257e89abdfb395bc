//! From what the kubelet asks for to what Docker is told, without I/O.
//!
//! Source: Docker Engine API, "Create a container"; what is chosen where the kubelet leaves a choice is what Docker does.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, DeviceMapping, DeviceRequest, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount as DockerMount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::kept;
use crate::runtime::PAUSE_IMAGE;
use crate::runtime::types::{
    ContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, Mount, MountPropagation,
    NamespaceMode, NamespaceOption, PodSandboxConfig, ProfileType, SupplementalGroupsPolicy,
};

/// How readily the kernel kills a sandbox; a little later than the containers that live in it.
const SANDBOX_OOM_SCORE: i64 = -998;
/// Weight of a sandbox, which does nothing.
const SANDBOX_SHARES: i64 = 2;
/// What the host has that decides how containers are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// The lowest readiness to be killed that may be asked for, if there is a limit.
    pub lowest_oom_score: Option<i64>,
    /// Whether there is IPv6.
    pub has_ipv6: bool,
}

/// What a container is made from beside its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Id of the sandbox.
    pub sandbox: &'a str,
    /// What was asked for the sandbox.
    pub sandbox_config: &'a PodSandboxConfig,
    /// Name of the sandbox's OCI runtime.
    pub handler: &'a str,
    /// The sandbox's `resolv.conf`.
    pub resolv_conf: &'a str,
    /// The image's user.
    pub image_user: &'a str,
    /// Text of the system call profile, if one of the node's was asked for.
    pub profile: Option<&'a str>,
    /// The host.
    pub host: Host,
}

/// Which namespaces a sandbox or container shares.
fn namespaces(options: Option<&NamespaceOption>) -> NamespaceOption {
    options.cloned().unwrap_or_default()
}

/// Why Docker cannot make such a sandbox.
pub fn refuse_sandbox(config: &PodSandboxConfig) -> Result<(), String> {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = namespaces(security.and_then(|security| security.namespace_options.as_ref()));
    match options.userns_options {
        Some(users) if users.mode() == NamespaceMode::Pod => {
            Err("Docker gives no pod users of its own".to_owned())
        }
        _ => Ok(()),
    }
}

/// Why Docker cannot make such a container.
pub fn refuse_container(config: &ContainerConfig) -> Result<(), String> {
    let security = security(config);
    let resources = config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let strict = security.supplemental_groups_policy() == SupplementalGroupsPolicy::Strict;
    let image = config.mounts.iter().find(|mount| mount.image.is_some());
    if let Some(mount) = image {
        return Err(format!("images as volumes are not supported with Docker: {}", mount.container_path));
    }
    let refused = [
        (strict, "supplementalGroupsPolicy Strict is not supported with Docker"),
        (!resources.hugepage_limits.is_empty(), "Docker cannot limit the huge pages of a container"),
        (!resources.unified.is_empty(), "Docker cannot set files of a control group"),
    ];
    refused.iter().find(|(is, _)| *is).map_or(Ok(()), |(_, why)| Err((*why).to_owned()))
}

/// The security context, empty if there is none.
pub fn security(config: &ContainerConfig) -> LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

/// What all have in common: nothing restarts by itself, and no check of the image's is made.
fn body(image: &str, labels: HashMap<String, String>, host: HostConfig) -> ContainerCreateBody {
    let never = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
    let none = HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(labels),
        healthcheck: Some(none),
        host_config: Some(HostConfig { restart_policy: Some(never), ..host }),
        ..ContainerCreateBody::default()
    }
}

/// A sandbox. With a network of its own it has none yet.
pub fn sandbox(
    config: &PodSandboxConfig,
    handler: &str,
    labels: HashMap<String, String>,
    host: Host,
) -> ContainerCreateBody {
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let options = namespaces(security.namespace_options.as_ref());
    let of_host = |mode: NamespaceMode| (mode == NamespaceMode::Node).then(|| "host".to_owned());
    let network = of_host(options.network());
    let mut sysctls: HashMap<String, String> = linux.sysctls.into_iter().collect();
    if network.is_none() && host.has_ipv6 {
        // Docker turns it off in namespaces that have no network of its own.
        sysctls.entry("net.ipv6.conf.all.disable_ipv6".to_owned()).or_insert_with(|| "0".to_owned());
    }
    let own = HostConfig {
        cgroup_parent: Some(linux.cgroup_parent),
        uts_mode: network.clone(),
        network_mode: Some(network.unwrap_or_else(|| "none".to_owned())),
        pid_mode: of_host(options.pid()),
        ipc_mode: Some(of_host(options.ipc()).unwrap_or_else(|| "shareable".to_owned())),
        sysctls: Some(sysctls),
        oom_score_adj: Some(bounded(SANDBOX_OOM_SCORE, host)),
        cpu_shares: Some(SANDBOX_SHARES),
        readonly_rootfs: Some(true),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        runtime: (!handler.is_empty()).then(|| handler.to_owned()),
        ..HostConfig::default()
    };
    let hostname = (!config.hostname.is_empty()).then(|| config.hostname.clone());
    ContainerCreateBody { hostname, ..body(PAUSE_IMAGE, labels, own) }
}

fn bounded(score: i64, host: Host) -> i64 {
    host.lowest_oom_score.map_or(score, |lowest| score.max(lowest))
}

/// A container of a sandbox.
pub fn container(
    config: &ContainerConfig,
    image: &str,
    labels: HashMap<String, String>,
    around: &Around<'_>,
) -> ContainerCreateBody {
    let security = security(config);
    let mut own = limits(&config.linux.clone().unwrap_or_default().resources.unwrap_or_default());
    own.oom_score_adj = own.oom_score_adj.map(|score| bounded(score, around.host));
    let linux = around.sandbox_config.linux.clone().unwrap_or_default();
    own.cgroup_parent = Some(linux.cgroup_parent);
    own.runtime = (!around.handler.is_empty()).then(|| around.handler.to_owned());
    own.mounts = Some(mounts(config, around.resolv_conf));
    own.devices = Some(devices(config));
    own.device_requests = cdi(config);
    own.log_config = Some(HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), kept::FILE_SIZE.to_owned()),
            ("max-file".to_owned(), kept::FILES.to_string()),
            ("compress".to_owned(), "false".to_owned()),
        ])),
    });
    confine(&mut own, &security, around);
    let words = |words: &Vec<String>| (!words.is_empty()).then(|| words.clone());
    ContainerCreateBody {
        user: user(&security, around.image_user),
        env: Some(config.envs.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect()),
        entrypoint: words(&config.command),
        cmd: words(&config.args),
        working_dir: (!config.working_dir.is_empty()).then(|| config.working_dir.clone()),
        open_stdin: Some(config.stdin),
        stdin_once: Some(config.stdin_once),
        tty: Some(config.tty),
        ..body(image, labels, own)
    }
}

/// Namespaces, privileges and paths.
fn confine(own: &mut HostConfig, security: &LinuxContainerSecurityContext, around: &Around<'_>) {
    let options = namespaces(security.namespace_options.as_ref());
    let of_sandbox = || format!("container:{}", around.sandbox);
    let of_host = |mode: NamespaceMode| (mode == NamespaceMode::Node).then(|| "host".to_owned());
    own.network_mode = Some(of_sandbox());
    own.ipc_mode = Some(of_host(options.ipc()).unwrap_or_else(of_sandbox));
    own.uts_mode = of_host(options.network());
    own.pid_mode = match options.pid() {
        NamespaceMode::Pod => Some(of_sandbox()),
        NamespaceMode::Container => None,
        NamespaceMode::Node => Some("host".to_owned()),
        NamespaceMode::Target => Some(format!("container:{}", options.target_id)),
    };
    let capabilities = security.capabilities.clone().unwrap_or_default();
    own.privileged = Some(security.privileged);
    own.cap_add = Some(capabilities.add_capabilities);
    own.cap_drop = Some(capabilities.drop_capabilities);
    own.readonly_rootfs = Some(security.readonly_rootfs);
    own.group_add = Some(security.supplemental_groups.iter().map(ToString::to_string).collect());
    own.security_opt = Some(options_of(security, around.profile));
    if !security.privileged {
        own.masked_paths = Some(security.masked_paths.clone());
        own.readonly_paths = Some(security.readonly_paths.clone());
    }
}

fn options_of(security: &LinuxContainerSecurityContext, profile: Option<&str>) -> Vec<String> {
    let mut all = Vec::new();
    if security.no_new_privs && !security.privileged {
        all.push("no-new-privileges".to_owned());
    }
    match security.seccomp.as_ref().map(|seccomp| seccomp.profile_type()) {
        _ if security.privileged => {}
        Some(ProfileType::Unconfined) | None => all.push("seccomp=unconfined".to_owned()),
        Some(ProfileType::Localhost) => all.extend(profile.map(|text| format!("seccomp={text}"))),
        Some(ProfileType::RuntimeDefault) => {}
    }
    match security.apparmor.as_ref().map(|own| (own.profile_type(), own.localhost_ref.as_str())) {
        Some((ProfileType::Unconfined, _)) => all.push("apparmor=unconfined".to_owned()),
        Some((ProfileType::Localhost, name)) => all.push(format!("apparmor={name}")),
        Some((ProfileType::RuntimeDefault, _)) | None => {}
    }
    all
}

/// `USER[:GROUP]`; none: the image's.
fn user(security: &LinuxContainerSecurityContext, of_image: &str) -> Option<String> {
    let user = security.run_as_user.as_ref().map(|user| user.value.to_string());
    let Some(group) = security.run_as_group.as_ref().map(|group| group.value) else { return user };
    let of_image = of_image.split(':').next().filter(|name| !name.is_empty()).unwrap_or("0");
    Some(format!("{}:{group}", user.as_deref().unwrap_or(of_image)))
}

fn mounts(config: &ContainerConfig, resolv_conf: &str) -> Vec<DockerMount> {
    const RESOLV_CONF: &str = "/etc/resolv.conf";
    let has_own = config.mounts.iter().any(|mount| mount.container_path.trim_end_matches('/') == RESOLV_CONF);
    let names = Mount {
        container_path: RESOLV_CONF.to_owned(),
        host_path: resolv_conf.to_owned(),
        readonly: security(config).readonly_rootfs,
        ..Mount::default()
    };
    config.mounts.iter().chain((!has_own).then_some(&names)).map(bind).collect()
}

fn bind(mount: &Mount) -> DockerMount {
    let propagation = match mount.propagation() {
        MountPropagation::Private => MountBindOptionsPropagationEnum::RPRIVATE,
        MountPropagation::HostToContainer => MountBindOptionsPropagationEnum::RSLAVE,
        MountPropagation::Bidirectional => MountBindOptionsPropagationEnum::RSHARED,
    };
    DockerMount {
        target: Some(mount.container_path.clone()),
        source: Some(mount.host_path.clone()),
        typ: Some(MountType::BIND),
        read_only: Some(mount.readonly),
        bind_options: Some(MountBindOptions {
            propagation: Some(propagation),
            // As the original has it; newer Docker would make what is mounted below it read-only, too.
            read_only_non_recursive: mount.readonly.then_some(true),
            ..MountBindOptions::default()
        }),
        ..DockerMount::default()
    }
}

fn devices(config: &ContainerConfig) -> Vec<DeviceMapping> {
    let devices = config.devices.iter().map(|device| DeviceMapping {
        path_on_host: Some(device.host_path.clone()),
        path_in_container: Some(device.container_path.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    });
    devices.collect()
}

/// Docker reads the descriptions itself since version 25, and says so where it does not.
fn cdi(config: &ContainerConfig) -> Option<Vec<DeviceRequest>> {
    let names: Vec<String> = config.cdi_devices.iter().map(|device| device.name.clone()).collect();
    let request = || DeviceRequest {
        driver: Some("cdi".to_owned()),
        device_ids: Some(names.clone()),
        ..DeviceRequest::default()
    };
    (!names.is_empty()).then(|| vec![request()])
}

/// Limits as Docker takes them; what is not limited is left out.
fn limits(wanted: &LinuxContainerResources) -> HostConfig {
    let some = |value: i64| (value != 0).then_some(value);
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    let memory = some(wanted.memory_limit_in_bytes);
    HostConfig {
        cpu_shares: some(wanted.cpu_shares),
        cpu_quota: some(wanted.cpu_quota),
        cpu_period: some(wanted.cpu_period),
        memory,
        memory_swap: some(wanted.memory_swap_limit_in_bytes).or(memory),
        oom_score_adj: some(wanted.oom_score_adj),
        cpuset_cpus: text(&wanted.cpuset_cpus),
        cpuset_mems: text(&wanted.cpuset_mems),
        ..HostConfig::default()
    }
}

/// New limits of a running container.
pub fn update(wanted: &LinuxContainerResources) -> ContainerUpdateBody {
    let limits = limits(wanted);
    ContainerUpdateBody {
        cpu_shares: limits.cpu_shares,
        cpu_quota: limits.cpu_quota,
        cpu_period: limits.cpu_period,
        memory: limits.memory,
        memory_swap: limits.memory_swap,
        cpuset_cpus: limits.cpuset_cpus,
        cpuset_mems: limits.cpuset_mems,
        ..ContainerUpdateBody::default()
    }
}

#[cfg(test)]
mod tests;
