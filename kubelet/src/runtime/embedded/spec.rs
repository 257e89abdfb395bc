//! From what the kubelet asks for to what the OCI runtime is told, without I/O.
//!
//! Source: OCI runtime specification (`config.md`, `config-linux.md`); what is chosen where the kubelet leaves a
//! choice (default capabilities, mounts, environment) is what containerd chooses.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::store::Execution;
use super::users::Identity;
use crate::cgroups::MOUNT;
use crate::runtime::types::{
    ContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, Mount, MountPropagation,
    PodSandboxConfig,
};

/// Capabilities of a container that asks for none.
const CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the specification of a container is made from.
pub struct Parts<'a> {
    /// The container's id.
    pub id: &'a str,
    /// What the kubelet asks for.
    pub config: &'a ContainerConfig,
    /// The pod's sandbox.
    pub sandbox: &'a PodSandboxConfig,
    /// What the image says.
    pub image: &'a Execution,
    /// Who the container runs as.
    pub identity: &'a Identity,
    /// Its process namespace.
    pub processes: Processes,
    /// Path of its user namespace, unless its users are the host's.
    pub users: Option<String>,
    /// Whether the machine has one tree of control groups.
    pub unified: bool,
    /// Capabilities that this process has itself, without `CAP_`.
    pub own_capabilities: &'a BTreeSet<String>,
    /// The host's devices, for a privileged container.
    pub host_devices: Vec<Value>,
}

impl Parts<'_> {
    /// The container's cgroup, as a path from the root of the hierarchies.
    fn cgroup(&self) -> String {
        let parent =
            self.sandbox.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default();
        format!("{}/{}", parent.trim_end_matches('/'), self.id)
    }
}

/// A container's process namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processes {
    /// Its own.
    Own,
    /// The host's.
    Host,
    /// That of another process, by its path.
    Of(String),
}

/// The words that a container runs: the kubelet's, and what it leaves out from the image.
pub fn arguments(config: &ContainerConfig, image: &Execution) -> Vec<String> {
    let (mut program, mut arguments) = (config.command.clone(), config.args.clone());
    if program.is_empty() {
        // The image's arguments belong to the image's program.
        if arguments.is_empty() {
            arguments = image.cmd.clone();
        }
        program = image.entrypoint.clone();
    }
    program.append(&mut arguments);
    program
}

/// The security context, empty if there is none.
pub fn security(config: &ContainerConfig) -> LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

fn environment(parts: &Parts<'_>, home: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut put = |variable: String| {
        let name = variable.split('=').next().unwrap_or_default().to_owned() + "=";
        match all.iter_mut().find(|there| there.starts_with(&name)) {
            Some(there) => *there = variable,
            None => all.push(variable),
        }
    };
    put(PATH.to_owned());
    if parts.config.tty {
        put("TERM=xterm".to_owned());
    }
    put(format!("HOME={home}"));
    put(format!("HOSTNAME={}", parts.sandbox.hostname));
    parts.image.env.iter().cloned().for_each(&mut put);
    parts.config.envs.iter().for_each(|pair| put(format!("{}={}", pair.key, pair.value)));
    if parts.sandbox.hostname.is_empty() {
        all.retain(|variable| variable != "HOSTNAME=");
    }
    all
}

/// Capabilities with `CAP_`, in order.
pub fn capabilities(security: &LinuxContainerSecurityContext, own: &BTreeSet<String>) -> BTreeSet<String> {
    let plain = |name: &String| name.to_uppercase().trim_start_matches("CAP_").to_owned();
    let wished = security.capabilities.clone().unwrap_or_default();
    let mut all: BTreeSet<String> = CAPABILITIES.map(str::to_owned).into();
    let (add, drop): (Vec<String>, Vec<String>) = (
        wished.add_capabilities.iter().map(plain).collect(),
        wished.drop_capabilities.iter().map(plain).collect(),
    );
    if security.privileged || add.iter().any(|name| name == "ALL") {
        all = own.clone();
    }
    if !security.privileged && drop.iter().any(|name| name == "ALL") {
        all.clear();
        if add.iter().any(|name| name == "ALL") {
            all = own.clone();
        }
    }
    if !security.privileged {
        all.extend(add.into_iter().filter(|name| name != "ALL"));
        all.retain(|name| !drop.contains(name));
    }
    all.iter().map(|name| format!("CAP_{name}")).collect()
}

/// The process of a container.
pub fn process(parts: &Parts<'_>) -> Result<Value, String> {
    let (config, security) = (parts.config, security(parts.config));
    let arguments = arguments(config, parts.image);
    if arguments.is_empty() {
        return Err("no command specified".to_owned());
    }
    let capabilities = capabilities(&security, parts.own_capabilities);
    let directory = [&config.working_dir, &parts.image.working_dir].into_iter().find(|dir| !dir.is_empty());
    let identity = parts.identity;
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": arguments,
        "env": environment(parts, &identity.home),
        "cwd": directory.map_or("/", String::as_str),
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            "inheritable": [], "ambient": [],
        },
    });
    if security.no_new_privs && !security.privileged {
        process["noNewPrivileges"] = json!(true);
    }
    Ok(process)
}

/// The whole specification. The container stays in the network, host name and memory namespaces of who starts it.
pub fn container(parts: &Parts<'_>) -> Result<Value, String> {
    let security = security(parts.config);
    let mut namespaces = vec![json!({"type": "mount"})];
    match &parts.processes {
        Processes::Own => namespaces.push(json!({"type": "pid"})),
        Processes::Of(path) => namespaces.push(json!({"type": "pid", "path": path})),
        Processes::Host => {}
    }
    if parts.unified && !security.privileged {
        namespaces.push(json!({"type": "cgroup"}));
    }
    namespaces.extend(parts.users.as_ref().map(|path| json!({"type": "user", "path": path})));
    let linux = parts.config.linux.clone().unwrap_or_default();
    let mut resources = resources(&linux.resources.unwrap_or_default(), parts.unified);
    resources["devices"] = device_rules(&security, parts);
    let mounts = mounts(parts, &security);
    let propagation = propagation(&parts.config.mounts);
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": process(parts)?,
        "root": {"path": "rootfs", "readonly": security.readonly_rootfs},
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "resources": resources,
            "cgroupsPath": parts.cgroup(),
            "maskedPaths": security.masked_paths,
            "readonlyPaths": security.readonly_paths,
            "devices": devices(&security, parts),
        },
    });
    if let Some(propagation) = propagation {
        spec["linux"]["rootfsPropagation"] = json!(propagation);
    }
    Ok(spec)
}

/// How mounts of the root travel: as far as the farthest of the container's mounts.
fn propagation(mounts: &[Mount]) -> Option<&'static str> {
    let any = |kind: MountPropagation| mounts.iter().any(|mount| mount.propagation() == kind);
    if any(MountPropagation::Bidirectional) {
        Some("rshared")
    } else if any(MountPropagation::HostToContainer) {
        Some("rslave")
    } else {
        None
    }
}

/// The version 1 hierarchies in which a container has a cgroup of its own. A mount of the kind `cgroup` would show it
/// the named ones whole and leave all of them writable.
fn hierarchies(mount: &Path) -> Vec<&'static str> {
    const ALL: [&str; 12] = [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
    ];
    ALL.into_iter().filter(|name| mount.join(name).is_dir()).collect()
}

fn mounts(parts: &Parts<'_>, security: &LinuxContainerSecurityContext) -> Vec<Value> {
    let system = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({"destination": destination, "type": kind, "source": source, "options": options})
    };
    let access = if security.privileged { "rw" } else { "ro" };
    let mut all = vec![
        system("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        system("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        system("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        system("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        system("/sys", "sysfs", "sysfs", &format!("nosuid,noexec,nodev,{access}")),
    ];
    if parts.unified || security.privileged {
        all.push(system(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &format!("nosuid,noexec,nodev,relatime,{access}"),
        ));
    } else {
        all.push(system("/sys/fs/cgroup", "tmpfs", "tmpfs", "nosuid,noexec,nodev,mode=755,size=64k"));
        let own = hierarchies(Path::new(MOUNT)).into_iter().map(|hierarchy| {
            let source = format!("{MOUNT}/{hierarchy}{}", parts.cgroup());
            system(&format!("/sys/fs/cgroup/{hierarchy}"), "bind", &source, "rbind,ro,nosuid,noexec,nodev")
        });
        all.extend(own);
    }
    let mut binds: Vec<Mount> = parts.config.mounts.clone();
    // What lies deeper is mounted later.
    binds.sort_by_key(|mount| mount.container_path.trim_end_matches('/').matches('/').count());
    let hides = |destination: &str| {
        binds.iter().any(|mount| mount.container_path.trim_end_matches('/') == destination)
    };
    all.retain(|mount| !mount["destination"].as_str().is_some_and(hides));
    all.extend(binds.iter().map(bind));
    all
}

/// The sandbox's own files for a container, without those that the pod mounts itself; `folder` has `resolv.conf`,
/// `hostname` and `shm`.
pub fn own_files(config: &ContainerConfig, folder: &str) -> Vec<Mount> {
    let own = [("/dev/shm", "shm"), ("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname")];
    let free =
        |path: &str| config.mounts.iter().all(|mount| mount.container_path.trim_end_matches('/') != path);
    let mount = |(path, file): (&str, &str)| Mount {
        container_path: path.to_owned(),
        host_path: format!("{folder}/{file}"),
        readonly: security(config).readonly_rootfs && file != "shm",
        ..Mount::default()
    };
    own.into_iter().filter(|(path, _)| free(path)).map(mount).collect()
}

fn bind(mount: &Mount) -> Value {
    let travels = match mount.propagation() {
        MountPropagation::Private => "rprivate",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    };
    let access = if mount.readonly { "ro" } else { "rw" };
    let mut options = vec!["rbind", travels, access];
    if mount.recursive_read_only {
        options.push("rro");
    }
    if mount.image.is_some() {
        options.push("noexec");
    }
    json!({"destination": mount.container_path, "type": "bind", "source": mount.host_path, "options": options})
}

/// Limits as the OCI runtime takes them; also for a change of a running container.
pub fn resources(limits: &LinuxContainerResources, unified: bool) -> Value {
    let some = |value: i64| (value != 0).then_some(value);
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    let swap = some(limits.memory_swap_limit_in_bytes).or(some(limits.memory_limit_in_bytes));
    let mut all = json!({
        "memory": {"limit": some(limits.memory_limit_in_bytes), "swap": swap},
        "cpu": {
            "shares": some(limits.cpu_shares), "quota": some(limits.cpu_quota), "period": some(limits.cpu_period),
            "cpus": text(&limits.cpuset_cpus), "mems": text(&limits.cpuset_mems),
        },
    });
    if !limits.hugepage_limits.is_empty() {
        let pages = limits
            .hugepage_limits
            .iter()
            .map(|pages| json!({"pageSize": pages.page_size, "limit": pages.limit}));
        all["hugepageLimits"] = pages.collect();
    }
    if unified && !limits.unified.is_empty() {
        all["unified"] = json!(limits.unified);
    }
    strip_nulls(&mut all);
    all
}

fn strip_nulls(value: &mut Value) {
    if let Value::Object(object) = value {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(strip_nulls);
    }
}

fn devices(security: &LinuxContainerSecurityContext, parts: &Parts<'_>) -> Value {
    if security.privileged { json!(parts.host_devices) } else { super::devices::named(&parts.config.devices) }
}

fn device_rules(security: &LinuxContainerSecurityContext, parts: &Parts<'_>) -> Value {
    if security.privileged {
        return json!([{"allow": true, "access": "rwm"}]);
    }
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend(super::devices::rules(&parts.config.devices));
    json!(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::types::Capability;

    fn own(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_come_from_the_pod_or_the_image() {
        let image = Execution { entrypoint: own(&["e"]), cmd: own(&["c"]), ..Execution::default() };
        let check = |command: &[&str], args: &[&str], expected: &[&str]| {
            let config =
                ContainerConfig { command: own(command), args: own(args), ..ContainerConfig::default() };
            assert_eq!(arguments(&config, &image), expected, "{command:?} {args:?}");
        };
        check(&[], &[], &["e", "c"]);
        check(&[], &["a"], &["e", "a"]);
        check(&["x"], &[], &["x"]);
        check(&["x"], &["a"], &["x", "a"]);
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let mine: BTreeSet<String> = ["CHOWN", "KILL", "SYS_ADMIN"].map(str::to_owned).into();
        let check = |privileged: bool, add: &[&str], drop: &[&str], expected: &[&str]| {
            let wished = Capability { add_capabilities: own(add), drop_capabilities: own(drop) };
            let security = LinuxContainerSecurityContext {
                capabilities: Some(wished),
                privileged,
                ..Default::default()
            };
            let expected: BTreeSet<String> = expected.iter().map(|name| format!("CAP_{name}")).collect();
            assert_eq!(capabilities(&security, &mine), expected, "{privileged} {add:?} {drop:?}");
        };
        check(false, &[], &[], &CAPABILITIES);
        check(false, &[], &["ALL"], &[]);
        check(false, &["net_admin"], &["all"], &["NET_ADMIN"]);
        check(false, &["CAP_NET_ADMIN"], &["ALL"], &["NET_ADMIN"]);
        check(false, &["ALL"], &["KILL"], &["CHOWN", "SYS_ADMIN"]);
        check(false, &["ALL"], &["ALL"], &["CHOWN", "KILL", "SYS_ADMIN"]);
        check(true, &[], &["ALL"], &["CHOWN", "KILL", "SYS_ADMIN"]);
    }
}
