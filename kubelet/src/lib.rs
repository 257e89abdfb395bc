//! The node agent: pod lifecycle, volumes, probes, container runtimes.
//!
//! Pods come from the API server (`api::pods`) and from manifests (`static_pods`) to the `manager`, which
//! keeps one `worker` task for each. A worker looks at the runtime (`observed`), decides (`plan`, without
//! I/O), acts, and hands the computed `status` to one sender. `pleg` wakes workers when something happened
//! in the runtime. `server` and `streaming` answer what is asked of the node from outside, and `tunnel` brings that to
//! them where the node cannot be dialled.
//!
//! Invariants:
//! - What a worker does next depends only on the pod's object and on what the runtime shows, never on what
//!   it did before (back-off aside); so a restarted kubelet adopts what runs.
//! - A pod's object is deleted only after its containers have stopped and its volumes and cgroup are gone.
//! - Nothing of the cluster is watched but the node's own pods, services, and the config maps and secrets
//!   that its pods refer to.
//!
//! Absent for now: checkpoints of containers by the embedded runtime.

mod admission;
mod allocation;
mod api;
mod args;
mod backoff;
mod certificates;
mod cgroups;
mod checkpoint;
pub mod cleanup;
pub mod config;
mod container;
mod context;
mod cpus;
mod csi;
mod devices;
mod dra;
mod events;
mod eviction;
mod folder;
pub mod fuzzing;
mod grants;
mod grpc;
mod hex;
pub mod images;
mod labels;
mod last_words;
mod logs;
mod manager;
mod memory;
mod metrics;
mod node;
mod observed;
mod plan;
mod pleg;
mod plugins;
mod pod;
mod podresources;
mod preemption;
mod probes;
mod reserved;
mod run;
pub mod runtime;
mod server;
mod shutdown;
pub mod simulated;
mod static_pods;
mod status;
pub mod streaming;
mod topology;
pub mod tunnel;
mod userns;
mod volumes;
mod worker;

pub use args::Args;
pub use run::run;
