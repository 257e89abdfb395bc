use super::*;
use crate::runtime::types::{
    Capability, HugepageLimit, ImageSpec, Int64Value, LinuxContainerConfig, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, SecurityProfile, UserNamespace,
};

fn sandbox_of(options: NamespaceOption) -> PodSandboxConfig {
    let context = LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
    let linux = LinuxPodSandboxConfig {
        cgroup_parent: "/pods/one".to_owned(),
        security_context: Some(context),
        ..Default::default()
    };
    PodSandboxConfig { hostname: "h".to_owned(), linux: Some(linux), ..Default::default() }
}

fn container_of(security: LinuxContainerSecurityContext) -> ContainerConfig {
    let linux = LinuxContainerConfig { security_context: Some(security), resources: None };
    ContainerConfig { linux: Some(linux), ..Default::default() }
}

fn made(config: &ContainerConfig) -> ContainerCreateBody {
    let sandbox = sandbox_of(NamespaceOption::default());
    let around = Around {
        sandbox: "s",
        sandbox_config: &sandbox,
        handler: "",
        resolv_conf: "/r",
        image_user: "www:5",
        profile: Some("{}"),
        host: Host { lowest_oom_score: Some(0), has_ipv6: true },
    };
    container(config, "i", HashMap::new(), &around)
}

#[test]
fn sandboxes_have_namespaces_or_the_hosts() {
    let host = Host { lowest_oom_score: None, has_ipv6: true };
    let check = |network, pid, ipc, expected: (&str, Option<&str>, Option<&str>, &str)| {
        let mut options = NamespaceOption::default();
        options.set_network(network);
        options.set_pid(pid);
        options.set_ipc(ipc);
        let made = sandbox(&sandbox_of(options), "", HashMap::new(), host).host_config.expect("host");
        let found = (made.network_mode, made.uts_mode, made.pid_mode, made.ipc_mode);
        let (network, uts, pid, ipc) = expected;
        let expected = (Some(network), uts, pid, Some(ipc));
        assert_eq!(
            (found.0.as_deref(), found.1.as_deref(), found.2.as_deref(), found.3.as_deref()),
            expected
        );
        assert_eq!(made.sysctls.expect("sysctls").is_empty(), network == "host");
        assert_eq!(made.oom_score_adj, Some(-998));
    };
    use NamespaceMode::{Container, Node, Pod};
    check(Pod, Container, Pod, ("none", None, None, "shareable"));
    check(Node, Pod, Pod, ("host", Some("host"), None, "shareable"));
    check(Pod, Node, Node, ("none", None, Some("host"), "host"));
}

#[test]
fn processes_are_shared_as_asked_for() {
    let check = |pid, expected: Option<&str>| {
        let mut options = NamespaceOption { target_id: "t".to_owned(), ..Default::default() };
        options.set_pid(pid);
        let config = container_of(LinuxContainerSecurityContext {
            namespace_options: Some(options),
            ..Default::default()
        });
        let host = made(&config).host_config.expect("host");
        assert_eq!(host.pid_mode.as_deref(), expected);
        assert_eq!(host.network_mode.as_deref(), Some("container:s"));
        assert_eq!(host.ipc_mode.as_deref(), Some("container:s"));
    };
    check(NamespaceMode::Container, None);
    check(NamespaceMode::Pod, Some("container:s"));
    check(NamespaceMode::Node, Some("host"));
    check(NamespaceMode::Target, Some("container:t"));
}

#[test]
fn users_and_groups() {
    let check = |user: Option<i64>, group: Option<i64>, expected: Option<&str>| {
        let value = |value: Option<i64>| value.map(|value| Int64Value { value });
        let security = LinuxContainerSecurityContext {
            run_as_user: value(user),
            run_as_group: value(group),
            ..Default::default()
        };
        assert_eq!(made(&container_of(security)).user.as_deref(), expected);
    };
    check(None, None, None);
    check(Some(7), None, Some("7"));
    check(Some(7), Some(8), Some("7:8"));
    check(None, Some(8), Some("www:8"));
}

#[test]
fn privileges_and_profiles() {
    let check = |privileged: bool, profile: Option<ProfileType>, expected: &[&str]| {
        let seccomp =
            profile.map(|kind| SecurityProfile { profile_type: kind as i32, localhost_ref: "/f".to_owned() });
        let capabilities =
            Capability { add_capabilities: vec!["NET_ADMIN".to_owned()], ..Default::default() };
        let security = LinuxContainerSecurityContext {
            privileged,
            seccomp,
            no_new_privs: true,
            capabilities: Some(capabilities),
            masked_paths: vec!["/proc/keys".to_owned()],
            ..Default::default()
        };
        let host = made(&container_of(security)).host_config.expect("host");
        assert_eq!(host.security_opt.expect("options"), expected);
        assert_eq!(host.cap_add, Some(vec!["NET_ADMIN".to_owned()]));
        assert_eq!(host.masked_paths.is_none(), privileged);
    };
    check(false, None, &["no-new-privileges", "seccomp=unconfined"]);
    check(false, Some(ProfileType::RuntimeDefault), &["no-new-privileges"]);
    check(false, Some(ProfileType::Localhost), &["no-new-privileges", "seccomp={}"]);
    check(true, Some(ProfileType::RuntimeDefault), &[]);
}

#[test]
fn the_pods_own_names_come_last_unless_it_mounts_some() {
    let targets = |paths: &[&str]| -> Vec<String> {
        let mount = |path: &&str| Mount { container_path: (*path).to_owned(), ..Default::default() };
        let config = ContainerConfig { mounts: paths.iter().map(mount).collect(), ..Default::default() };
        let host = made(&config).host_config.expect("host");
        host.mounts.expect("mounts").into_iter().filter_map(|mount| mount.target).collect()
    };
    assert_eq!(targets(&["/a"]), ["/a", "/etc/resolv.conf"]);
    assert_eq!(targets(&["/etc/resolv.conf"]), ["/etc/resolv.conf"]);
}

#[test]
fn limits_without_swap_and_within_what_the_host_lets() {
    let resources = LinuxContainerResources {
        memory_limit_in_bytes: 7,
        oom_score_adj: -997,
        cpu_shares: 2,
        ..Default::default()
    };
    let linux = LinuxContainerConfig { resources: Some(resources.clone()), security_context: None };
    let config = ContainerConfig { linux: Some(linux), ..Default::default() };
    let host = made(&config).host_config.expect("host");
    assert_eq!((host.memory, host.memory_swap, host.cpu_quota), (Some(7), Some(7), None));
    assert_eq!(host.oom_score_adj, Some(0));
    assert_eq!(host.cgroup_parent.as_deref(), Some("/pods/one"));
    assert_eq!(update(&resources).memory_swap, Some(7));
}

#[test]
fn what_docker_cannot_do_is_refused() {
    assert_eq!(refuse_container(&ContainerConfig::default()), Ok(()));
    let image = Mount { image: Some(ImageSpec::default()), ..Default::default() };
    assert!(refuse_container(&ContainerConfig { mounts: vec![image], ..Default::default() }).is_err());
    let mut security = LinuxContainerSecurityContext::default();
    security.set_supplemental_groups_policy(SupplementalGroupsPolicy::Strict);
    assert!(refuse_container(&container_of(security)).is_err());
    let mut huge = container_of(LinuxContainerSecurityContext::default());
    let pages = HugepageLimit { page_size: "2MB".to_owned(), limit: 1 };
    huge.linux.get_or_insert_default().resources.get_or_insert_default().hugepage_limits = vec![pages];
    assert!(refuse_container(&huge).is_err());
    let users = |mode: NamespaceMode| {
        let users = UserNamespace { mode: mode as i32, ..Default::default() };
        sandbox_of(NamespaceOption { userns_options: Some(users), ..Default::default() })
    };
    assert!(refuse_sandbox(&users(NamespaceMode::Pod)).is_err());
    assert_eq!(refuse_sandbox(&users(NamespaceMode::Node)), Ok(()));
}
