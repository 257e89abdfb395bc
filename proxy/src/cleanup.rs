//! Removal of everything a cluster's network left on a host.

use std::io;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::cni;
use crate::mode;
use crate::names;
use crate::network::netlink::{self, Netlink};
use crate::network::{forward, peers};
use crate::nft::{self, Nft};

/// Where the files of a cluster's network are.
#[derive(Debug, Clone, Default)]
pub struct Leftovers {
    /// Name of the cluster.
    pub cluster: String,
    /// Ranges of all pods of the cluster, routes to which are removed.
    pub cluster_cidrs: Vec<IpNet>,
    /// Directory of address reservations, which is removed.
    pub state_dir: Option<PathBuf>,
    /// Directory from which the CNI configuration is removed.
    pub cni_conf_dir: Option<PathBuf>,
    /// Directory from which the plugin's link is removed.
    pub cni_bin_dir: Option<PathBuf>,
}

/// Why something is still there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Rules.
    #[error(transparent)]
    Rules(#[from] nft::Error),
    /// Rules of iptables.
    #[error("cannot remove rules of iptables: {0:#}")]
    Iptables(anyhow::Error),
    /// Interfaces.
    #[error(transparent)]
    Interfaces(#[from] netlink::Error),
    /// Files.
    #[error("cannot remove {path}")]
    File {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Removes a cluster's rules, interfaces and files. Repeating it is no error, and nothing of other clusters
/// is touched. Pods that still run lose their network. Forwarding stays on: others may rely on it by now.
pub async fn cleanup(leftovers: &Leftovers) -> Result<(), Error> {
    let cluster = &leftovers.cluster;
    let nft = Nft::open()?;
    nft.delete_table(&names::service_table(cluster)).await?;
    nft.delete_table(&names::host_port_table(cluster)).await?;
    nft.delete_table(&names::policy_table(cluster)).await?;
    forward::withdraw(&nft, cluster).await?;
    mode::remove(cluster).await.map_err(Error::Iptables)?;
    let netlink = Netlink::open()?;
    let bridge = names::bridge(cluster);
    for port in netlink.ports(&bridge).await? {
        cni::disconnect(&netlink, &port).await?;
    }
    netlink.delete(&bridge).await?;
    peers::remove(&netlink, cluster, &leftovers.cluster_cidrs).await?;
    files(leftovers)
}

fn files(leftovers: &Leftovers) -> Result<(), Error> {
    if let Some(path) = &leftovers.cni_conf_dir {
        cni::remove_config(path, leftovers.cni_bin_dir.as_deref(), &leftovers.cluster)
            .map_err(|source| Error::File { path: path.clone(), source })?;
    }
    match leftovers.state_dir.as_ref().map(|path| (path, std::fs::remove_dir_all(path))) {
        Some((path, Err(source))) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { path: path.clone(), source })
        }
        _ => Ok(()),
    }
}
