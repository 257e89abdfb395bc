//! The process that holds the process namespace of a pod whose containers share one.

use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::unistd::Pid;
use serde_json::json;

use crate::runtime::embedded::state;

/// The program that `build.rs` compiled from `pause/pause.rs`.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// Starts it; answers its id on the host.
pub fn start(sandbox: &Path, cgroup: &str) -> Result<Pid, String> {
    let text = |error: std::io::Error| error.to_string();
    let folder = sandbox.join(state::PAUSE);
    let rootfs = folder.join("rootfs");
    std::fs::create_dir_all(rootfs.join("proc")).map_err(text)?;
    std::fs::write(rootfs.join("pause"), PROGRAM).map_err(text)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(rootfs.join("pause"), mode).map_err(text)?;
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
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}],
            "cgroupsPath": format!("{}/{}", cgroup.trim_end_matches('/'), sandbox.file_name().unwrap_or_default().to_string_lossy()),
        },
    });
    state::write_json(&folder.join("config.json"), &spec).map_err(text)?;
    let build = || {
        let builder = ContainerBuilder::new(state::PAUSE.to_owned(), SyscallType::default());
        let builder = builder.with_root_path(sandbox.join(state::OCI))?.as_init(&folder);
        let mut container = builder.with_systemd(false).with_detach(true).build()?;
        container.start()?;
        Ok::<_, libcontainer::error::LibcontainerError>(container.pid())
    };
    let pid = build().map_err(|error| error.to_string())?.ok_or("the pause container has no process")?;
    Ok(Pid::from_raw(pid.as_raw()))
}
