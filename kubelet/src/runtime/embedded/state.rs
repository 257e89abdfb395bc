//! What the kubelet and a sandbox's shim leave for each other on the disk.
//!
//! A sandbox is a directory: `config.pb` and `sandbox.json` are the kubelet's, `socket` is where its shim listens,
//! `c/ID` are its containers. Of a container, `config.pb` and `launch.json` are the kubelet's; `status.json` is
//! written by the kubelet when the container is made and by the shim from then on. Files are replaced whole.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::store::Execution;
use super::users::Identity;
pub use crate::runtime::usage::now;

/// The sandbox's socket.
pub const SOCKET: &str = "socket";
/// What the shim writes.
pub const LOG: &str = "shim.log";
/// A configuration, in the CRI's protobuf form.
pub const CONFIG: &str = "config.pb";
/// A sandbox's [`Sandbox`].
pub const SANDBOX: &str = "sandbox.json";
/// A container's [`Launch`].
pub const LAUNCH: &str = "launch.json";
/// A container's [`Status`].
pub const STATUS: &str = "status.json";
/// Containers of a sandbox.
pub const CONTAINERS: &str = "c";
/// What the OCI runtime keeps of a sandbox's containers.
pub const OCI: &str = "oci";
/// The OCI runtime's name of the pause container.
pub const PAUSE: &str = "pause";

/// What the kubelet notes about a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Runtime handler that was asked for.
    pub handler: String,
    /// Addresses; none on the host's network.
    pub addresses: Vec<IpAddr>,
    /// Process that holds the namespaces.
    pub shim: i32,
    /// It was stopped, or never came to be.
    pub stopped: bool,
}

/// What a container is started from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Id of the image.
    pub image_id: String,
    /// What is told as the image's name; empty if it has none.
    #[serde(default)]
    pub image_name: String,
    /// What is told as the image's reference: a name with digest if there is one.
    pub image_ref: String,
    /// The store's folder of layers.
    pub layers_dir: PathBuf,
    /// The layers, the lowest first.
    pub layers: Vec<String>,
    /// Layers of the images that are volumes, by what the volumes call them.
    #[serde(default)]
    pub volumes: BTreeMap<String, Vec<String>>,
    /// What the image says about containers.
    pub execution: Execution,
}

/// How far a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not started.
    #[default]
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
}

/// State of a container. Times are nanoseconds since 1970, 0 for never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How far it is.
    pub phase: Phase,
    /// When it was made.
    pub created_at: i64,
    /// When it was started.
    pub started_at: i64,
    /// When it ended.
    pub finished_at: i64,
    /// Its exit code, 128 and the number of the signal that ended it.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Its first process.
    pub pid: i32,
    /// Who that began as.
    #[serde(default)]
    pub user: Option<Identity>,
}

/// Replaces a file in one step.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes a value as JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write(path, &serde_json::to_vec(value)?)
}

/// Reads a value written as JSON.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Reads a configuration.
pub fn read_config<T: prost::Message + Default>(folder: &Path) -> io::Result<T> {
    let bytes = std::fs::read(folder.join(CONFIG))?;
    T::decode(bytes.as_slice()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Makes, connects to and removes a socket by a path that may be longer than an address.
pub mod socket {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::path::Path;

    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };
    use rustix::fs::{CWD, Mode, OFlags, openat};

    fn made() -> io::Result<OwnedFd> {
        Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
    }

    fn with_address<T>(path: &Path, work: impl FnOnce(&UnixAddr) -> nix::Result<T>) -> io::Result<T> {
        let (folder, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
        let folder = openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(work(&UnixAddr::new(&short)?)?)
    }

    /// A listening socket of packets.
    pub fn listener(path: &Path) -> io::Result<OwnedFd> {
        let socket = made()?;
        with_address(path, |address| bind(socket.as_raw_fd(), address))?;
        listen(&socket, Backlog::new(64)?)?;
        Ok(socket)
    }

    /// A connection to it.
    pub fn connected(path: &Path) -> io::Result<OwnedFd> {
        let socket = made()?;
        with_address(path, |address| connect(socket.as_raw_fd(), address))?;
        Ok(socket)
    }
}
