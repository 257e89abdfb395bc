//! Where volumes of drivers are on a node, and what is noted beside them: a kubelet finds out from the disk what it
//! must take away, whatever happened before it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex;

/// Name of the file with a volume's [`Note`].
const NOTE: &str = "vol_data.json";

/// What is noted of a volume that was given to a pod; the original's file, with its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Name of the PersistentVolume, or of the volume in the pod.
    #[serde(rename = "specVolID")]
    pub spec_name: String,
    /// What the driver calls the volume.
    pub volume_handle: String,
    /// The driver.
    pub driver_name: String,
    /// The node.
    pub node_name: String,
    /// `Persistent` or `Ephemeral`.
    pub volume_lifecycle_mode: String,
    /// Where it was staged; empty where drivers do not stage.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub staging_path: String,
    /// Where it was published.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target_path: String,
}

impl Note {
    /// The volume in the words of a node's status.
    pub fn unique_name(&self) -> String {
        unique_name(&self.driver_name, &self.volume_handle)
    }
}

/// A volume in the words of a node's status.
pub fn unique_name(driver: &str, handle: &str) -> String {
    format!("kubernetes.io/csi/{driver}^{handle}")
}

/// Name of the object by which a volume is attached to a node.
pub fn attachment_name(driver: &str, handle: &str, node: &str) -> String {
    format!("csi-{}", digest(&format!("{handle}{driver}{node}")))
}

/// What a volume that lives with its pod is called.
pub fn ephemeral_handle(pod_uid: &str, name: &str) -> String {
    format!("csi-{}", digest(&format!("{pod_uid}{name}")))
}

fn digest(text: &str) -> String {
    hex::text(&Sha256::digest(text))
}

/// The kubelet's directories.
#[derive(Clone, Debug)]
pub struct Places {
    /// `--root-dir`.
    pub root: PathBuf,
}

impl Places {
    /// Where a volume with files is staged.
    pub fn staging(&self, driver: &str, handle: &str) -> PathBuf {
        self.plugin().join(driver).join(digest(handle)).join("globalmount")
    }

    /// Where a volume that is a device is staged.
    pub fn block_staging(&self, spec_name: &str) -> PathBuf {
        self.plugin().join("volumeDevices").join("staging").join(spec_name)
    }

    /// Where a device is given to a pod.
    pub fn block_target(&self, spec_name: &str, pod_uid: &str) -> PathBuf {
        self.plugin().join("volumeDevices").join("publish").join(spec_name).join(pod_uid)
    }

    fn plugin(&self) -> PathBuf {
        self.root.join("plugins").join("kubernetes.io").join("csi")
    }

    /// Directory of one pod's volumes of drivers.
    pub fn of_pod(&self, pod_uid: &str) -> PathBuf {
        self.root.join("pods").join(pod_uid).join("volumes").join("kubernetes.io~csi")
    }

    /// What is noted of a pod's volumes, each with its directory.
    pub fn notes_of_pod(&self, pod_uid: &str) -> Vec<(PathBuf, Note)> {
        let volumes = children(&self.of_pod(pod_uid)).into_iter();
        volumes.filter_map(|directory| read(&directory).map(|note| (directory, note))).collect()
    }

    /// What is noted of all pods' volumes, each with the pod's UID.
    pub fn notes(&self) -> Vec<(String, Note)> {
        let pods = children(&self.root.join("pods")).into_iter();
        let uids = pods.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        uids.flat_map(|uid| self.notes_of_pod(&uid).into_iter().map(move |(_, note)| (uid.clone(), note)))
            .collect()
    }
}

/// Notes a volume in its directory. It is on the disk before the driver is asked for anything.
pub fn write(directory: &Path, note: &Note) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let text = serde_json::to_vec(note).map_err(io::Error::other)?;
    let (temporary, place) = (directory.join(".vol_data.json.new"), directory.join(NOTE));
    fs::write(&temporary, text)?;
    fs::rename(temporary, place)
}

/// What is noted in a volume's directory.
pub fn read(directory: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(directory.join(NOTE)).ok()?).ok()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_found_again() {
        let root = tempfile::tempdir().expect("directory");
        let places = Places { root: root.path().to_owned() };
        assert_eq!(places.notes(), []);
        let note = Note {
            spec_name: "pv".to_owned(),
            volume_handle: "h".to_owned(),
            driver_name: "d.example.com".to_owned(),
            node_name: "n".to_owned(),
            volume_lifecycle_mode: "Persistent".to_owned(),
            staging_path: String::new(),
            target_path: "/t".to_owned(),
        };
        let directory = places.of_pod("uid").join("pv");
        write(&directory, &note).expect("written");
        assert_eq!(places.notes_of_pod("uid"), [(directory, note.clone())]);
        assert_eq!(places.notes_of_pod("other"), []);
        assert_eq!(places.notes(), [("uid".to_owned(), note.clone())]);
        assert_eq!(note.unique_name(), "kubernetes.io/csi/d.example.com^h");
    }

    #[test]
    fn names_are_the_originals() {
        // The controllers compute the same.
        assert_eq!(attachment_name("d", "h", "n"), format!("csi-{}", hex::text(&Sha256::digest("hdn"))));
        assert_eq!(ephemeral_handle("u", "v").len(), 68);
    }
}
