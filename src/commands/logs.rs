//! `knarr logs COMPONENT`: print what a component wrote.
use anyhow::{Result, bail};
use std::fs::File;

/// Flags of `knarr logs`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  knarr logs apiserver")]
pub struct Args {
    /// apiserver, controllers, scheduler, kubelet, proxy, containerd or supervisor
    component: String,
    #[command(flatten)]
    cluster: crate::cli::ClusterName,
}

/// Prints the log to standard output.
pub fn run(args: &Args) -> Result<()> {
    let cluster = args.cluster.open()?;
    let known = known(&cluster)?;
    if !known.contains(&args.component) {
        bail!(
            "cluster {:?} has no component {:?}; it has {}",
            cluster.state.name,
            args.component,
            known.join(", ")
        );
    }
    let mut log = File::open(cluster.paths.log(&args.component))?;
    std::io::copy(&mut log, &mut std::io::stdout().lock())?;
    Ok(())
}

/// Components that have written a log, by name.
pub fn known(cluster: &crate::cluster::Cluster) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if let Some(folder) = cluster.paths.log("x").parent() {
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
