//! `knarr secrets rotate`: write all objects of encrypted resources with the newest key.
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use knarr_apiserver::storage::encryption::Tally;
use kube::Client;
use std::io::IsTerminal;
use std::path::PathBuf;

const PATH: &str = "/knarr/encryption";

/// Flags of `knarr secrets`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Write objects again that are stored in the clear or with a former key
    Rotate(Rotate),
}

#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "Put the new key first in the file of --encryption-provider-config on every API server, rotate, and take \
the old key out. Ctrl-C interrupts after the objects at hand; the next call goes on from there.\n\nExamples:
  knarr secrets rotate
  knarr secrets rotate --kubeconfig ~/.kube/config"
)]
struct Rotate {
    #[command(flatten)]
    cluster: crate::cli::ClusterName,
    /// Kubeconfig to use instead of the cluster's own
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Runs `knarr secrets`.
pub async fn run(args: Args) -> Result<()> {
    let Command::Rotate(args) = args.command;
    let kubeconfig = match args.kubeconfig {
        Some(path) => path,
        None => args.cluster.open()?.paths.kubeconfig("admin"),
    };
    let client = knarr_component::client::connect(Some(&kubeconfig), "cli").await?;
    tokio::select! {
        rotated = rotate(&client) => rotated,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            let Tally { total, stale, .. } = ask(&client, "GET").await?;
            bail!("interrupted: {} of {total} objects are done, the next call goes on from there", total - stale)
        }
    }
}

async fn rotate(client: &Client) -> Result<()> {
    let mut state = ask(client, "GET").await?;
    let bar = bar(state.stale);
    let (begun, mut stuck) = (state.stale, 0);
    while state.stale > 0 {
        let next = ask(client, "POST").await?;
        // Others may write with a former key meanwhile: a server whose file was not exchanged does.
        stuck = if next.stale < state.stale { 0 } else { stuck + 1 };
        if stuck == 10 {
            bail!(
                "{} objects keep being written with a former key: do all API servers have the new one?",
                next.stale
            );
        }
        state = next;
        bar.set_position(begun.saturating_sub(state.stale) as u64);
    }
    bar.finish_and_clear();
    crate::cli::print(format_args!(
        "{begun} objects were written again, {} are stored with the newest key.",
        state.total
    ))?;
    if state.unreadable > 0 {
        bail!("{} objects cannot be decrypted; the API server's log names them", state.unreadable);
    }
    Ok(())
}

fn bar(length: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} ({eta})") {
        bar.set_style(style);
    }
    bar
}

async fn ask(client: &Client, method: &str) -> Result<Tally> {
    let request = http::Request::builder().method(method).uri(PATH).body(Vec::new())?;
    match client.request(request).await {
        Ok(tally) => Ok(tally),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            bail!("the API server encrypts nothing: it has no --encryption-provider-config")
        }
        Err(error) => Err(error).context("cannot rotate"),
    }
}
