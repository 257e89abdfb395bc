//! `knarr status`: the clusters of this host and what runs of them.
use crate::cli::{self, Output};
use crate::cluster::{Cluster, paths};
use crate::supervisor::{self, components, holder};
use anyhow::Result;
use serde::Serialize;
use std::process::ExitCode;

/// Flags of `knarr status`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Only this cluster; the exit code is 1 unless all of it runs
    #[arg(long)]
    name: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What runs of one cluster.
#[derive(Debug, Serialize)]
struct Status {
    name: String,
    server: String,
    running: bool,
    components: Vec<ComponentStatus>,
}

/// One process of a cluster.
#[derive(Debug, Serialize)]
struct ComponentStatus {
    name: &'static str,
    pid: Option<u32>,
}

/// Prints the status; the exit code tells whether everything runs.
pub fn run(args: &Args) -> Result<ExitCode> {
    let home = paths::home();
    let clusters = match &args.name {
        Some(name) => vec![Cluster::open(&home, name)?],
        None => Cluster::all(&home)?,
    };
    let all = clusters.iter().map(status).collect::<Result<Vec<_>>>()?;
    match args.output {
        Output::Json => cli::print(serde_json::to_string(&all)?)?,
        Output::Text if all.is_empty() => cli::print("No clusters on this host; `knarr up` creates one.")?,
        Output::Text => all.iter().try_for_each(print)?,
    }
    let complete = args.name.is_none() || all.iter().all(|status| status.running);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn status(cluster: &Cluster) -> Result<Status> {
    let mut list = vec![ComponentStatus { name: supervisor::NAME, pid: None }];
    list.extend(
        components(cluster)?.iter().map(|component| ComponentStatus { name: component.name, pid: None }),
    );
    for component in &mut list {
        component.pid = holder(&cluster.paths.lock(component.name))?;
    }
    Ok(Status {
        name: cluster.state.name.clone(),
        server: cluster.server_url(),
        running: list.iter().all(|component| component.pid.is_some()),
        components: list,
    })
}

fn print(status: &Status) -> Result<()> {
    let state = if status.running { "up" } else { "not up" };
    cli::print(format_args!("{}: {state} at {}", status.name, status.server))?;
    for component in &status.components {
        match component.pid {
            Some(pid) => cli::print(format_args!("  {:<12} running, process {pid}", component.name))?,
            None => cli::print(format_args!("  {:<12} not running", component.name))?,
        }
    }
    Ok(())
}
