//! `knarr kubeconfig`: print a cluster's kubeconfig.
use anyhow::{Context, Result};
use std::io::Write;

/// Flags of `knarr kubeconfig`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  KUBECONFIG=<(knarr kubeconfig) kubectl get pods -A")]
pub struct Args {
    #[command(flatten)]
    cluster: crate::cli::ClusterName,
}

/// Prints the administrator's kubeconfig.
pub fn run(args: &Args) -> Result<()> {
    let file = args.cluster.open()?.administered()?.paths.kubeconfig("admin");
    let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    std::io::stdout().write_all(&text)?;
    Ok(())
}
