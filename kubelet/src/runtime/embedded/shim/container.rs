//! A container of the shim's sandbox: from its files to a running process and back to nothing.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::container::Container as Oci;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::mount::{MntFlags, umount2};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::executor::{FOR_FILTER, Program};
use super::propagation;
use super::seccomp::Filter;
use super::userns::{self, Entry, Users};
use crate::runtime::embedded::cdi::{self, Registry};
use crate::runtime::embedded::spec::{self, Parts, Processes};
use crate::runtime::embedded::state::{self, Launch};
use crate::runtime::embedded::store::{Execution, mount_layers, mount_overlay};
use crate::runtime::embedded::users::{Database, Identity};
use crate::runtime::embedded::{devices, state::OCI};
use crate::runtime::types::{
    ContainerConfig, LinuxContainerSecurityContext, Mount, NamespaceMode, PodSandboxConfig, ProfileType,
    SecurityProfile,
};

/// Where the kernel shows control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The standard streams of a process.
#[derive(Default)]
pub struct Stdio {
    /// What it reads.
    pub stdin: Option<OwnedFd>,
    /// What it writes.
    pub stdout: Option<OwnedFd>,
    /// What it writes about errors.
    pub stderr: Option<OwnedFd>,
    /// Where the terminal's descriptor is sent to, instead.
    pub console: Option<PathBuf>,
}

impl Stdio {
    /// Gives the pipes among them to a user, who may then open them by their names in `/dev` too.
    fn owned_by(self, (user, group): (u32, u32)) -> io::Result<Self> {
        use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
        for stream in [&self.stdin, &self.stdout, &self.stderr].into_iter().flatten() {
            if FileType::from_raw_mode(fstat(stream)?.st_mode) == FileType::Fifo {
                fchown(stream, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
            }
        }
        Ok(self)
    }
}

/// A started container.
pub struct Started {
    /// Its first process.
    pub pid: Pid,
    /// How commands are run in it.
    pub program: Program,
    /// The specification of its process.
    pub process: Value,
    /// Who that process begins as.
    pub identity: Identity,
    /// User and group of that process as the host sees them.
    user: (u32, u32),
    /// How readily the kernel kills it for memory.
    oom_score_adj: i64,
}

/// The files of one container.
pub struct Files<'a> {
    /// Directory of the sandbox.
    pub sandbox: &'a Path,
    /// The container's id.
    pub id: &'a str,
}

impl Files<'_> {
    /// The container's directory.
    pub fn folder(&self) -> PathBuf {
        self.sandbox.join(state::CONTAINERS).join(self.id)
    }

    fn oci(&self) -> PathBuf {
        self.sandbox.join(OCI)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An error of the OCI runtime with its causes, which say more than it does itself.
pub fn oci_text(error: &LibcontainerError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// Makes the container's root and its first process, and lets it run.
pub fn start(
    files: &Files<'_>,
    sandbox: &PodSandboxConfig,
    config: &ContainerConfig,
    processes: Processes,
    users: Option<&Users>,
    stdio: Stdio,
) -> Result<Started, String> {
    let folder = files.folder();
    let launch: Launch = state::read_json(&folder.join(state::LAUNCH)).map_err(text)?;
    let layers = mount_root(&folder, &launch, users)
        .map_err(|error| format!("failed to mount the root file system: {error}"))?;
    let rootfs = folder.join("rootfs");
    let root = pathrs::Root::open(&rootfs).map_err(text)?;
    let database = Database { passwd: read(&root, "etc/passwd"), group: read(&root, "etc/group") };
    let security = spec::security(config);
    let identity = database.identity(&security, &launch.execution.user)?;
    make_sources(config)?;
    let mut config = config.clone();
    let own_files = files.sandbox.display().to_string();
    config.mounts.extend(spec::own_files(&config, &own_files));
    let (mut volumes, plain): (Vec<Mount>, Vec<Mount>) =
        std::mem::take(&mut config.mounts).into_iter().partition(|mount| mount.image.is_some());
    config.mounts = plain;
    mount_volumes(&folder, &launch, &layers, &mut volumes)?;
    if let Some(users) = users {
        // Devices cannot be made by these users.
        let devices = config.devices.iter().filter(|device| device.container_path != device.host_path);
        let plain = devices.map(|device| Mount {
            container_path: device.container_path.clone(),
            host_path: device.host_path.clone(),
            ..Mount::default()
        });
        let plain: Vec<Mount> = plain.collect();
        config.devices.retain(|device| device.container_path == device.host_path);
        users.mount_all(&folder, &mut config.mounts).map_err(text)?;
        config.mounts.extend(plain);
    }
    config.mounts.append(&mut volumes);
    config.mounts.extend(image_volumes(&root, &launch.execution, &config.mounts, users)?);
    let config = &config;
    let own_capabilities = own_capabilities();
    let parts = Parts {
        id: files.id,
        config,
        sandbox,
        image: &launch.execution,
        identity: &identity,
        processes,
        users: users.map(Users::path),
        unified: unified(),
        own_capabilities: &own_capabilities,
        host_devices: if security.privileged { devices::of_host() } else { Vec::new() },
    };
    let mut specification = spec::container(&parts)?;
    if !config.cdi_devices.is_empty() {
        Registry::read(&cdi::FOLDERS).inject(&mut specification, &config.cdi_devices)?;
    }
    let directory =
        specification["process"]["cwd"].as_str().unwrap_or("/").trim_start_matches('/').to_owned();
    if !directory.is_empty() {
        make_folder(&root, &directory, users)
            .map_err(|error| format!("working directory {directory:?}: {error}"))?;
    }
    let program = program(config, &mut specification["process"])?;
    let process = specification["process"].clone();
    state::write_json(&folder.join("config.json"), &specification).map_err(text)?;
    let adjustment = config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    let adjustment = adjustment.map(|resources| resources.oom_score_adj).unwrap_or_default();
    let user = (
        users.map_or(0, |users| users.root) + identity.uid,
        users.map_or(0, |users| users.root_group) + identity.gid,
    );
    let stdio = stdio.owned_by(user).map_err(text)?;
    let mut container = with_oom_score(adjustment, || {
        let builder = builder(files, stdio, &program).map_err(|error| oci_text(&error))?;
        let builder = builder.as_init(&folder).with_systemd(false).with_detach(true);
        builder.build().map_err(|error| oci_text(&error))
    })?;
    container.start().map_err(|error| oci_text(&error))?;
    // It has its own by now.
    userns::unmount_all(&folder);
    let pid = container.pid().ok_or("the container has no process")?;
    let pid = Pid::from_raw(pid.as_raw());
    Ok(Started { pid, program, process, identity, user, oom_score_adj: adjustment })
}

/// Runs a command in a container.
pub fn exec(
    files: &Files<'_>,
    started: &Started,
    args: &[String],
    tty: bool,
    users: Option<&Users>,
    stdio: Stdio,
) -> Result<Pid, String> {
    let mut process = started.process.clone();
    let mut program = started.program.clone();
    program.entry = users.map(|users| Entry::take(users, &mut process));
    process["args"] = json!(args);
    process["terminal"] = json!(tty);
    if tty
        && let Some(variables) = process["env"].as_array_mut()
        && !variables.iter().any(|one| one.as_str().is_some_and(|one| one.starts_with("TERM=")))
    {
        variables.push(json!("TERM=xterm"));
    }
    let mut file = tempfile::NamedTempFile::new_in(files.folder()).map_err(text)?;
    file.write_all(process.to_string().as_bytes()).map_err(text)?;
    let stdio = stdio.owned_by(started.user).map_err(text)?;
    let pid = with_oom_score(started.oom_score_adj, || {
        let builder = builder(files, stdio, &program).map_err(|error| oci_text(&error))?;
        let tenant = builder.as_tenant().with_process(Some(file.path())).with_detach(true);
        tenant.build().map_err(|error| oci_text(&error))
    })?;
    Ok(Pid::from_raw(pid.as_raw()))
}

fn builder(
    files: &Files<'_>,
    stdio: Stdio,
    program: &Program,
) -> Result<ContainerBuilder, LibcontainerError> {
    let mut builder = ContainerBuilder::new(files.id.to_owned(), SyscallType::default())
        .with_root_path(files.oci())?
        .with_executor(program.clone())
        .with_console_socket(stdio.console.clone());
    builder.stdin = stdio.stdin;
    builder.stdout = stdio.stdout;
    builder.stderr = stdio.stderr;
    Ok(builder)
}

/// The filter of the node's profile that a container asks for.
pub fn chosen_filter(security: &LinuxContainerSecurityContext) -> Result<Option<Filter>, String> {
    let is_chosen = |profile: &&SecurityProfile| {
        !security.privileged && profile.profile_type == ProfileType::Localhost as i32
    };
    let chosen = security.seccomp.as_ref().filter(is_chosen);
    chosen.map(|profile| Filter::of_file(Path::new(&profile.localhost_ref))).transpose()
}

/// The filter of a container, and what its process must keep until that is set.
fn program(config: &ContainerConfig, process: &mut Value) -> Result<Program, String> {
    let security = spec::security(config);
    let profile = security.seccomp.clone().unwrap_or_default();
    let unconfined = security.seccomp.is_none() || profile.profile_type == ProfileType::Unconfined as i32;
    if security.privileged || unconfined {
        return Ok(Program::default());
    }
    let keep: Vec<String> =
        serde_json::from_value(process["capabilities"]["bounding"].clone()).map_err(text)?;
    let filter = match chosen_filter(&security)? {
        Some(filter) => Some(filter),
        None => Some(Filter::runtime_default(&keep.iter().cloned().collect())?),
    };
    if security.no_new_privs {
        return Ok(Program { filter, ..Program::default() });
    }
    let until_then: BTreeSet<&str> = keep.iter().map(String::as_str).chain(FOR_FILTER).collect();
    for set in ["bounding", "effective", "permitted"] {
        process["capabilities"][set] = json!(until_then);
    }
    Ok(Program { filter, keep: Some(keep), entry: None })
}

/// Mounts the images that are volumes below the container's folder, and changes the mounts to where they are.
fn mount_volumes(folder: &Path, launch: &Launch, layers: &Path, mounts: &mut [Mount]) -> Result<(), String> {
    for (index, mount) in mounts.iter_mut().enumerate() {
        let image = mount.image.clone().unwrap_or_default().image;
        let of_image =
            launch.volumes.get(&image).ok_or_else(|| format!("image {image:?} was not prepared"))?;
        let (target, empty) = (folder.join(userns::IMAGES).join(index.to_string()), folder.join("empty"));
        let mounted = || {
            std::fs::create_dir_all(&target)?;
            std::fs::create_dir_all(&empty)?;
            within(layers, || mount_layers(of_image, &empty, &target))
        };
        mounted().map_err(|error| format!("failed to mount image {image:?}: {error}"))?;
        mount.host_path = part_of_image(&target, mount)?.display().to_string();
    }
    Ok(())
}

/// Where the part that a volume shows of the image mounted at `target` is.
pub fn part_of_image(target: &Path, mount: &Mount) -> Result<PathBuf, String> {
    let image = mount.image.clone().unwrap_or_default().image;
    let missing = |error: pathrs::error::Error| {
        format!("failed to mount image {image:?}: subPath {:?}: {error}", mount.image_sub_path)
    };
    let root = pathrs::Root::open(target).map_err(missing)?;
    let sub = Some(mount.image_sub_path.trim_matches('/')).filter(|sub| !sub.is_empty()).unwrap_or(".");
    let part = root.resolve(sub).map_err(missing)?;
    std::fs::read_link(format!("/proc/self/fd/{}", part.as_fd().as_raw_fd())).map_err(text)
}

/// Does something where names relative to a folder are short.
fn within<T>(folder: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = std::env::current_dir()?;
    std::env::set_current_dir(folder)?;
    let done = work();
    std::env::set_current_dir(before)?;
    done
}

/// Mounts the container's root; answers the folder of layers as the container's users see it.
fn mount_root(folder: &Path, launch: &Launch, users: Option<&Users>) -> io::Result<PathBuf> {
    let (upper, work, rootfs) = (folder.join("upper"), folder.join("work"), folder.join("rootfs"));
    for path in [&upper, &work, &rootfs] {
        std::fs::create_dir_all(path)?;
    }
    let mut layers = launch.layers_dir.clone();
    if let Some(users) = users {
        layers = users.mount_layers(folder, &layers)?;
        users.own(&upper)?;
    }
    within(&layers, || mount_overlay(&launch.layers, &upper, &work, &rootfs))?;
    Ok(layers)
}

fn read(root: &pathrs::Root, path: &str) -> String {
    let file = root.open_subpath(path, pathrs::flags::OpenFlags::O_RDONLY);
    file.ok().and_then(|file| io::read_to_string(file).ok()).unwrap_or_default()
}

/// The folders that an image names for data, without those that the pod mounts itself. Each is its own folder of the
/// container's root once more, which stays writable where the root is not, and goes with the container.
fn image_volumes(
    root: &pathrs::Root,
    image: &Execution,
    mounts: &[Mount],
    users: Option<&Users>,
) -> Result<Vec<Mount>, String> {
    let plain = |path: &str| path.trim_matches('/').to_owned();
    let free = |path: &&String| mounts.iter().all(|mount| plain(&mount.container_path) != plain(path));
    let volume = |path: &String| {
        let folder = make_folder(root, &plain(path), users)?;
        let host_path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd()));
        let host_path = host_path.map_err(text)?.display().to_string();
        Ok(Mount { container_path: path.clone(), host_path, ..Mount::default() })
    };
    let named = image.volumes.keys().filter(|path| !plain(path).is_empty()).filter(free);
    named
        .map(|path| volume(path).map_err(|error: String| format!("volume {path:?} of the image: {error}")))
        .collect()
}

/// A folder of the container's root, made where it is missing; it belongs to the container's root then.
fn make_folder(root: &pathrs::Root, path: &str, users: Option<&Users>) -> Result<OwnedFd, String> {
    let mode = Permissions::from_mode(0o755);
    if let Some(users) = users {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let part = &path[..end];
            if root.resolve(part).is_err() {
                let made = root.mkdir_all(part, &mode).map_err(text)?;
                users.own(Path::new(&format!("/proc/self/fd/{}", made.as_fd().as_raw_fd()))).map_err(text)?;
            }
        }
    }
    root.mkdir_all(path, &mode).map(OwnedFd::from).map_err(text)
}

/// Makes folders of the host that are to be mounted but are not there, and checks how mounts travel.
fn make_sources(config: &ContainerConfig) -> Result<(), String> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
    for mount in &config.mounts {
        if !Path::new(&mount.host_path).exists() {
            std::fs::create_dir_all(&mount.host_path)
                .map_err(|error| format!("{}: {error}", mount.host_path))?;
        }
        propagation::check(&mountinfo, mount)?;
    }
    Ok(())
}

/// Capabilities of this process, without `CAP_`.
fn own_capabilities() -> BTreeSet<String> {
    let own = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
    own.iter().map(|capability| capability.to_string().trim_start_matches("CAP_").to_owned()).collect()
}

/// Whether the machine has one tree of control groups.
pub fn unified() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").exists()
}

/// Does something with another badness in this process, so that children inherit it.
fn with_oom_score<T>(adjustment: i64, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let before = std::fs::read_to_string(FILE).unwrap_or_default();
    if let Err(error) = std::fs::write(FILE, adjustment.to_string()) {
        // Machines within machines refuse lower values than their own.
        tracing::warn!(adjustment, %error, "badness not set");
    }
    let result = work();
    if let Err(error) = std::fs::write(FILE, before.trim()) {
        tracing::warn!(%error, "badness not reset");
    }
    result
}

/// How often the kernel has killed a process of the container for memory.
pub fn oom_kills(sandbox: &PodSandboxConfig, id: &str) -> u64 {
    let parent = sandbox.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default();
    let relative = Path::new(parent.trim_start_matches('/')).join(id);
    let (mount, file) = if unified() {
        (CGROUPS.to_owned(), "memory.events")
    } else {
        (format!("{CGROUPS}/memory"), "memory.oom_control")
    };
    let text = std::fs::read_to_string(Path::new(&mount).join(relative).join(file)).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or_default()
}

/// Changes the limits of a running container.
pub fn update(files: &Files<'_>, resources: Value) -> Result<(), String> {
    let resources: libcontainer::oci_spec::runtime::LinuxResources =
        serde_json::from_value(resources).map_err(text)?;
    let container = Oci::load(files.oci().join(files.id)).map_err(|error| oci_text(&error))?;
    let manager = libcgroups::common::create_cgroup_manager(libcgroups::common::CgroupConfig {
        cgroup_path: container.spec().map_err(|error| oci_text(&error))?.cgroup_path,
        systemd_cgroup: false,
        container_name: files.id.to_owned(),
    });
    let options = libcgroups::common::ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    libcgroups::common::CgroupManager::apply(&manager.map_err(text)?, &options).map_err(text)
}

/// Sends a signal to all processes of a container.
pub fn signal_all(files: &Files<'_>, signal: i32) -> Result<(), String> {
    let mut container = Oci::load(files.oci().join(files.id)).map_err(|error| oci_text(&error))?;
    let signal = libcontainer::signal::Signal::try_from(signal).map_err(text)?;
    container.kill(signal, true).map_err(|error| oci_text(&error))
}

/// Removes what the OCI runtime and the kernel have of a container; its files stay.
pub fn clean(files: &Files<'_>) {
    let folder = files.oci().join(files.id);
    if folder.exists() {
        let deleted = Oci::load(folder).and_then(|mut container| container.delete(true));
        if let Err(error) = deleted {
            tracing::warn!(id = files.id, error = oci_text(&error), "container not deleted");
        }
    }
    userns::unmount_all(&files.folder());
    let _ = umount2(&files.folder().join("rootfs"), MntFlags::MNT_DETACH);
}

/// A container's own processes, the pod's, the host's, or another container's.
pub fn namespace_mode(config: &ContainerConfig) -> (NamespaceMode, String) {
    let options = spec::security(config).namespace_options.unwrap_or_default();
    (options.pid(), options.target_id)
}

/// `/dev/null` for reading or writing.
pub fn null(write: bool) -> io::Result<OwnedFd> {
    Ok(File::options().read(!write).write(write).open("/dev/null")?.into())
}
