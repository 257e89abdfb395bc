//! Volumes of iSCSI targets: disks that the host's `iscsiadm` logs in to, mounted once a node and bound to pods.
//!
//! Source: manual pages of `iscsiadm`, `blkid`, `fsck` and `mkfs`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{disk, mounts, ownership, tools};
use crate::pod;

/// Where the host shows disks by the way to them.
const DISKS: &str = "/dev/disk/by-path";
/// Port of portals that name none.
const PORT: &str = "3260";
/// How long the host may take to show a disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// File system of volumes that name none.
const FILE_SYSTEM: &str = "ext4";
/// The keys of one kind.
macro_rules! keys {
    ($kind:literal) => {
        [
            concat!($kind, ".username"),
            concat!($kind, ".password"),
            concat!($kind, ".username_in"),
            concat!($kind, ".password_in"),
        ]
    };
}

/// Keys of a secret for finding targets, and for the session.
const DISCOVERY_KEYS: [&str; 4] = keys!("discovery.sendtargets.auth");
const SESSION_KEYS: [&str; 4] = keys!("node.session.auth");
/// What is noted of a mount beside it.
const NOTE: &str = "iscsi.json";

/// One mount or login at a time: nobody logs out of what another one is about to use.
static LOCK: Mutex<()> = Mutex::new(());

/// How a disk is reached; also what is noted, to log out by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Addresses with ports.
    pub portals: Vec<String>,
    /// Name of the target.
    pub iqn: String,
    /// Number of the disk.
    pub lun: i32,
    /// The interface of `iscsiadm`.
    pub interface: String,
    /// The interface that one with another name of its own was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_interface: Option<String>,
}

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Iscsi {
    /// Name of the PersistentVolume, or of the volume in the pod.
    pub spec_name: String,
    /// Its disk.
    pub target: Target,
    /// The name by which the node introduces itself, if not by its own.
    pub initiator: Option<String>,
    /// File system, if one must be made.
    pub fs_type: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Nobody may write.
    pub read_only: bool,
    /// Whether targets ask for a password when they are looked for.
    pub discovery_chap: bool,
    /// Whether they ask for one in the session.
    pub session_chap: bool,
    /// What a secret says.
    pub secret: BTreeMap<String, String>,
}

/// Which step failed, and why.
pub type Failure = (&'static str, io::Error);

/// All portals of a volume, each with a port and once.
pub fn portals(first: &str, others: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for portal in std::iter::once(first).chain(others.iter().map(String::as_str)) {
        let portal = if portal.contains(':') { portal.to_owned() } else { format!("{portal}:{PORT}") };
        if !all.contains(&portal) {
            all.push(portal);
        }
    }
    all
}

impl Target {
    /// The target in the name of a folder, before the disk's number.
    fn prefix(&self) -> String {
        format!("{}-{}-lun-", self.portals.first().map_or("", String::as_str), self.iqn)
    }

    /// Where the disk is mounted for the whole node.
    fn place(&self, root: &Path) -> PathBuf {
        let interface = format!("iface-{}", self.interface);
        plugin(root).join(interface).join(format!("{}{}", self.prefix(), self.lun))
    }

    /// Whether a name below `/dev/disk/by-path` is this disk by way of a portal; hardware has more before it.
    fn is_disk(&self, name: &str, portal: &str) -> bool {
        let wanted = format!("ip-{portal}-iscsi-{}-lun-{}", self.iqn, self.lun);
        name == wanted || (name.starts_with("pci-") && name.ends_with(&format!("-{wanted}")))
    }

    fn disk(&self, portal: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(DISKS).ok()?.flatten();
        let mut named = entries.filter(|entry| self.is_disk(&entry.file_name().to_string_lossy(), portal));
        named.next().map(|entry| entry.path())
    }

    fn node(&self, portal: &str, rest: &[&str]) -> io::Result<String> {
        let target = ["-m", "node", "-p", portal, "-T", &self.iqn, "-I", &self.interface];
        tools::succeed("iscsiadm", &[&target, rest].concat())
    }

    fn discovery(&self, portal: &str, rest: &[&str]) -> io::Result<String> {
        let kind = ["-m", "discoverydb", "-t", "sendtargets", "-p", portal, "-I", &self.interface];
        tools::succeed("iscsiadm", &[&kind, rest].concat())
    }

    /// Ends the sessions, unless another disk of the target is mounted, and forgets what was made for them.
    fn log_out(&self, root: &Path) {
        let folder = self.place(root).parent().map(Path::to_owned).unwrap_or_default();
        let others = fs::read_dir(folder).into_iter().flatten().flatten();
        if others.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&self.prefix())) {
            return;
        }
        for portal in &self.portals {
            for rest in [["--logout"].as_slice(), &["-o", "delete"]] {
                if let Err(error) = self.node(portal, rest) {
                    tracing::warn!(portal, iqn = self.iqn, %error, "iSCSI session not ended");
                }
            }
        }
        if self.from_interface.is_some() {
            let _ = tools::succeed("iscsiadm", &["-m", "iface", "-I", &self.interface, "-o", "delete"]);
        }
    }
}

fn plugin(root: &Path) -> PathBuf {
    root.join("plugins/kubernetes.io/iscsi")
}

/// The settings of an interface that `iscsiadm` shows, without those that nobody set.
fn settings(shown: &str) -> Vec<(&str, &str)> {
    let lines = shown.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = ")).filter(|(_, value)| *value != "<empty>").collect()
}

impl Iscsi {
    /// Makes the interface by which the node has another name.
    fn make_interface(&self, initiator: &str, from: &str) -> io::Result<()> {
        let interface = self.target.interface.as_str();
        let call = |rest: &[&str]| tools::succeed("iscsiadm", &[&["-m", "iface", "-I"], rest].concat());
        let shown = call(&[from, "-o", "show"])?;
        call(&[interface, "-o", "new"])?;
        let own = ("iface.initiatorname", initiator);
        let others = settings(&shown);
        let others = others.into_iter().filter(|(name, _)| !["iface.iscsi_ifacename", own.0].contains(name));
        for (name, value) in std::iter::once(own).chain(others) {
            if let Err(error) = call(&[interface, "-o", "update", "-n", name, "-v", value]) {
                let _ = call(&[interface, "-o", "delete"]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Tells a record of `iscsiadm` what the secret has for it.
    fn authenticate(
        &self,
        kind: &str,
        keys: &[&str],
        update: impl Fn(&[&str]) -> io::Result<String>,
    ) -> io::Result<()> {
        update(&["-o", "update", "-n", &format!("{kind}.authmethod"), "-v", "CHAP"])?;
        for (key, value) in keys.iter().filter_map(|key| Some((*key, self.secret.get(*key)?))) {
            update(&["-o", "update", "-n", key, "-v", value])?;
        }
        Ok(())
    }

    /// Logs in by one portal; answers the disk.
    fn log_in(&self, portal: &str) -> Result<PathBuf, String> {
        let target = &self.target;
        let _ = target.discovery(portal, &["-o", "new"]);
        if self.discovery_chap {
            self.authenticate("discovery.sendtargets.auth", &DISCOVERY_KEYS, |rest| {
                target.discovery(portal, rest)
            })
            .map_err(|error| {
                format!("iscsi: failed to update discoverydb to portal {portal} error: {error}")
            })?;
        }
        if let Err(error) = target.discovery(portal, &["--discover"]) {
            let _ = target.discovery(portal, &["-o", "delete"]);
            return Err(format!("iscsi: failed to sendtargets to portal {portal} output: {error}"));
        }
        if self.session_chap {
            self.authenticate("node.session.auth", &SESSION_KEYS, |rest| target.node(portal, rest)).map_err(
                |error| format!("iscsi: failed to update iscsi node to portal {portal} error: {error}"),
            )?;
        }
        if let Err(error) = target.node(portal, &["--login"]) {
            let _ = target.node(portal, &["-o", "delete"]);
            return Err(format!("iscsi: failed to attach disk: Error: {error}"));
        }
        // A machine that starts must not wait for it.
        if let Err(error) = target.node(portal, &["-o", "update", "-n", "node.startup", "-v", "manual"]) {
            tracing::warn!(portal, %error, "iSCSI session is begun again at start");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match target.disk(portal) {
                Some(disk) => return Ok(disk),
                None if Instant::now() > deadline => {
                    return Err("Could not attach disk: Timeout after 10s".to_owned());
                }
                None => thread::sleep(Duration::from_millis(50)), // the host's own programs make it, and tell nobody
            }
        }
    }

    /// The disk, by the first portal that gives it.
    fn attach(&self) -> io::Result<PathBuf> {
        let target = &self.target;
        if let Some(disk) = target.portals.iter().find_map(|portal| target.disk(portal)) {
            return Ok(disk);
        }
        if let (Some(initiator), Some(from)) = (&self.initiator, &target.from_interface) {
            self.make_interface(initiator, from).map_err(|error| {
                io::Error::other(format!("iscsi: failed to clone iface: {from} error: {error}"))
            })?;
        }
        let mut last = String::new();
        for portal in &target.portals {
            match self.log_in(portal) {
                Ok(disk) => return Ok(disk),
                Err(error) => last = error,
            }
        }
        Err(io::Error::other(format!("failed to get any path for iscsi disk, last err seen:\n{last}")))
    }

    /// Gives the volume to a pod; answers where. Blocks.
    pub fn set_up(&self, root: &Path, pod_dir: &Path, pod: &Pod) -> Result<PathBuf, Failure> {
        let _lock = LOCK.lock();
        let step = |step| move |error| (step, error);
        let (place, path) = (self.target.place(root), disk::directory(pod_dir, "iscsi", &self.spec_name));
        if mounts::is_mount_point(&path).map_err(step("MountVolume.SetUp"))? {
            return Ok(path);
        }
        let disk = self.attach().map_err(step("MountVolume.WaitForAttach"))?;
        self.mount(&disk, &place).map_err(step("MountVolume.MountDevice"))?;
        let bind = || {
            fs::create_dir_all(&path)?;
            mounts::bind(&place, &path)?;
            let security = pod::security(pod);
            let lazy = security.fs_group_change_policy.as_deref() == Some("OnRootMismatch");
            match security.fs_group.filter(|_| !self.read_only) {
                Some(group) if !(lazy && ownership::belongs_to_group(&path, group)?) => {
                    ownership::give_to_group(&path, group, ownership::Access::ReadWrite)
                }
                _ => Ok(()),
            }
        };
        bind().map_err(step("MountVolume.SetUp"))?;
        Ok(path)
    }

    fn mount(&self, disk: &Path, place: &Path) -> io::Result<()> {
        if mounts::is_mount_point(place)? {
            return Ok(());
        }
        fs::create_dir_all(place)?;
        // Below the mount, where it is found again when that is gone.
        fs::write(place.join(NOTE), serde_json::to_vec(&self.target)?)?;
        let kind = if self.fs_type.is_empty() { FILE_SYSTEM } else { &self.fs_type };
        let mut options = vec![if self.read_only { "ro" } else { "rw" }.to_owned()];
        options.extend(self.options.iter().cloned());
        options.push("defaults".to_owned());
        tools::prepare_disk(disk, kind, self.read_only)?;
        tools::mount(kind, &options, &disk.display().to_string(), place)
    }
}

/// Lets disks go that no pod has any more; left to the next time while a portal is asked, which may not answer. Blocks.
pub fn release_unused(root: &Path) -> io::Result<()> {
    let Some(_lock) = LOCK.try_lock() else { return Ok(()) };
    let pods = root.join("pods");
    for interface in fs::read_dir(plugin(root)).into_iter().flatten().flatten() {
        for place in fs::read_dir(interface.path()).into_iter().flatten().flatten() {
            let place = place.path();
            if mounts::is_mount_point(&place)? && mounts::is_mounted_below(&place, &pods)? {
                continue;
            }
            mounts::unmount_below(&place)?;
            let note = fs::read(place.join(NOTE)).ok();
            let target: Option<Target> = note.and_then(|note| serde_json::from_slice(&note).ok());
            let _ = fs::remove_file(place.join(NOTE));
            fs::remove_dir(&place)?;
            if let Some(target) = target {
                target.log_out(root);
            }
        }
        let _ = fs::remove_dir(interface.path());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portals_and_disks() {
        let others = ["10.0.0.2:99", "10.0.0.1", "10.0.0.3"].map(str::to_owned);
        assert_eq!(portals("10.0.0.1", &others), ["10.0.0.1:3260", "10.0.0.2:99", "10.0.0.3:3260"]);
        let target = Target {
            portals: portals("10.0.0.1", &[]),
            iqn: "iqn.2001-04.test:a".to_owned(),
            lun: 1,
            interface: "default".to_owned(),
            from_interface: None,
        };
        let check =
            |name: &str, expected| assert_eq!(target.is_disk(name, "10.0.0.1:3260"), expected, "{name}");
        check("ip-10.0.0.1:3260-iscsi-iqn.2001-04.test:a-lun-1", true);
        check("pci-0000:00:1f.2-ip-10.0.0.1:3260-iscsi-iqn.2001-04.test:a-lun-1", true);
        check("ip-10.0.0.1:3260-iscsi-iqn.2001-04.test:a-lun-1-part1", false);
        check("ip-10.0.0.1:3260-iscsi-iqn.2001-04.test:a-lun-11", false);
        check("ip-10.0.0.2:3260-iscsi-iqn.2001-04.test:a-lun-1", false);
        assert_eq!(
            target.place(Path::new("/k")),
            Path::new("/k/plugins/kubernetes.io/iscsi/iface-default/10.0.0.1:3260-iqn.2001-04.test:a-lun-1")
        );
    }

    #[test]
    fn settings_of_interfaces() {
        let shown = "# BEGIN RECORD 2.0\niface.iscsi_ifacename = default\niface.net_ifacename = <empty>\n\
                     iface.transport_name = tcp\n# END RECORD\n";
        assert_eq!(settings(shown), [("iface.iscsi_ifacename", "default"), ("iface.transport_name", "tcp")]);
    }
}
