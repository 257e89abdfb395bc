//! The process that holds namespaces of a pod: the process namespace that its containers share, and those of a pod
//! with users of its own.

use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::userns;
use crate::runtime::embedded::state;
use crate::runtime::types::{PodSandboxConfig, UserNamespace};

/// The program that `build.rs` compiled from `pause/pause.rs`.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// The users of the process.
pub enum Owner<'a> {
    /// The host's.
    Host,
    /// New ones; then network, IPC and host name are new too.
    New(&'a UserNamespace),
    /// Those of a namespace, by its path.
    Of(String),
}

/// The part of the specification that says which namespaces there are.
fn namespaces(owner: &Owner<'_>, sandbox: &PodSandboxConfig) -> Value {
    let mut list = vec![json!({"type": "mount"}), json!({"type": "pid"})];
    let mut linux = json!({});
    match owner {
        Owner::Host => {}
        Owner::Of(path) => list.push(json!({"type": "user", "path": path})),
        Owner::New(wanted) => {
            list.extend(["user", "network", "ipc", "uts"].map(|kind| json!({"type": kind})));
            linux["uidMappings"] = userns::mappings(&wanted.uids);
            linux["gidMappings"] = userns::mappings(&wanted.gids);
            // Some belong to the users, so that the host's root may not set them.
            linux["sysctl"] = json!(sandbox.linux.as_ref().map(|linux| &linux.sysctls));
        }
    }
    linux["namespaces"] = json!(list);
    linux
}

/// Starts it for the sandbox in a directory; answers its id on the host.
pub fn start(directory: &Path, sandbox: &PodSandboxConfig, owner: &Owner<'_>) -> Result<Pid, String> {
    let text = |error: std::io::Error| error.to_string();
    let folder = directory.join(state::PAUSE);
    let rootfs = folder.join("rootfs");
    for point in ["proc", "dev"] {
        std::fs::create_dir_all(rootfs.join(point)).map_err(text)?;
    }
    std::fs::write(rootfs.join("pause"), PROGRAM).map_err(text)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(rootfs.join("pause"), mode).map_err(text)?;
    let cgroup = sandbox.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default();
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let mut linux = namespaces(owner, sandbox);
    linux["cgroupsPath"] = json!(format!("{}/{name}", cgroup.trim_end_matches('/')));
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 65535, "gid": 65535}, "args": ["/pause"], "env": ["PATH=/"], "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        ],
        "linux": linux,
    });
    state::write_json(&folder.join("config.json"), &spec).map_err(text)?;
    let build = || {
        let builder = ContainerBuilder::new(state::PAUSE.to_owned(), SyscallType::default());
        let builder = builder.with_root_path(directory.join(state::OCI))?.as_init(&folder);
        let mut container = builder.with_systemd(false).with_detach(true).build()?;
        container.start()?;
        Ok::<_, libcontainer::error::LibcontainerError>(container.pid())
    };
    let pid = build().map_err(|error| super::container::oci_text(&error))?;
    let pid = pid.ok_or("the pause container has no process")?;
    Ok(Pid::from_raw(pid.as_raw()))
}
