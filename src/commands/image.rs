//! `knarr image`: container images of a cluster.
use crate::supervisor::runtime_endpoint;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Flags of `knarr image`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Load images from archives (OCI layout or `docker save`)
    #[command(after_help = "Example:\n  docker save app:dev -o app.tar && knarr image load app.tar")]
    Load {
        /// Archives
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        cluster: crate::cli::ClusterName,
    },
}

/// Runs `knarr image`.
pub async fn run(args: Args) -> Result<()> {
    let Command::Load { files, cluster } = args.command;
    let cluster = cluster.open()?;
    let endpoint = runtime_endpoint(&cluster);
    for file in files {
        let imported = knarr_kubelet::images::import(&endpoint, &file).await;
        imported.with_context(|| format!("cannot load {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}
