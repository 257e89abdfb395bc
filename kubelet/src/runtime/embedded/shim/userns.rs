//! Users of a pod's own: its user namespace, and files of the host as they are seen from it.
//!
//! A pause program makes the namespaces, so that the pod's network, IPC and host name belong to its users; the shim
//! joins the latter and stays the host's root itself. The OCI runtime sets a container up as the pod's root, who may
//! look at nothing of the host's that is not everybody's: what a container needs is mounted below its own folder
//! first, with its owners mapped, and taken away there once the container has it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caps::{CapSet, CapsHashSet};
use libcontainer::syscall::Syscall;
use libcontainer::syscall::linux::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, MountAttr,
};
use libcontainer::syscall::syscall::SyscallType;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::runtime::types::{IdMapping, Mount, NamespaceMode, PodSandboxConfig, UserNamespace};

/// Folder of a container in which the host's files are mounted for it.
pub const MOUNTS: &str = "mounts";
/// Folder of a container in which images that are volumes are mounted for it.
pub const IMAGES: &str = "images";
/// Folder of a container in which the image's layers are mounted for it.
const LAYERS: &str = "layers";
/// Bits of `mount_setattr(2)` and `open_tree(2)`.
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = nix::libc::O_CLOEXEC as u32;

/// The user namespace of a pod.
pub struct Users {
    namespace: Arc<OwnedFd>,
    /// The user that is root in the pod.
    pub root: u32,
    /// The group likewise.
    pub root_group: u32,
}

/// What a pod says about its users, if they are its own.
pub fn wanted(sandbox: &PodSandboxConfig) -> Option<UserNamespace> {
    let security = sandbox.linux.as_ref()?.security_context.as_ref()?;
    let wanted = security.namespace_options.as_ref()?.userns_options.clone()?;
    (wanted.mode() == NamespaceMode::Pod).then_some(wanted)
}

/// Mappings as the OCI runtime takes them.
pub fn mappings(of: &[IdMapping]) -> Value {
    of.iter()
        .map(|one| json!({"containerID": one.container_id, "hostID": one.host_id, "size": one.length}))
        .collect()
}

fn root(of: &[IdMapping]) -> io::Result<u32> {
    let root = of.iter().find(|one| one.container_id == 0).map(|one| one.host_id);
    root.ok_or_else(|| io::Error::other("the user namespace has no root"))
}

impl Users {
    /// Takes the namespaces of the process that was started in them; joins those that the pod's containers share.
    pub fn join(pid: Pid, wanted: &UserNamespace) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
        let shared = [
            ("net", CloneFlags::CLONE_NEWNET),
            ("ipc", CloneFlags::CLONE_NEWIPC),
            ("uts", CloneFlags::CLONE_NEWUTS),
        ];
        for (kind, flag) in shared {
            setns(open(kind)?, flag)?;
        }
        let (root, root_group) = (root(&wanted.uids)?, root(&wanted.gids)?);
        Ok(Self { namespace: Arc::new(open("user")?.into()), root, root_group })
    }

    /// The namespace's path for other processes of the host.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// Gives a file of the host to the pod's root.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.root), Some(self.root_group))
    }

    /// Mounts `source` once more at `target`, as the pod's users see it.
    fn mount(&self, source: &Path, target: &Path, recursive: bool) -> io::Result<()> {
        let system = SyscallType::Linux.create_syscall();
        let text = source.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let mapped = mapped(system.as_ref(), &self.namespace, text, recursive);
        let tree =
            mapped.map_err(|error| io::Error::other(format!("cannot map the owners of {text}: {error}")))?;
        let target: OwnedFd = rustix::fs::open(
            target,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
        system.move_mount(tree.as_fd(), None, target.as_fd(), None, flags).map_err(io::Error::other)
    }

    /// Mounts the folder of layers for a container; answers where.
    pub fn mount_layers(&self, container: &Path, layers: &Path) -> io::Result<PathBuf> {
        let target = container.join(LAYERS);
        std::fs::create_dir_all(&target)?;
        self.mount(layers, &target, false)?;
        Ok(target)
    }

    /// Mounts what a container is to see of the host, and changes the mounts to where it is now.
    pub fn mount_all(&self, container: &Path, mounts: &mut [Mount]) -> io::Result<()> {
        for (index, mount) in mounts.iter_mut().enumerate() {
            let source = std::fs::canonicalize(&mount.host_path)?;
            let target = container.join(MOUNTS).join(index.to_string());
            if source.is_dir() {
                std::fs::create_dir_all(&target)?;
            } else {
                std::fs::create_dir_all(container.join(MOUNTS))?;
                File::create(&target)?;
            }
            self.mount(&source, &target, true)?;
            mount.host_path = target.display().to_string();
        }
        Ok(())
    }
}

fn mapped(
    system: &dyn Syscall,
    namespace: &OwnedFd,
    source: &str,
    recursive: bool,
) -> Result<OwnedFd, libcontainer::syscall::SyscallError> {
    let depth = if recursive { AT_RECURSIVE } else { 0 };
    let tree =
        system.open_tree(nix::libc::AT_FDCWD, Some(source), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | depth)?;
    let userns_fd = u64::from(namespace.as_raw_fd().unsigned_abs());
    let attributes = MountAttr { attr_set: MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    // What is mounted deeper is left as it is: not every file system can be mapped.
    system.mount_setattr(tree.as_fd(), Path::new(""), AT_EMPTY_PATH, &attributes, size_of::<MountAttr>())?;
    Ok(tree)
}

/// How a command becomes one of the pod's users: from the host's root, with the container's other namespaces.
#[derive(Debug, Clone)]
pub struct Entry {
    namespace: Arc<OwnedFd>,
    /// The user as the host sees it.
    owner: u32,
    user: u32,
    group: u32,
    groups: Vec<u32>,
    capabilities: Vec<String>,
}

impl Entry {
    /// Takes user and capabilities out of a process's specification: it keeps what is needed to join the namespace.
    pub fn take(users: &Users, process: &mut Value) -> Self {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let user = process["user"].take();
        let capabilities = list(&process["capabilities"]["bounding"]);
        process["user"] = json!({"uid": 0, "gid": 0});
        for set in ["bounding", "effective", "permitted"] {
            process["capabilities"][set] = json!(["CAP_CHOWN"]);
        }
        Self {
            namespace: Arc::clone(&users.namespace),
            owner: users.root + id(&user["uid"]),
            user: id(&user["uid"]),
            group: id(&user["gid"]),
            groups: list(&user["additionalGids"]).iter().map(id).collect(),
            capabilities: capabilities.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        }
    }

    /// Joins the namespace as the user.
    pub fn join(&self) -> io::Result<()> {
        use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
        if rustix::termios::isatty(io::stdin()) {
            rustix::fs::fchown(io::stdin(), Some(rustix::fs::Uid::from_raw(self.owner)), None)?;
        }
        // The host's root made the namespace, and so may enter it without any capability.
        setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWUSER)?;
        let keep: CapsHashSet = self.capabilities.iter().filter_map(|name| name.parse().ok()).collect();
        for capability in caps::read(None, CapSet::Bounding).map_err(io::Error::other)?.difference(&keep) {
            caps::drop(None, CapSet::Bounding, *capability).map_err(io::Error::other)?;
        }
        nix::sys::prctl::set_keepcaps(true)?;
        setgroups(&self.groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>())?;
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
        nix::sys::prctl::set_keepcaps(false)?;
        caps::set(None, CapSet::Effective, &keep).map_err(io::Error::other)?;
        caps::set(None, CapSet::Permitted, &keep).map_err(io::Error::other)
    }
}

/// Takes away what is mounted below a container's folder. Removing the folder would remove what lies there, too.
pub fn unmount_all(container: &Path) {
    for folder in [MOUNTS, IMAGES] {
        for entry in std::fs::read_dir(container.join(folder)).into_iter().flatten().flatten() {
            let _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
        }
    }
    // Not there if the container never came so far.
    let _ = umount2(&container.join(LAYERS), MntFlags::MNT_DETACH);
}

/// Whether anybody may search the folders that lead to a path, as the root of a pod must.
pub fn check_reachable(path: &Path) -> Result<(), String> {
    for folder in path.ancestors().filter(|folder| folder.is_absolute()) {
        let mode = std::fs::metadata(folder).map_or(0, |meta| meta.mode());
        if mode & 0o001 == 0 {
            return Err(format!(
                "{} may not be searched by others (mode {:o})",
                folder.display(),
                mode & 0o7777
            ));
        }
    }
    Ok(())
}

/// Why pods cannot have users of their own in sandboxes below this folder.
pub fn obstacle(sandboxes: &Path) -> Option<String> {
    let most = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if most.trim().parse::<u64>().unwrap_or_default() == 0 {
        return Some("the kernel allows no user namespaces".to_owned());
    }
    // Names of sandboxes are not to be listed by those who may search.
    let _ = std::fs::set_permissions(sandboxes, PermissionsExt::from_mode(0o711));
    check_reachable(sandboxes).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_must_be_open() {
        let dir = tempfile::tempdir().expect("folder");
        let (closed, inner) = (dir.path().join("closed"), dir.path().join("closed/inner"));
        std::fs::create_dir_all(&inner).expect("folders");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode")
        };
        mode(dir.path(), 0o711);
        mode(&closed, 0o710);
        mode(&inner, 0o755);
        let error = check_reachable(&inner).expect_err("closed");
        assert_eq!(error, format!("{} may not be searched by others (mode 710)", closed.display()));
        mode(&closed, 0o711);
        assert_eq!(check_reachable(&inner), Ok(()));
    }
}
