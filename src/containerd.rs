//! A containerd of the cluster's own, from the host's binaries: an installed one is left alone.
use crate::cluster::Paths;
use crate::cluster::pki::write_secret;
use crate::supervisor::{Process, STOP_TIMEOUT};
use anyhow::{Context, Result};
use knarr_kubelet::runtime::PAUSE_IMAGE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

/// Name of its log and lock.
pub const NAME: &str = "containerd";

/// Writes the configuration.
///
/// `version = 2` is what containerd 1.3 to 1.7 write and 2.x still reads. `restrict_oom_score_adj` lets pods
/// start where the host denies scores below its own (containers in containers, some CI runners).
pub fn write_config(paths: &Paths) -> Result<()> {
    let show = |path: PathBuf| toml_string(&path.display().to_string());
    let text = format!(
        r#"version = 2
root = {root}
state = {state}
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = {socket}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {bin}
    conf_dir = {conf}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"#,
        root = show(paths.containerd()),
        state = show(paths.run().join("containerd")),
        socket = show(paths.containerd_socket()),
        bin = show(paths.cni("bin")),
        conf = show(paths.cni("conf")),
    );
    write_secret(&config_file(paths), text.as_bytes()).context("cannot configure containerd")
}

/// Its configuration file.
pub fn config_file(paths: &Paths) -> PathBuf {
    paths.root().join("containerd.toml")
}

/// Kills what an ended containerd has left running: if it was making or removing a sandbox, nobody knows of that
/// sandbox's shim any more. A shim is known by the socket that it reports to, a container's first process by its shim.
pub async fn end_shims(paths: &Paths) -> Result<()> {
    let socket = paths.containerd_socket();
    let processes = processes()?;
    let shims: Vec<i32> = processes.iter().filter(|pid| reports_to(**pid, &socket)).copied().collect();
    let children = processes.iter().filter(|pid| parent(**pid).is_some_and(|parent| shims.contains(&parent)));
    // The children are found before the first one loses its parent.
    let left: Vec<i32> = children.chain(&shims).copied().collect();
    for pid in left {
        // Who ended meanwhile cannot be watched.
        let Ok(mut process) = Process::adopt(u32::try_from(pid)?) else { continue };
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        tokio::time::timeout(STOP_TIMEOUT, process.wait())
            .await
            .with_context(|| format!("process {pid} of a container does not end"))?;
    }
    Ok(())
}

/// Ids of all processes.
fn processes() -> Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc").context("cannot list processes")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Whether the process is a shim of the containerd at `socket`.
fn reports_to(pid: i32, socket: &Path) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    let address = socket.as_os_str().as_encoded_bytes();
    arguments.windows(2).any(|pair| pair[0] == b"-address" && pair[1] == address)
}

/// Parent of a process.
fn parent(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses and may hold anything.
    text.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// A TOML basic string.
fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A process that looks like a shim, and the pid of its child.
    fn shim(paths: &Paths) -> (Child, i32) {
        let mut command = Command::new("sh");
        // It outlives its child, so that it has to be ended itself.
        let script = "sleep 600 & echo $!; wait; exec sleep 600";
        command.args(["-c", script, "shim", "-id", "x", "-address"]);
        let mut shim = command.arg(paths.containerd_socket()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (shim, line.trim().parse().unwrap())
    }

    #[tokio::test]
    async fn forgotten_shims_are_ended_with_their_children() {
        let folder = tempfile::tempdir().unwrap();
        let paths = |name| Paths::new(folder.path(), &format!("{name}-{}", std::process::id()));
        let (ours, others) = (paths("ours"), paths("others"));
        let ((mut shim_of_ours, child), (mut shim_of_others, _)) = (shim(&ours), shim(&others));
        assert_eq!(parent(child), i32::try_from(shim_of_ours.id()).ok());
        end_shims(&ours).await.unwrap();
        assert!(!shim_of_ours.wait().unwrap().success());
        let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
        assert_eq!(shim_of_others.try_wait().unwrap(), None);
        end_shims(&others).await.unwrap();
    }
}
