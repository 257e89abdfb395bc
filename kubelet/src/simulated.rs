//! Simulated nodes: one process keeps many Node objects and lets the pods on them live, without containers.
//!
//! `world` holds all nodes and pods and decides; `life` is one pod, played by the kubelet's own plans (`crate::plan`) and
//! told by its own statuses (`crate::status`); `stages` scripts both from a file; `run` watches and writes.
//!
//! Invariants:
//! - One watch serves all nodes, and nothing is polled: everything that happens by itself stands in one heap of times.
//! - A pod is held as the short JSON of what its life needs, and parsed only when something happens to it.
//! - What a pod is in follows from its status, so that another process goes on where one ended.
//!
//! Absent on purpose: volumes, probes (readiness is scripted), logs, exec and port-forward, events about pods, and
//! refusing pods for which the node has no room.

mod addresses;
mod args;
mod keeper;
mod life;
mod nodes;
mod run;
mod stages;
mod world;
mod writes;

pub use args::Args;
pub use run::run;

/// Reads and checks a stages file.
pub fn check_stages(path: &std::path::Path) -> anyhow::Result<()> {
    stages::Stages::read(path).map(drop)
}
