//! `knarr restore FILE`: make a cluster from a backup, on this host and on a database of choice.
use super::backup::passphrase;
use super::up;
use crate::backup::archive::{self, Contents};
use crate::cluster::home::HomeLock;
use crate::cluster::state::{Wishes, choose};
use crate::cluster::{Cluster, Paths, State, paths, pki, preflight};
use anyhow::{Context, Result, bail};
use knarr_apiserver::storage::Revision;
use std::path::PathBuf;

/// Flags of `knarr restore`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  knarr restore prod.backup --passphrase-file /etc/knarr/passphrase && knarr up --name prod
  knarr restore ci.backup --name ci-2 --datastore postgres://knarr@db/knarr --apiservers 2")]
pub struct Args {
    /// File written by `knarr backup`
    file: PathBuf,
    /// Name of the new cluster (the name it had)
    #[arg(long)]
    name: Option<String>,
    /// Database to restore into (SQLite in the cluster's directory)
    #[arg(long, value_name = "URL", env = "KNARR_DATASTORE", hide_env_values = true)]
    datastore: Option<String>,
    /// Put the backup in place of what the database holds
    #[arg(long, requires = "datastore")]
    replace: bool,
    /// API servers on that database
    #[arg(long, value_name = "N", requires = "datastore", value_parser = clap::value_parser!(u8).range(1..=9))]
    apiservers: Option<u8>,
    /// Port of the API server (a free one from 6443 up)
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// File whose first line decrypts the backup
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Runs `knarr restore`.
pub async fn run(args: Args) -> Result<()> {
    let passphrase = args.passphrase_file.as_deref().map(passphrase).transpose()?;
    let backup = archive::verify(&args.file, passphrase.as_deref())?;
    let home = paths::home();
    let _lock = HomeLock::acquire(&home)?;
    let others: Vec<State> = Cluster::all(&home)?.into_iter().map(|cluster| cluster.state).collect();
    let state = state(&args, &backup, &others)?;
    let cluster = Cluster { paths: Paths::new(&home, &state.name), state };
    let (name, root) = (&cluster.state.name, cluster.paths.root());
    if root.exists() {
        bail!("cluster {name:?} exists; `knarr down --name {name}` removes it, --name restores beside it");
    }
    let made = make(&cluster, &backup, &args, passphrase.as_deref()).await;
    if made.is_err() {
        std::fs::remove_dir_all(root).ok();
    }
    let revision = made?;
    println!(
        "Cluster {name:?} is restored: {} objects, going on at revision {revision}.",
        backup.manifest.objects
    );
    println!("  knarr up --name {name}");
    Ok(())
}

/// What was chosen for the cluster, as far as it can stay: networks and the node's name are in the objects.
fn state(args: &Args, backup: &Contents, others: &[State]) -> Result<State> {
    let old = &backup.state;
    let name = args.name.clone().unwrap_or_else(|| old.name.clone());
    preflight::name(&name)?;
    let wishes = Wishes {
        api_port: args.api_port,
        node_name: Some(old.node_name.clone()),
        cluster_cidr: Some(old.cluster_cidr.clone()),
        service_cidr: Some(old.service_cidr.clone()),
        publish: old.publish.clone(),
        address: None,
        dual_stack: false,
        more_api_servers: usize::from(args.apiservers.unwrap_or(1)).saturating_sub(1),
    };
    let chosen = choose(&name, &wishes, others);
    let (mut state, _) = chosen.context("the backup's networks and ports must be free on this host")?;
    state.api_only = old.api_only;
    state.simulated = old.simulated;
    state.runtime_endpoint = old.runtime_endpoint.clone();
    state.extra_args = old.extra_args.clone();
    state.tls_sans = old.tls_sans.clone();
    state.network = old.network;
    state.datastore = args.datastore.clone();
    Ok(state)
}

async fn make(
    cluster: &Cluster,
    backup: &Contents,
    args: &Args,
    passphrase: Option<&[u8]>,
) -> Result<Revision> {
    up::create::prepare(cluster, || pki::restore(cluster, &backup.pki))?;
    let (place, head) = (cluster.place(), Revision(backup.manifest.revision));
    let imported = archive::with_objects(&args.file, passphrase, async |records| {
        place.import(head, records, args.replace).await
    });
    let revision =
        imported.await?.context("cannot fill the database (--replace overwrites one that is in use)")?;
    // The last step: from here on the cluster exists.
    cluster.state.save(&cluster.paths.state_file())?;
    Ok(revision)
}
