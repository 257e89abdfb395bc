//! What is known of a sandbox only after Docker has made it, in a folder below the kubelet's root directory.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The pod's names, which its containers mount.
const RESOLV_CONF: &str = "resolv.conf";
/// How the sandbox is attached to the pod network.
const NETWORK: &str = "network.json";

/// A sandbox on the pod network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    /// Id of the sandbox.
    pub sandbox: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A sandbox's folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder of that name.
    pub fn new(folders: &Path, name: &str) -> Self {
        Self(folders.join(name))
    }

    /// All that there are.
    pub fn all(folders: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(folders).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).map(Self).collect()
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Makes it, with the pod's names.
    pub fn make(&self, resolv_conf: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        std::fs::write(self.0.join(RESOLV_CONF), resolv_conf)
    }

    /// The file of the pod's names.
    pub fn resolv_conf(&self) -> PathBuf {
        self.0.join(RESOLV_CONF)
    }

    /// What is on the pod network, if anything is.
    pub fn attached(&self) -> Option<Attached> {
        serde_json::from_slice(&std::fs::read(self.0.join(NETWORK)).ok()?).ok()
    }

    /// Notes what is on the pod network. It is written before it is attached, too, without addresses, so that a kubelet
    /// that is killed meanwhile leaves nothing unknown.
    pub fn note(&self, attached: &Attached) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        serde_json::to_writer(&mut file, attached)?;
        file.persist(self.0.join(NETWORK)).map(drop).map_err(|error| error.error)
    }

    /// Notes that nothing is.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(self.0.join(NETWORK));
    }

    /// Removes it.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
