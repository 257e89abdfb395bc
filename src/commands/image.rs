//! `knarr image`: container images of a cluster.
use crate::cluster::Cluster;
use crate::image_archive::{self, Config};
use crate::supervisor::runtime_endpoint;
use anyhow::{Context, Result, bail};
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
    /// Make an image archive of one layer from a folder, without a builder or a registry
    #[command(
        after_help = "Example:\n  knarr image pack test.local/app:dev ./rootfs app.tar --entrypoint /app --entrypoint serve"
    )]
    Pack {
        /// Name and tag of the image
        image: String,
        /// Folder that becomes the root file system
        folder: PathBuf,
        /// The archive to write
        file: PathBuf,
        /// Program and arguments, one a flag
        #[arg(long, allow_hyphen_values = true)]
        entrypoint: Vec<String>,
        /// User that runs it, as UID[:GID]
        #[arg(long, default_value = "")]
        user: String,
        /// Environment variable, as NAME=VALUE; may be repeated
        #[arg(long)]
        env: Vec<String>,
    },
}

/// Runs `knarr image`.
pub async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Load { files, cluster } => load(&cluster.open()?, &files).await,
        Command::Pack { image, folder, file, entrypoint, user, env } => {
            let config = Config { entrypoint, user, env, ..Config::default() };
            let archive = image_archive::archive(&image, &config, image_archive::folder_layer(&folder)?)?;
            std::fs::write(&file, archive).with_context(|| format!("cannot write {}", file.display()))
        }
    }
}

async fn load(cluster: &Cluster, files: &[PathBuf]) -> Result<()> {
    if cluster.state.api_only {
        bail!("cluster {:?} is just an API server: it has no node that holds images", cluster.state.name);
    }
    if cluster.state.simulated.is_some() {
        bail!("the nodes of cluster {:?} are simulated: they hold no images", cluster.state.name);
    }
    let endpoint = runtime_endpoint(cluster);
    for file in files {
        let imported = knarr_kubelet::images::import(&endpoint, file).await;
        imported.with_context(|| format!("cannot load {}", file.display()))?;
        crate::cli::print(file.display())?;
    }
    Ok(())
}
