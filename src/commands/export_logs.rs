//! `knarr export-logs DIR`: everything that a failed CI run needs to be understood later.
use super::logs;
use crate::cluster::Cluster;
use anyhow::{Context, Result};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::discovery::verbs;
use kube::{Client, Discovery};
use std::fs;
use std::path::{Path, PathBuf};

/// Flags of `knarr export-logs`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  knarr export-logs ./artifacts")]
pub struct Args {
    /// Folder that gets components/, pods/ and objects/; it is created
    dir: PathBuf,
    #[command(flatten)]
    cluster: crate::cli::ClusterName,
}

/// Writes component logs, container logs and every object but Secrets.
///
/// What cannot be had (the API server may be the very thing that failed) is said on standard error, and the
/// rest is written all the same.
pub async fn run(args: Args) -> Result<()> {
    let cluster = args.cluster.open()?;
    let components = args.dir.join("components");
    fs::create_dir_all(&components).with_context(|| format!("cannot create {}", components.display()))?;
    for name in logs::known(&cluster)? {
        fs::copy(cluster.paths.log(&name), components.join(format!("{name}.log")))?;
    }
    copy_tree(&cluster.paths.pod_logs(), &args.dir.join("pods"))?;
    if let Err(e) = objects(&cluster, &args.dir.join("objects")).await {
        eprintln!("warning: objects are missing or incomplete: {e:#}");
    }
    crate::cli::print(args.dir.display())
}

async fn objects(cluster: &Cluster, folder: &Path) -> Result<()> {
    let client = knarr_component::client::connect(Some(&cluster.paths.kubeconfig("admin")), "cli").await?;
    fs::create_dir_all(folder)?;
    let discovery = Discovery::new(client.clone()).run().await.context("cannot discover the resources")?;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            // Secrets do not belong into the artifacts of a CI run.
            if capabilities.supports_operation(verbs::LIST) && resource.kind != "Secret" {
                let name = if group.name().is_empty() { "core" } else { group.name() };
                let file = folder.join(format!("{name}.{}.json", resource.plural));
                if let Err(e) = dump(&client, &resource, &file).await {
                    eprintln!("warning: {e:#}");
                }
            }
        }
    }
    Ok(())
}

async fn dump(client: &Client, resource: &kube::core::ApiResource, file: &Path) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let list = api.list(&ListParams::default()).await;
    let list = list.with_context(|| format!("cannot list {}", resource.plural))?;
    if !list.items.is_empty() {
        fs::write(file, serde_json::to_vec_pretty(&list)?)?;
    }
    Ok(())
}

/// Copies a folder of regular files; links and other things are left out.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
