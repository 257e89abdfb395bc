//! Sandboxes and containers as the kubelet knows them, from the files that describe them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;

use super::state::{self, Launch, Phase, Sandbox, Status};
use super::users::Identity;
use crate::runtime::types::{
    Container, ContainerConfig, ContainerState, ContainerStatus, ContainerUser, ImageSpec,
    LinuxContainerUser, PodIp, PodSandbox, PodSandboxConfig, PodSandboxNetworkStatus, PodSandboxState,
    PodSandboxStatus,
};

/// A sandbox.
#[derive(Debug, Clone)]
pub struct KnownSandbox {
    /// Its directory.
    pub directory: PathBuf,
    /// What was asked for.
    pub config: PodSandboxConfig,
    /// What the kubelet notes.
    pub note: Sandbox,
    /// Its process answers.
    pub alive: bool,
}

/// A container.
#[derive(Debug, Clone)]
pub struct KnownContainer {
    /// Id of its sandbox.
    pub sandbox: String,
    /// Its directory.
    pub directory: PathBuf,
    /// What was asked for.
    pub config: ContainerConfig,
    /// What it is started from.
    pub launch: Launch,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Books {
    /// Sandboxes by id.
    pub sandboxes: BTreeMap<String, KnownSandbox>,
    /// Containers by id.
    pub containers: BTreeMap<String, KnownContainer>,
}

impl Books {
    /// Reads what lies below `root`. What was cut off while it was made is removed.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut books = Self::default();
        for (id, directory) in folders(root)? {
            let config = state::read_config(&directory);
            let note = state::read_json::<Sandbox>(&directory.join(state::SANDBOX));
            let (Ok(config), Ok(note)) = (config, note) else {
                tracing::warn!(id, "removing a sandbox that was never finished");
                std::fs::remove_dir_all(&directory)?;
                continue;
            };
            for (container, directory) in folders(&directory.join(state::CONTAINERS)).unwrap_or_default() {
                let config = state::read_config(&directory);
                let launch = state::read_json(&directory.join(state::LAUNCH));
                if let (Ok(config), Ok(launch)) = (config, launch) {
                    let known = KnownContainer { sandbox: id.clone(), directory, config, launch };
                    books.containers.insert(container, known);
                }
            }
            let alive = !note.stopped && super::client::answers(&directory);
            books.sandboxes.insert(id, KnownSandbox { directory, config, note, alive });
        }
        Ok(books)
    }
}

fn folders(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = std::fs::read_dir(path)?.flatten().filter(|entry| entry.path().is_dir());
    Ok(entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path()))).collect())
}

/// Writes a configuration.
pub fn write_config(directory: &Path, config: &impl Message) -> io::Result<()> {
    state::write(&directory.join(state::CONFIG), &config.encode_to_vec())
}

impl KnownSandbox {
    fn state(&self) -> i32 {
        let ready = self.alive && !self.note.stopped;
        if ready { PodSandboxState::Ready as i32 } else { PodSandboxState::NotReady as i32 }
    }

    /// As it is listed.
    pub fn listed(&self, id: &str) -> PodSandbox {
        PodSandbox {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: self.note.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.note.handler.clone(),
        }
    }

    /// In detail.
    pub fn status(&self, id: &str) -> PodSandboxStatus {
        let mut addresses = self.note.addresses.iter().map(ToString::to_string);
        PodSandboxStatus {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: self.note.created_at,
            network: Some(PodSandboxNetworkStatus {
                ip: addresses.next().unwrap_or_default(),
                additional_ips: addresses.map(|ip| PodIp { ip }).collect(),
            }),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.note.handler.clone(),
        }
    }
}

fn phase(phase: Phase) -> i32 {
    let state = match phase {
        Phase::Created => ContainerState::Created,
        Phase::Running => ContainerState::Running,
        Phase::Exited => ContainerState::Exited,
    };
    state as i32
}

impl KnownContainer {
    /// How far it is, as its shim has noted.
    pub fn state(&self) -> Status {
        state::read_json(&self.directory.join(state::STATUS)).unwrap_or_default()
    }

    /// As it is listed.
    pub fn listed(&self, id: &str) -> Container {
        let status = self.state();
        Container {
            id: id.to_owned(),
            pod_sandbox_id: self.sandbox.clone(),
            metadata: self.config.metadata.clone(),
            image: self.config.image.clone(),
            image_ref: self.launch.image_ref.clone(),
            state: phase(status.phase),
            created_at: status.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            image_id: self.launch.image_id.clone(),
        }
    }

    /// The image by a name of its own: the kubelet asks for it by its id.
    fn image(&self) -> Option<ImageSpec> {
        match self.launch.image_name.as_str() {
            "" => self.config.image.clone(),
            name => Some(ImageSpec { image: name.to_owned() }),
        }
    }

    /// In detail.
    pub fn status(&self, id: &str, log_directory: &str) -> ContainerStatus {
        let status = self.state();
        ContainerStatus {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: phase(status.phase),
            created_at: status.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            image: self.image(),
            image_ref: self.launch.image_ref.clone(),
            reason: status.reason,
            message: status.message,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            mounts: self.config.mounts.clone(),
            log_path: Path::new(log_directory).join(&self.config.log_path).display().to_string(),
            image_id: self.launch.image_id.clone(),
            user: status.user.as_ref().map(user),
        }
    }
}

fn user(identity: &Identity) -> ContainerUser {
    let linux = LinuxContainerUser {
        uid: identity.uid.into(),
        gid: identity.gid.into(),
        supplemental_groups: identity.groups.iter().copied().map(i64::from).collect(),
    };
    ContainerUser { linux: Some(linux) }
}
