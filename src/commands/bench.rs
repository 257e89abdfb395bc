//! `knarr bench`: what this program does on this machine, in figures.
//!
//! The client shares the machine with the server, so it is made to cost little: HTTP/2 over few connections,
//! bodies made in advance, answers read but not parsed, one thread.
mod api;
mod client;
mod cluster;
mod definitions;
mod forms;
mod leases;
mod load;
mod process;
mod report;
mod restart;
mod scale;
mod server;
mod watchers;

use crate::cli::Output;
use crate::progress::Progress;
use anyhow::Result;
use report::Report;
use std::time::Duration;

/// Flags of `knarr bench`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  knarr bench                        the API server, and a whole cluster where this host can run one
  knarr bench scale                  thousands of simulated nodes, only when asked for
  knarr bench api --quick
  knarr bench api --only get,list --output json
  knarr bench api --only definitions,restart
  knarr bench api --only leases --lease-span 600")]
pub struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Shorter and less exact
    #[arg(long, global = true)]
    quick: bool,
    /// Only measurements whose name begins with one of these; memory is that of what was made for them
    #[arg(long, global = true, value_delimiter = ',', value_name = "PREFIX")]
    only: Vec<String>,
    /// Measure the API server on this Postgres database instead of SQLite; what it holds is deleted
    #[arg(long, global = true, value_name = "URL")]
    datastore: Option<String>,
    /// Seconds for which Leases are renewed, for the growth of the database
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(6..))]
    lease_span: Option<u64>,
    /// Simulated nodes of the clusters of `scale`; Deployments are measured on the largest
    #[arg(long, global = true, value_delimiter = ',', value_name = "N")]
    simulated_nodes: Vec<usize>,
    /// Form of the result
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::Subcommand, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The API server alone
    Api,
    /// A whole cluster; needs root and containerd
    Cluster,
    /// Clusters of simulated nodes: scheduling, Deployments, namespaces, what controllers cost
    Scale,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Starts of which the median is taken.
    pub starts: usize,
    /// How long a throughput is measured.
    pub span: Duration,
    /// Config maps of 1 KiB in lists and memory.
    pub config_maps: usize,
    /// Pods of 4 KiB in lists and memory.
    pub pods: usize,
    /// Whole lists of which the median is taken.
    pub lists: usize,
    /// Pods started one after the other.
    pub pod_starts: usize,
    /// Watchers at once.
    pub watchers: usize,
    /// How long each rate of writes is held up while watchers are brought to their limit.
    pub watch_span: Duration,
    /// Pods of 4 KiB in lists of every form.
    pub listed_pods: usize,
    /// Config maps of 100 kB in the list that shows what lists take of memory.
    pub large_objects: usize,
    /// CustomResourceDefinitions at once.
    pub definitions: usize,
    /// Objects of 1 KiB in the database of a server that is restarted.
    pub restart_objects: usize,
    /// Leases that are renewed each second.
    pub leases: usize,
    /// For how long.
    pub lease_span: Duration,
    /// Simulated nodes of each cluster.
    pub simulated_nodes: Vec<usize>,
    /// Pods that are scheduled one by one.
    pub scheduled_pods: usize,
    /// Pods that run at once on the smallest cluster.
    pub running_pods: usize,
    /// Replicas of a Deployment; no more than there are nodes, where each needs one of its own.
    pub replicas: usize,
    /// For how long idleness is measured.
    pub idle_span: Duration,
    /// URL of the API server's database; none: SQLite.
    pub datastore: Option<String>,
    only: Vec<String>,
}

impl Scale {
    fn new(args: &Args) -> Self {
        let pick = |whole: usize, quick: usize| if args.quick { quick } else { whole };
        Self {
            starts: pick(25, 5),
            span: Duration::from_millis(if args.quick { 1000 } else { 4000 }),
            config_maps: 10_000,
            pods: 5_000,
            lists: pick(21, 7),
            pod_starts: pick(7, 3),
            watchers: 1_000,
            watch_span: Duration::from_secs(pick(8, 2) as u64),
            listed_pods: pick(10_000, 1_000),
            large_objects: pick(1_000, 100),
            definitions: pick(500, 50),
            restart_objects: pick(100_000, 5_000),
            leases: pick(1_000, 100),
            lease_span: Duration::from_secs(args.lease_span.unwrap_or(pick(240, 12) as u64)),
            simulated_nodes: match args.simulated_nodes.is_empty() {
                true => vec![pick(1000, 20), pick(5000, 100)],
                false => args.simulated_nodes.clone(),
            },
            scheduled_pods: pick(10_000, 200),
            running_pods: pick(20_000, 400),
            replicas: pick(5000, 100),
            idle_span: Duration::from_secs(pick(20, 4) as u64),
            datastore: args.datastore.clone(),
            only: args.only.clone(),
        }
    }

    /// Whether a measurement, or a part of it, was asked for.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |prefix: &String| name.starts_with(prefix.as_str()) || prefix.starts_with(name);
        self.only.is_empty() || self.only.iter().any(fits)
    }
}

/// Runs `knarr bench`.
pub async fn run(args: Args) -> Result<()> {
    let mut progress = Progress::new(args.output);
    let scale = Scale::new(&args);
    let mut report = Report::new()?;
    if matches!(args.part, None | Some(Part::Api)) {
        api::measure(&scale, &mut report, &mut progress).await?;
    }
    match args.part {
        Some(Part::Api) => {}
        Some(Part::Scale) => scale::measure(&scale, &mut report, &mut progress).await?,
        Some(Part::Cluster) => cluster::measure(&scale, &mut report, &mut progress).await?,
        None => match crate::cluster::preflight::node(None).await {
            Ok(()) => cluster::measure(&scale, &mut report, &mut progress).await?,
            Err(e) => report.left_out("cluster", &e),
        },
    }
    progress.done();
    report.print(args.output)
}
