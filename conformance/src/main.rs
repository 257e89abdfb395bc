//! The black-box suite: scenarios of people's daily work, played with stock kubectl against any cluster.
//!
//! It sees a kubeconfig and nothing else. Scenarios run in parallel, each in a namespace of its own; those that
//! disturb others (draining a node) run alone at the end. It ends with `N passed, N failed` and the exit code.
mod context;
mod runner;
mod scenarios;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Play the conformance scenarios against a cluster.
#[derive(Parser, Debug)]
#[command(after_help = "Examples:
  knarr-conformance --kubeconfig ~/.kube/config
  knarr-conformance --kubeconfig k --image registry.example/testbox rollout dns")]
pub struct Args {
    /// Only scenarios whose name contains one of these
    filter: Vec<String>,
    /// Kubeconfig of the cluster
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// The kubectl to play with
    #[arg(long, default_value = "kubectl")]
    kubectl: PathBuf,
    /// Repository of the test image; its tags 1 and 2 must be on every node (see conformance/images)
    #[arg(long, default_value = "test.local/testbox")]
    image: String,
    /// Scenarios at a time
    #[arg(long, default_value_t = 6)]
    parallel: usize,
    /// The scenarios of controllers and the scheduler instead, for the cluster of conformance/controllers/run
    #[arg(long)]
    simulated: bool,
    /// Only list the scenarios
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let all = if args.simulated { scenarios::simulated::all() } else { scenarios::all() };
    let chosen = all.into_iter().filter(|scenario| {
        args.filter.is_empty() || args.filter.iter().any(|part| scenario.name.contains(part.as_str()))
    });
    let chosen: Vec<_> = chosen.collect();
    if args.list {
        chosen.iter().for_each(|scenario| println!("{}", scenario.name));
        return ExitCode::SUCCESS;
    }
    runner::run(&args, &chosen)
}
