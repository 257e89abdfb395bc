//! A containerd of the cluster's own, from the host's binaries: an installed one is left alone.
use crate::cluster::Paths;
use crate::cluster::pki::write_secret;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Name of its log and lock.
pub const NAME: &str = "containerd";

/// The image that holds a pod's namespaces; it is built into the program and never pulled.
pub const PAUSE_IMAGE: &str = "knarr.invalid/pause:1";

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

/// A TOML basic string.
fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
