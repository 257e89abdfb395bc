//! Flags of the scheduler, named as the original's.
use clap::Args as ClapArgs;
use knarr_component::flags::{Connection, FeatureGates, LeaderElection, Logging, Server};
use std::path::PathBuf;

/// The port on which the original serves health and metrics.
pub const DEFAULT_PORT: u16 = 10259;

/// Assigns pods to nodes.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// How to reach the API server.
    #[command(flatten)]
    pub connection: Connection,
    /// How much to log.
    #[command(flatten)]
    pub logging: Logging,
    /// Features beside those that are on by default.
    #[command(flatten)]
    pub features: FeatureGates,
    /// Where health and metrics are served, and to whom.
    #[command(flatten)]
    pub server: Server,
    /// Election among replicas.
    #[command(flatten)]
    pub leader_election: LeaderElection,
    /// Configuration file (`KubeSchedulerConfiguration`); it takes the place of the flags that say the same.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this scheduler: pods choose it by `spec.schedulerName`.
    #[arg(long, default_value = "default-scheduler", value_name = "NAME")]
    pub scheduler_name: String,
    /// Bindings in flight at once.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub parallel_bindings: usize,
}
