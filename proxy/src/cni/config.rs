//! The file by which a CRI runtime finds the plugin, and the plugin's names in its directory of programs.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::json;

/// The plugin's `type`: the name under which runtimes look for a program in their `bin_dir`.
const PLUGIN: &str = "knarr-cni";

/// All names under which runtimes call this program.
pub const PLUGINS: [&str; 2] = [PLUGIN, super::loopback::TYPE];

/// Version of the protocol that the file announces. 1.1 is spoken too, but containerd before 2.0 refuses
/// a file that asks for it.
const VERSION: &str = "1.0.0";

/// What the plugin must know about the cluster and its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Name of the cluster.
    pub cluster: String,
    /// Ranges of this node's pods, at most one of each family.
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges of virtual addresses.
    pub service_cidrs: Vec<IpNet>,
    /// Largest packet of pods in bytes.
    pub mtu: u32,
    /// Where reservations are kept, best under `/run`.
    pub state_dir: PathBuf,
}

impl Configuration {
    /// The network configuration list, as a JSON document.
    pub fn conflist(&self) -> serde_json::Value {
        json!({
            "cniVersion": VERSION,
            "name": format!("knarr-{}", self.cluster),
            "plugins": [{
                "type": PLUGIN,
                "cluster": self.cluster,
                "podCIDRs": self.pod_cidrs,
                "serviceCIDRs": self.service_cidrs,
                "mtu": self.mtu,
                "stateDir": self.state_dir,
                "capabilities": { "bandwidth": true, "portMappings": true },
            }],
        })
    }

    /// Gateways of the node's pods.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.pod_cidrs.iter().map(crate::network::gateway).collect()
    }
}

/// The file of a cluster in a directory of configurations. Runtimes take the first by name.
fn path(directory: &Path, cluster: &str) -> PathBuf {
    directory.join(format!("10-knarr-{cluster}.conflist"))
}

/// Writes the configuration atomically: the runtime reports its network ready as soon as it sees the file.
/// With `bin_dir`, also links the plugins' names there to this program, whose `main` must call
/// [`main`](super::main) when `CNI_COMMAND` is set; a program that is there already stays.
pub fn write_config(directory: &Path, bin_dir: Option<&Path>, config: &Configuration) -> io::Result<PathBuf> {
    if let Some(bin_dir) = bin_dir {
        let program = std::env::current_exe()?;
        PLUGINS.iter().try_for_each(|name| link_plugin(bin_dir, name, &program))?;
    }
    fs::create_dir_all(directory)?;
    let text = serde_json::to_vec_pretty(&config.conflist())?;
    let path = path(directory, &config.cluster);
    if fs::read(&path).is_ok_and(|old| old == text) {
        return Ok(path);
    }
    let file = tempfile::Builder::new().prefix(".knarr-").suffix(".tmp").tempfile_in(directory)?;
    fs::write(file.path(), text)?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(path)
}

/// Removes what [`write_config`] wrote; other programs stay.
pub fn remove_config(directory: &Path, bin_dir: Option<&Path>, cluster: &str) -> io::Result<()> {
    remove(&path(directory, cluster))?;
    let program = std::env::current_exe()?;
    let links = bin_dir.into_iter().flat_map(|dir| PLUGINS.map(|name| dir.join(name)));
    // The link may be of an older version of this program, installed elsewhere.
    let own = |link: &PathBuf| {
        fs::read_link(link)
            .is_ok_and(|to| to == program || to.file_name().is_some_and(|name| name == "knarr"))
    };
    links.filter(own).try_for_each(|link| remove(&link))
}

fn link_plugin(bin_dir: &Path, name: &str, program: &Path) -> io::Result<()> {
    fs::create_dir_all(bin_dir)?;
    let link = bin_dir.join(name);
    // A link may be of an older version of this program; a file is somebody else's plugin.
    if link.exists() && (!link.is_symlink() || fs::read_link(&link)? == program) {
        return Ok(());
    }
    // Made aside and renamed, so that the plugin is there at every moment.
    let aside = bin_dir.join(format!(".{name}.{}", std::process::id()));
    remove(&aside)?;
    std::os::unix::fs::symlink(program, &aside)?;
    fs::rename(aside, link)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
