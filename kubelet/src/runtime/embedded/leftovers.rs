//! What is left of a sandbox whose process was killed: its containers' processes, mounts and control groups.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::state::{self, Phase, Status};
use crate::runtime::types::PodSandboxConfig;
use crate::runtime::usage::cgroup_directories;

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

fn processes(directories: &[PathBuf]) -> Vec<Pid> {
    let texts = directories.iter().filter_map(|path| std::fs::read_to_string(path.join("cgroup.procs")).ok());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect()
}

/// Kills what runs in a control group, waits for its end and removes the group. Blocks.
fn end_cgroup(cgroup: &str) {
    let directories = cgroup_directories(cgroup);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = processes(&directories);
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
        }
        // Nobody is told of the end of processes that are not his children.
        std::thread::sleep(Duration::from_millis(2));
    }
    for directory in directories {
        let _ = std::fs::remove_dir(directory);
    }
}

/// Ends what a killed shim has left of its sandbox, and notes that of its containers. Blocks.
pub fn clean(directory: &Path, sandbox: &PodSandboxConfig) {
    let parent =
        sandbox.linux.as_ref().map(|linux| linux.cgroup_parent.trim_end_matches('/')).unwrap_or_default();
    let containers = std::fs::read_dir(directory.join(state::CONTAINERS)).into_iter().flatten().flatten();
    for folder in containers.map(|entry| entry.path()) {
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        end_cgroup(&format!("{parent}/{id}"));
        super::shim::userns::unmount_all(&folder);
        let _ = umount2(&folder.join("rootfs"), MntFlags::MNT_DETACH);
        let file = folder.join(state::STATUS);
        let Ok(status) = state::read_json::<Status>(&file) else { continue };
        if status.phase == Phase::Running {
            let ended = Status {
                phase: Phase::Exited,
                finished_at: state::now(),
                exit_code: 255,
                reason: "Unknown".to_owned(),
                ..status
            };
            if let Err(error) = state::write_json(&file, &ended) {
                tracing::warn!(id, %error, "end of the container not noted");
            }
        }
    }
    if let Some(id) = directory.file_name() {
        end_cgroup(&format!("{parent}/{}", id.to_string_lossy()));
    }
    let _ = umount2(&directory.join("shm"), MntFlags::MNT_DETACH);
    let _ = std::fs::remove_dir_all(directory.join(state::OCI));
}
