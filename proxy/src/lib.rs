//! The node's network: services, cluster DNS, pod network.
//!
//! - [`service`] turns Services and EndpointSlices into rules, without I/O; [`nft`] brings them into the
//!   kernel, `sync` whenever they change, and [`conntrack`] removes flows that outlived their endpoint.
//! - [`policy`] does the same with NetworkPolicies.
//! - [`dns`] answers for the cluster's names on the node itself.
//! - [`network`] is the node's bridge, [`cni`] the plugin that joins pods to it.
//! - [`cleanup`] removes all of it: everything is named after the cluster ([`names`]).

mod cleanup;
pub mod cni;
pub mod config;
pub mod conntrack;
pub mod dns;
mod flags;
mod health_check;
mod metrics;
pub mod names;
mod netfilter;
pub mod network;
pub mod nft;
pub mod policy;
mod run;
pub mod service;
pub mod sync;

pub use cleanup::{Error as CleanupError, Leftovers, cleanup};
pub use flags::{Args, ProxyMode};
pub use metrics::Metrics;
pub use run::run;
