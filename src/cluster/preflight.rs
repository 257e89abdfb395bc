//! What must hold before a cluster is created: checked first, so that a refusal changes nothing.
use super::Cluster;
use super::state::is_free;
use crate::supervisor::holder;
use anyhow::{Context, Result, bail};
use knarr_kubelet::runtime::choose::EMBEDDED;
use knarr_kubelet::runtime::docker;
use knarr_proxy::nft::Nft;
use std::path::{Path, PathBuf};

/// Programs of the host that a cluster with its own containerd needs, with the Debian package of each.
const PROGRAMS: [(&str, &str); 3] = [("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc")];

/// Checks the name: it becomes a directory, an interface name and a kubeconfig context.
pub fn name(name: &str) -> Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    if bytes.len() > 40 || !bytes.iter().all(|b| inner(*b)) || !ends(bytes.first()) || !ends(bytes.last()) {
        bail!("{name:?} cannot name a cluster: use at most 40 of a-z, 0-9 and '-', as in \"ci-1\"");
    }
    Ok(())
}

/// Checks that this is root, as containers need.
pub fn root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("containers need root: run `sudo knarr up`, or `knarr up --api-only` for just the API server");
    }
    Ok(())
}

/// Checks that a stopped cluster can be started again: its ports are free and its database can be read.
pub async fn stopped(cluster: &Cluster) -> Result<()> {
    let name = &cluster.state.name;
    for (component, port) in cluster.state.ports.all() {
        if !is_free(port) && holder(&cluster.paths.lock(component))?.is_none() {
            bail!(
                "port {port} of cluster {name:?} is in use by another program: end that (see `ss -ltnp`), \
                 or give the cluster up with `knarr down --name {name}`"
            );
        }
    }
    if !cluster.state.ephemeral && holder(&cluster.paths.lock("apiserver"))?.is_none() {
        let checked = knarr_apiserver::storage::sqlite::Sqlite::check(&cluster.paths.database()).await;
        checked.with_context(|| {
            format!(
                "cluster {name:?} cannot be started: restore its database or use the version of knarr that wrote it, \
                 or give the cluster up with `knarr down --name {name}`"
            )
        })?;
    }
    Ok(())
}

/// Whether the programs of a containerd of the cluster's own are there.
pub fn has_containerd() -> bool {
    PROGRAMS.iter().all(|(program, _)| find(program).is_some())
}

/// Checks that containers can be run here: root, the programs, a CRI socket if one was named.
pub async fn node(runtime_endpoint: Option<&str>) -> Result<()> {
    root()?;
    let mut missing: Vec<&str> = Vec::new();
    if runtime_endpoint == Some(EMBEDDED) {
        // It needs nothing of the host but the kernel.
    } else if let Some(endpoint) = runtime_endpoint {
        let docker = docker::socket(endpoint);
        let (flag, socket) = match &docker {
            Some(socket) => ("--runtime docker", socket.as_path()),
            None => {
                let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
                ("--container-runtime-endpoint", Path::new(path))
            }
        };
        if std::os::unix::net::UnixStream::connect(socket).is_err() {
            bail!("no container runtime answers on {}; start it, or leave {flag} out", socket.display());
        }
    } else {
        missing.extend(
            PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package),
        );
    }
    missing.dedup();
    if !missing.is_empty() {
        bail!("the host lacks {list}: on Debian, `apt-get install {list}`", list = missing.join(" "));
    }
    Nft::check().context(
        "Services need the kernel's nftables (CONFIG_NF_TABLES) and leave to use them (CAP_NET_ADMIN)",
    )
}

/// Where a program lies, by `PATH` and the directories of system programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(system);
    folders.find_map(|folder| executable(&folder.join(program)))
}

fn executable(file: &Path) -> Option<PathBuf> {
    nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).ok().map(|()| file.to_owned())
}
