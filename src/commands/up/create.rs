//! The files of a new cluster.
use super::settings::Settings;
use crate::cluster::home::HomeLock;
use crate::cluster::state::{Reservations, choose};
use crate::cluster::{Cluster, Paths, State, pki};
use crate::{kubeconfig, pause, supervisor};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Chooses and writes everything of a new cluster; leaves nothing behind if it fails. What was chosen stays reserved
/// until the cluster uses it.
pub fn create(home: &Path, name: &str, settings: &Settings) -> Result<(Cluster, Reservations)> {
    let _lock = HomeLock::acquire(home)?;
    let others: Vec<State> = Cluster::all(home)?.into_iter().map(|cluster| cluster.state).collect();
    if let Some(url) = &settings.datastore
        && let Some(other) = others.iter().find(|other| other.datastore.as_ref() == Some(url))
    {
        bail!("cluster {:?} keeps its state in that database", other.name);
    }
    let (mut state, reserved) = choose(name, &settings.wishes()?, &others)?;
    state.api_only = settings.api_only;
    state.simulated = settings.simulated()?;
    state.ephemeral = settings.ephemeral;
    state.datastore = settings.datastore.clone();
    state.runtime_endpoint = settings.runtime_endpoint();
    state.extra_args = settings.extra_args.clone();
    state.tls_sans = settings.tls_sans.clone();
    state.network = settings.network();
    let paths = Paths::new(home, name);
    if Cluster::find(home, name)?.is_some() {
        bail!("another `knarr up` has just created cluster {name:?}; run this again to wait for it");
    }
    if paths.root().exists() {
        bail!("{} is in the way; `knarr down --name {name}` removes it", paths.root().display());
    }
    let cluster = Cluster { paths, state };
    supervisor::check(&cluster)?;
    if cluster.state.runs_containers() {
        check_bridge(name)?;
    }
    let written = write(&cluster, settings);
    if written.is_err() {
        // Both were made just now; what cannot be removed either is part of that error's cause.
        let _ = std::fs::remove_dir_all(cluster.paths.root());
        let _ = std::fs::remove_dir_all(cluster.paths.run());
    }
    written.map(|()| (cluster, reserved))
}

/// Refuses a name whose bridge is there already.
pub fn check_bridge(name: &str) -> Result<()> {
    let bridge = knarr_proxy::names::bridge(name);
    // Not by /sys, which shows the network namespace in which it was mounted.
    if nix::net::if_::if_nametoindex(bridge.as_str()).is_ok() {
        bail!(
            "the interface {bridge} exists, so another folder of clusters (KNARR_HOME) holds one named {name:?}, too; \
             choose another --name, or remove what is left of one that is gone with `ip link delete {bridge}`"
        );
    }
    Ok(())
}

/// Makes what a stopped cluster's components need once more: `/run` does not survive a reboot.
pub fn renew(home: &Path, cluster: &Cluster, settings: &Settings) -> Result<()> {
    let _lock = HomeLock::acquire(home)?;
    make_directories(&cluster.paths)?;
    copy_stages(cluster, settings)?;
    copy_images(cluster, settings)
}

/// Writes all files of a new cluster but the one that makes it exist; `keys` writes the certificates.
pub fn prepare(cluster: &Cluster, keys: impl FnOnce() -> Result<()>) -> Result<()> {
    make_directories(&cluster.paths)?;
    keys()?;
    kubeconfig::write_all(cluster)?;
    write_pause(&cluster.paths)
}

/// Writes the archive of the pause image where the kubelet imports from.
pub fn write_pause(paths: &Paths) -> Result<()> {
    Ok(std::fs::write(paths.images().join("pause.tar"), pause::archive()?)?)
}

fn write(cluster: &Cluster, settings: &Settings) -> Result<()> {
    prepare(cluster, || pki::create(cluster))?;
    copy_stages(cluster, settings)?;
    copy_images(cluster, settings)?;
    cluster.state.save(&cluster.paths.state_file())
}

/// Copies the file of `--stages`, so that a supervisor finds it when the folder that it came from has gone.
fn copy_stages(cluster: &Cluster, settings: &Settings) -> Result<()> {
    let Some(stages) = &settings.stages else { return Ok(()) };
    let copied = std::fs::copy(stages, cluster.paths.stages());
    copied.map(drop).with_context(|| format!("cannot copy {}", stages.display()))
}

/// Copies the archives of `--images` to where the kubelet imports from when it starts.
fn copy_images(cluster: &Cluster, settings: &Settings) -> Result<()> {
    settings.images.as_deref().map_or(Ok(()), |folder| copy_archives(&cluster.paths, folder))
}

/// Copies all files of a folder to where the kubelet imports from when it starts.
pub fn copy_archives(paths: &Paths, folder: &Path) -> Result<()> {
    for archive in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let archive = archive?.path();
        let name = archive.file_name().context("an archive without a name")?;
        std::fs::copy(&archive, paths.images().join(name))
            .with_context(|| format!("cannot copy {}", archive.display()))?;
    }
    Ok(())
}

/// Makes the directories of a cluster.
pub fn make_directories(paths: &Paths) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    for (folder, mode) in paths.directories() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(&folder);
        made.with_context(|| format!("cannot create {}", folder.display()))?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
