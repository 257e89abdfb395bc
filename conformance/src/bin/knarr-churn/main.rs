//! Convergence under churn: workloads change at random while processes of the cluster are killed at random; what must
//! hold at every moment is watched, and what must hold at the end is checked.
//!
//! The cluster is made by `conformance/churn/run`, with simulated nodes. All chance follows from the seed, which is
//! printed first; what happens between processes does not, so that a seed repeats the changes, not every race.
mod api;
mod changes;
mod end;
mod kills;
mod witness;

use anyhow::{Context, Result, bail};
use api::Api;
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the cluster may take to come to what was asked of it last.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks at a cluster that is coming to rest.
const LOOK: Duration = Duration::from_millis(500);

/// Change workloads and kill processes at random, and see that the cluster comes to what was asked of it.
#[derive(Parser, Debug)]
struct Args {
    /// The knarr program
    #[arg(long)]
    knarr: PathBuf,
    /// Name of the cluster
    #[arg(long)]
    name: String,
    /// Its kubeconfig
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// How long to make changes
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// What all chance follows from
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    // Fails only when there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match play(&args, seed).await {
        Ok(facts) => {
            println!("ok      {facts}\n1 passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("FAILED  seed {seed}: {e:#}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

async fn play(args: &Args, seed: u64) -> Result<String> {
    let mut chance = StdRng::seed_from_u64(seed);
    let kubeconfig = Kubeconfig::read_from(&args.kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let api = Api::new(kube::Client::try_from(config)?);
    changes::set_up(&api).await.context("cannot set up")?;
    end::eventually(PATIENCE, async || end::check(&api).await).await.context("before the churn")?;
    let witness = witness::start(api.clone()).await?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let (changes, kills) = tokio::join!(
        changes::run(&api, StdRng::from_rng(&mut chance), end),
        kills::run(&args.knarr, &args.name, StdRng::from_rng(&mut chance), end)
    );
    let (changes, kills) = (changes?, kills?);
    changes::settle(&api, &mut chance).await.context("the last changes")?;
    let begin = Instant::now();
    end::eventually(PATIENCE, async || end::check(&api).await).await?;
    let settled = begin.elapsed();
    let seen = witness.finish().await?;
    if let Some(fault) = seen.faults.first() {
        bail!("{} faults were seen, the first: {fault}", seen.faults.len());
    }
    Ok(format!(
        "{changes} changes, {kills} kills, {} events of {} pods, {} evictions; at rest after {:.1}s",
        seen.events,
        seen.pods,
        seen.evictions,
        settled.as_secs_f64()
    ))
}
