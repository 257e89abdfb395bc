//! `knarr image`: container images of a cluster.
use crate::cli::Output;
use crate::cluster::Cluster;
use crate::image_archive::{self, Config};
use crate::supervisor::runtime_endpoint;
use anyhow::{Context, Result, bail};
use knarr_kubelet::images::Place;
use knarr_kubelet::runtime::types::Image;
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
    /// List the images
    #[command(visible_alias = "ls")]
    List {
        /// Form of the result
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: crate::cli::ClusterName,
    },
    /// Remove images
    Rm {
        /// Names or ids
        #[arg(required = true)]
        images: Vec<String>,
        #[command(flatten)]
        cluster: crate::cli::ClusterName,
    },
    /// Write images into an archive that `knarr image load`, docker and podman load
    #[command(after_help = "Example:\n  knarr image save app:dev --file app.tar")]
    Save {
        /// Names or ids
        #[arg(required = true)]
        images: Vec<String>,
        /// The archive to write
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
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
        Command::Load { files, cluster } => load(&place(&cluster.open()?)?, &files).await,
        Command::List { output, cluster } => list(&place(&cluster.open()?)?, output).await,
        Command::Rm { images, cluster } => {
            let place = place(&cluster.open()?)?;
            for image in &images {
                place.remove(image).await.with_context(|| format!("cannot remove {image}"))?;
                crate::cli::print(image)?;
            }
            Ok(())
        }
        Command::Save { images, file, cluster } => {
            let place = place(&cluster.open()?)?;
            place.save(&images, &file).await.with_context(|| format!("cannot write {}", file.display()))
        }
        Command::Pack { image, folder, file, entrypoint, user, env } => {
            let config = Config { entrypoint, user, env, ..Config::default() };
            let archive = image_archive::archive(&image, &config, image_archive::folder_layer(&folder)?)?;
            std::fs::write(&file, archive).with_context(|| format!("cannot write {}", file.display()))
        }
    }
}

/// Where the cluster's images lie.
fn place(cluster: &Cluster) -> Result<Place> {
    if cluster.state.api_only {
        bail!("cluster {:?} is just an API server: it has no node that holds images", cluster.state.name);
    }
    if cluster.state.simulated.is_some() {
        bail!("the nodes of cluster {:?} are simulated: they hold no images", cluster.state.name);
    }
    Ok(Place::of(&runtime_endpoint(cluster), &cluster.paths.image_store()))
}

async fn load(place: &Place, files: &[PathBuf]) -> Result<()> {
    for file in files {
        place.load(file).await.with_context(|| format!("cannot load {}", file.display()))?;
        crate::cli::print(file.display())?;
    }
    Ok(())
}

async fn list(place: &Place, output: Output) -> Result<()> {
    let images = place.list().await.context("cannot list the images")?;
    if output == Output::Json {
        let image = |image: &Image| {
            serde_json::json!({
                "id": image.id, "names": image.repo_tags, "digests": image.repo_digests, "size": image.size,
            })
        };
        return crate::cli::print(images.iter().map(image).collect::<serde_json::Value>());
    }
    for image in &images {
        let names = image.repo_tags.iter().chain(&image.repo_digests);
        let name = names.into_iter().next().map_or("-", String::as_str);
        let id = image.id.trim_start_matches("sha256:");
        crate::cli::print(format_args!("{name}  {}  {} bytes", &id[..id.len().min(12)], image.size))?;
    }
    Ok(())
}
