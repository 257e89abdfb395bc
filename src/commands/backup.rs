//! `knarr backup FILE`: write everything of a cluster that cannot be made again into one file, while it runs.
use crate::backup::archive::Writer;
use crate::cluster::pki;
use anyhow::{Context, Result, bail};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Flags of `knarr backup`.
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "The file holds the cluster's keys and Secrets; without a passphrase anybody who can read it owns \
the cluster.\n\nExamples:
  knarr backup ci.backup
  knarr backup --name prod --passphrase-file /etc/knarr/passphrase prod.backup"
)]
pub struct Args {
    /// File to write; one that exists is replaced when the new one is whole
    file: PathBuf,
    #[command(flatten)]
    cluster: crate::cli::ClusterName,
    /// Encrypt the file with the first line of this one
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Runs `knarr backup`.
pub async fn run(args: Args) -> Result<()> {
    let cluster = args.cluster.open()?;
    if cluster.state.ephemeral {
        bail!("the database of cluster {:?} is in its API server's memory only", cluster.state.name);
    }
    let passphrase = args.passphrase_file.as_deref().map(passphrase).transpose()?;
    let mut temporary = args.file.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || format!("cannot write {}", temporary.display());
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut writer = Writer::new(file.with_context(write)?, passphrase.as_deref()).with_context(write)?;
    let exported = cluster.place().export(&mut |record| writer.add(&record)).await;
    let revision = exported.context("cannot copy the database")?;
    let mut state = cluster.state.clone();
    state.datastore = None;
    let objects = writer.finish(revision, &state, &pki::read(&cluster.paths)?).with_context(write)?;
    std::fs::rename(&temporary, &args.file).with_context(write)?;
    println!(
        "{objects} objects of cluster {:?} at revision {revision} are in {}.",
        state.name,
        args.file.display()
    );
    Ok(())
}

/// The first line of a file.
pub fn passphrase(file: &Path) -> Result<Vec<u8>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("the first line of {} is empty", file.display());
    }
    Ok(line.to_vec())
}
