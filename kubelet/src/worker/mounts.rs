//! The mounts of a container: its volumes, `/etc/hosts` and the file for its last words.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::Worker;
use crate::container::expand::expand;
use crate::container::{hosts, termination_message_path};
use crate::pod;
use crate::runtime::types::{Device, ImageSpec, Mount, MountPropagation};
use crate::volumes::{Mounted, node_logs, subpath};

impl Worker {
    /// All mounts of a container that is about to be made.
    pub(super) async fn mounts(
        &self,
        container: &Container,
        env: &[(String, String)],
        images: &BTreeMap<String, ImageSpec>,
        ips: &[String],
    ) -> io::Result<Vec<Mount>> {
        let directory = self.context.pod_dir(pod::uid(&self.pod));
        let mut mounts = Vec::new();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            match images.get(&mount.name) {
                Some(image) => mounts.push(image_mount(mount, image, env)?),
                None => {
                    let mounted = self.volume_mount(&directory, container, index, mount, env).await?;
                    let logs = self.logs_below(&mount.name, &mounted)?;
                    mounts.push(mounted);
                    mounts.extend(logs);
                }
            }
        }
        let taken = |path: &str| {
            container
                .volume_mounts
                .iter()
                .flatten()
                .any(|mount| mount.mount_path.trim_end_matches('/') == path)
        };
        if !taken("/etc/hosts") {
            let path = directory.join("etc-hosts");
            tokio::fs::write(&path, self.hosts_file(ips)).await?;
            mounts.push(file_mount("/etc/hosts", &path));
        }
        let target = termination_message_path(container);
        if !target.is_empty() && !taken(target) {
            let path = new_message_file(&directory.join("containers").join(&container.name))?;
            mounts.push(file_mount(target, &path));
        }
        Ok(mounts)
    }

    /// The volumes that a container sees as devices.
    pub(super) fn devices(&self, container: &Container) -> io::Result<Vec<Device>> {
        let devices = container.volume_devices.iter().flatten();
        devices
            .map(|device| {
                let volume = self.volume(&device.name)?;
                let permissions = if volume.read_only { "r" } else { "mrw" };
                Ok(Device {
                    container_path: device.device_path.clone(),
                    // Runtimes want the device itself.
                    host_path: std::fs::canonicalize(&volume.path)?.to_string_lossy().into_owned(),
                    permissions: permissions.to_owned(),
                })
            })
            .collect()
    }

    fn volume(&self, name: &str) -> io::Result<&Mounted> {
        let volume = self.volumes.as_ref().and_then(|volumes| volumes.get(name));
        volume.ok_or_else(|| io::Error::other(format!("volume {name:?} is not mounted")))
    }

    /// The node's own folders of logs, where a container sees a folder of the host that has them for all nodes.
    fn logs_below(&self, volume: &str, mount: &Mount) -> io::Result<Vec<Mount>> {
        let mut volumes = pod::spec(&self.pod).volumes.iter().flatten();
        if !volumes.any(|one| one.name == *volume && one.host_path.is_some()) {
            return Ok(Vec::new());
        }
        let folder = Path::new(&mount.host_path);
        let inner = node_logs::below(folder, &self.context.facts.pod_logs_dir);
        let mount = |(at, own): (PathBuf, PathBuf)| {
            std::fs::create_dir_all(&own)?;
            // To be mounted upon, also where the volume is for reading.
            std::fs::create_dir_all(folder.join(&at))?;
            Ok(Mount {
                container_path: Path::new(&mount.container_path).join(at).display().to_string(),
                host_path: own.display().to_string(),
                ..mount.clone()
            })
        };
        inner.into_iter().map(mount).collect()
    }

    fn hosts_file(&self, ips: &[String]) -> String {
        if pod::host_network(&self.pod) {
            let of_node = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            return hosts::host_network_file(&self.pod, &of_node);
        }
        let (name, domain) = hosts::names(&self.pod, &self.context.facts.cluster_dns.domain);
        hosts::file(&self.pod, ips, &name, domain.as_deref())
    }

    async fn volume_mount(
        &self,
        directory: &Path,
        container: &Container,
        index: usize,
        mount: &VolumeMount,
        env: &[(String, String)],
    ) -> io::Result<Mount> {
        let volume = self.volume(&mount.name)?;
        let recursive_read_only = self.recursive_read_only(mount).await?;
        let sub = sub_path(mount, env)?;
        let host_path = if sub.is_empty() {
            volume.path.clone()
        } else {
            let part = subpath::prepare(directory, &volume.path, &mount.name, &container.name, index, &sub);
            part.map_err(|error| {
                let (volume, container) = (&mount.name, &container.name);
                let text = format!(
                    "failed to prepare subPath for volumeMount {volume:?} of container {container:?}"
                );
                // Why is for the log: it would tell about the host's files.
                tracing::warn!(pod = pod::full_name(&self.pod), %error, text);
                io::Error::other(text)
            })?
        };
        Ok(Mount {
            container_path: container_path(mount),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: volume.read_only || mount.read_only == Some(true),
            recursive_read_only,
            propagation: propagation(mount) as i32,
            ..Default::default()
        })
    }

    /// Whether what is mounted below a mount is for reading only, too; an error if it must be and cannot (KEP-3857).
    /// `IfPossible` is taken for no, since a container's status does not tell later what was possible.
    async fn recursive_read_only(&self, mount: &VolumeMount) -> io::Result<bool> {
        if mount.recursive_read_only.as_deref() != Some("Enabled") {
            return Ok(false);
        }
        let handler = self.runtime_handler().await.map_err(io::Error::other)?;
        let status = self.context.runtime.status().await.map_err(io::Error::other)?;
        let found = status.runtime_handlers.iter().find(|known| known.name == handler);
        let supported = found.and_then(|found| found.features).is_some_and(|f| f.recursive_read_only_mounts);
        if !supported {
            return Err(io::Error::other(format!(
                "failed to resolve recursive read-only mode: volume {:?} requested recursive read-only mode, but it is not \
                 supported by the runtime",
                mount.name
            )));
        }
        Ok(true)
    }
}

fn propagation(mount: &VolumeMount) -> MountPropagation {
    match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::HostToContainer,
        Some("Bidirectional") => MountPropagation::Bidirectional,
        _ => MountPropagation::Private,
    }
}

fn container_path(mount: &VolumeMount) -> String {
    match mount.mount_path.as_str() {
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    }
}

/// What an image holds, which the runtime mounts.
fn image_mount(mount: &VolumeMount, image: &ImageSpec, env: &[(String, String)]) -> io::Result<Mount> {
    Ok(Mount {
        container_path: container_path(mount),
        readonly: true,
        propagation: propagation(mount) as i32,
        image: Some(image.clone()),
        image_sub_path: sub_path(mount, env)?,
        ..Default::default()
    })
}

/// The part of the volume that is mounted, with variables filled in; empty for the whole.
fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> io::Result<String> {
    let sub = match mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        Some(expression) => filled_in(expression, env).map_err(io::Error::other)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    if sub.starts_with('/') {
        return Err(io::Error::other(format!("error SubPath `{sub}` must not be an absolute path")));
    }
    if sub.split('/').any(|part| part == "..") {
        return Err(io::Error::other(format!("unable to provision SubPath `{sub}`: must not contain '..'")));
    }
    Ok(sub)
}

/// An expression with the values of its variables, all of which must say something.
fn filled_in(expression: &str, env: &[(String, String)]) -> Result<String, String> {
    let variables: BTreeMap<&str, &str> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let missing = RefCell::new(BTreeSet::new());
    let text = expand(expression, |name| {
        let value = variables.get(name).copied().filter(|value| !value.is_empty());
        if value.is_none() {
            missing.borrow_mut().insert(name.to_owned());
        }
        value
    });
    let missing: Vec<String> = missing.into_inner().into_iter().collect();
    if missing.is_empty() { Ok(text) } else { Err(format!("missing value for {}", missing.join(", "))) }
}

fn file_mount(target: &str, path: &Path) -> Mount {
    Mount {
        container_path: target.to_owned(),
        host_path: path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

/// A new empty file that any user of the container may write.
fn new_message_file(directory: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("{:08x}", rand::random::<u32>()));
    std::fs::File::create_new(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_volumes() {
        let env = [("A", "x"), ("UP", ".."), ("ROOT", "/tmp"), ("EMPTY", "")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let check = |member: &str, text: &str, expected: Result<&str, &str>| {
            let mount = serde_json::json!({"name": "v", "mountPath": "/v", member: text});
            let mount: VolumeMount = serde_json::from_value(mount).expect("mount");
            let found = sub_path(&mount, &env).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{member}: {text}");
        };
        check("subPath", "", Ok(""));
        check("subPath", "a/$(A)", Ok("a/$(A)"));
        check("subPathExpr", "a/$(A)", Ok("a/x"));
        check("subPathExpr", "$(UP)", Err("unable to provision SubPath `..`: must not contain '..'"));
        check("subPathExpr", "$(ROOT)", Err("error SubPath `/tmp` must not be an absolute path"));
        check("subPathExpr", "$(NONE)/$(EMPTY)/$(A)", Err("missing value for EMPTY, NONE"));
    }
}
