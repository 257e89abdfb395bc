//! Devices that files of the host describe: what a container's specification must have for them.
//!
//! Source: Container Device Interface, `SPEC.md`. Not applied: resource control (`intelRdt`) and network devices; a
//! device that asks for those is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::runtime::types::CdiDevice;

/// Where the files are; what a later folder says of a device counts.
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

#[derive(Debug, Deserialize)]
struct File {
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(rename = "containerEdits", default)]
    edits: Edits,
}

#[derive(Debug, Deserialize)]
struct Device {
    name: String,
    #[serde(rename = "containerEdits", default)]
    edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
    #[serde(rename = "additionalGids")]
    groups: Vec<u32>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    r#type: String,
    major: Option<u64>,
    minor: Option<u64>,
    file_mode: Option<u32>,
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    host_path: String,
    container_path: String,
    options: Vec<String>,
    r#type: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hook {
    hook_name: String,
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

/// All devices that the folders describe, by their full names: the edits of the file, and those of the device.
#[derive(Debug, Default)]
pub struct Registry(BTreeMap<String, (Edits, Edits)>);

impl Registry {
    /// Reads the folders; a file that cannot be read is left out.
    pub fn read(folders: &[&str]) -> Self {
        let mut all = Self::default();
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            let is_description =
                |path: &Path| path.extension().is_some_and(|end| end == "json" || end == "yaml");
            for path in paths.iter().filter(|path| is_description(path)) {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                match serde_yaml_ng::from_str(&text) {
                    Ok(file) => all.add(file),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "description of devices not read")
                    }
                }
            }
        }
        all
    }

    fn add(&mut self, file: File) {
        for device in file.devices {
            self.0.insert(format!("{}={}", file.kind, device.name), (file.edits.clone(), device.edits));
        }
    }

    /// Whether all of a container's devices are described.
    pub fn check(&self, devices: &[CdiDevice]) -> Result<(), String> {
        let missing: Vec<&str> = devices
            .iter()
            .map(|device| device.name.as_str())
            .filter(|name| !self.0.contains_key(*name))
            .collect();
        match missing.as_slice() {
            [] => Ok(()),
            names => {
                Err(format!("CDI device injection failed: unresolvable CDI devices {}", names.join(", ")))
            }
        }
    }

    /// Adds what the devices need to a container's specification.
    pub fn inject(&self, spec: &mut Value, devices: &[CdiDevice]) -> Result<(), String> {
        self.check(devices)?;
        let mut files: Vec<&str> = Vec::new();
        for device in devices {
            let (of_file, own) = &self.0[&device.name];
            let kind = device.name.split('=').next().unwrap_or_default();
            if !files.contains(&kind) {
                files.push(kind);
                apply(spec, of_file)?;
            }
            apply(spec, own)?;
        }
        Ok(())
    }
}

/// The list at a path of the specification, made if it is not there.
fn list<'a>(spec: &'a mut Value, path: &[&str]) -> &'a mut Vec<Value> {
    let place = path.iter().fold(spec, |value, name| &mut value[*name]);
    if !place.is_array() {
        *place = json!([]);
    }
    place.as_array_mut().unwrap_or_else(|| unreachable!("it was made a list"))
}

fn apply(spec: &mut Value, edits: &Edits) -> Result<(), String> {
    if edits.intel_rdt.is_some() || !edits.net_devices.is_empty() {
        return Err(
            "CDI device injection failed: resource control and network devices are not supported".to_owned()
        );
    }
    for variable in &edits.env {
        let name = format!("{}=", variable.split('=').next().unwrap_or_default());
        let env = list(spec, &["process", "env"]);
        env.retain(|known| !known.as_str().is_some_and(|known| known.starts_with(&name)));
        env.push(json!(variable));
    }
    for node in &edits.device_nodes {
        let (device, rule) = device(node)?;
        let devices = list(spec, &["linux", "devices"]);
        devices.retain(|known| known["path"] != device["path"]);
        devices.push(device);
        list(spec, &["linux", "resources", "devices"]).push(rule);
    }
    for mount in &edits.mounts {
        let kind = if mount.r#type.is_empty() { "bind" } else { &mount.r#type };
        let options = if mount.options.is_empty() { vec!["rbind".to_owned()] } else { mount.options.clone() };
        let mounts = list(spec, &["mounts"]);
        mounts.retain(|known| known["destination"] != json!(mount.container_path));
        mounts.push(json!({
            "destination": mount.container_path, "type": kind, "source": mount.host_path, "options": options,
        }));
    }
    for hook in &edits.hooks {
        let mut told = json!({"path": hook.path, "args": hook.args, "env": hook.env});
        if let Some(timeout) = hook.timeout {
            told["timeout"] = json!(timeout);
        }
        list(spec, &["hooks", &hook.hook_name]).push(told);
    }
    let groups = list(spec, &["process", "user", "additionalGids"]);
    let new = edits.groups.iter().filter(|group| **group != 0).map(|group| json!(group));
    for group in new.collect::<Vec<_>>() {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    Ok(())
}

/// A device node, completed by what is on the host, and the rule by which it may be used.
fn device(node: &Node) -> Result<(Value, Value), String> {
    let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let (mut kind, mut numbers) = (node.r#type.clone(), node.major.zip(node.minor));
    if kind.is_empty() || (numbers.is_none() && kind != "p") {
        let there = std::fs::metadata(host)
            .map_err(|error| format!("CDI device injection failed: {host}: {error}"))?;
        let found = match there.file_type() {
            found if found.is_block_device() => "b",
            found if found.is_char_device() => "c",
            found if found.is_fifo() => "p",
            _ => return Err(format!("CDI device injection failed: {host} is no device")),
        };
        if kind.is_empty() {
            kind = found.to_owned();
        }
        numbers = numbers.or(Some((major(there.rdev()), minor(there.rdev()))));
    }
    let (major, minor) = numbers.unwrap_or_default();
    let mut device = json!({"path": node.path, "type": kind, "major": major, "minor": minor});
    for (name, value) in [("fileMode", node.file_mode), ("uid", node.uid), ("gid", node.gid)] {
        if let Some(value) = value {
            device[name] = json!(value);
        }
    }
    let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
    let rule = json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    Ok((device, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<CdiDevice> {
        names.iter().map(|name| CdiDevice { name: (*name).to_owned() }).collect()
    }

    fn registry() -> Registry {
        let folder = tempfile::tempdir().expect("directory");
        let (first, second) = (folder.path().join("etc"), folder.path().join("run"));
        for path in [&first, &second] {
            std::fs::create_dir(path).expect("directory");
        }
        let yaml = "
cdiVersion: 0.6.0
kind: example.com/gpu
containerEdits: {env: [ALL=1, HOME=/gpu]}
devices:
- name: one
  containerEdits:
    env: [ONE=1]
    deviceNodes: [{path: /dev/gpu, hostPath: /dev/null, permissions: rw}]
    mounts: [{hostPath: /lib/gpu, containerPath: /gpu, options: [ro, bind]}]
    hooks: [{hookName: createContainer, path: /bin/hook, args: [hook, x], timeout: 3}]
    additionalGids: [5, 0]
- name: two
  containerEdits: {env: [TWO=old]}
";
        std::fs::write(first.join("gpu.yaml"), yaml).expect("file");
        std::fs::write(first.join("bad.json"), "{").expect("file");
        let json = r#"{"kind": "example.com/gpu", "devices": [{"name": "two", "containerEdits": {"env": ["TWO=new"]}}]}"#;
        std::fs::write(second.join("gpu.json"), json).expect("file");
        Registry::read(&[&first.to_string_lossy(), &second.to_string_lossy(), "/nowhere"])
    }

    #[test]
    fn devices_change_the_specification() {
        let mut spec = json!({
            "process": {"env": ["HOME=/"], "user": {"additionalGids": [5]}},
            "linux": {"devices": [], "resources": {"devices": [{"allow": false}]}},
            "mounts": [{"destination": "/proc"}],
        });
        registry()
            .inject(&mut spec, &named(&["example.com/gpu=one", "example.com/gpu=two"]))
            .expect("injected");
        let expected = json!({
            "process": {"env": ["ALL=1", "HOME=/gpu", "ONE=1", "TWO=new"], "user": {"additionalGids": [5]}},
            "linux": {
                "devices": [{"path": "/dev/gpu", "type": "c", "major": 1, "minor": 3}],
                "resources": {"devices": [
                    {"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
                ]},
            },
            "mounts": [{"destination": "/proc"}, {
                "destination": "/gpu", "type": "bind", "source": "/lib/gpu", "options": ["ro", "bind"],
            }],
            "hooks": {"createContainer": [{"path": "/bin/hook", "args": ["hook", "x"], "env": [], "timeout": 3}]},
        });
        assert_eq!(spec, expected);
    }

    #[test]
    fn unknown_devices_are_refused() {
        let error = registry().check(&named(&["example.com/gpu=one", "example.com/gpu=six", "x=y"]));
        let expected = "CDI device injection failed: unresolvable CDI devices example.com/gpu=six, x=y";
        assert_eq!(error.expect_err("unknown"), expected);
    }
}
