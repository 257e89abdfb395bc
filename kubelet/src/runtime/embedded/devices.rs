//! Devices of the host for containers.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};
use serde_json::{Value, json};

use crate::runtime::types::Device;

/// Folders and files of `/dev` that belong to each container itself.
const OWN: [&str; 9] = ["pts", "ptmx", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"];

fn describe(host: &Path, container: &str) -> Option<Value> {
    let meta = std::fs::metadata(host).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return None,
    };
    Some(json!({
        "path": container, "type": kind, "major": major(meta.rdev()), "minor": minor(meta.rdev()),
        "fileMode": meta.mode() & 0o7777, "uid": meta.uid(), "gid": meta.gid(),
    }))
}

/// The devices that a container names.
pub fn named(devices: &[Device]) -> Value {
    devices
        .iter()
        .filter_map(|device| describe(Path::new(&device.host_path), &device.container_path))
        .collect()
}

/// What the container may do with the devices that it names.
pub fn rules(devices: &[Device]) -> Vec<Value> {
    let rule = |device: &Device| {
        let known = describe(Path::new(&device.host_path), &device.container_path)?;
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        Some(json!({
            "allow": true, "type": known["type"], "major": known["major"], "minor": known["minor"], "access": access,
        }))
    };
    devices.iter().filter_map(rule).collect()
}

/// All devices of the host, for privileged containers.
pub fn of_host() -> Vec<Value> {
    let mut all = Vec::new();
    collect(Path::new("/dev"), &mut all);
    all
}

fn collect(folder: &Path, all: &mut Vec<Value>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if OWN.iter().any(|own| *own == name) {
            continue;
        }
        if kind.is_dir() {
            collect(&path, all);
        } else if !kind.is_symlink() {
            all.extend(describe(&path, &path.display().to_string()));
        }
    }
}
