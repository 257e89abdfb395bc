//! The node agent: pod lifecycle, volumes, probes, container runtimes.

mod admission;
mod api;
mod args;
mod backoff;
mod cgroups;
pub mod cleanup;
mod container;
mod context;
mod events;
pub mod images;
mod labels;
mod last_words;
mod logs;
mod manager;
mod node;
mod observed;
mod plan;
mod pleg;
mod pod;
mod probes;
mod run;
mod runtime;
mod server;
mod static_pods;
mod status;
mod streaming;
mod volumes;
mod worker;

pub use args::Args;
pub use run::run;
