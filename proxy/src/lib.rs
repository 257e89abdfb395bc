//! The node's network: services, cluster DNS, pod network.
//!
//! - [`service`] decides what is to become of Services' traffic, without I/O; a [`mode`] carries it out, by [`nft`] unless
//!   told otherwise, `sync` has it do so whenever something changes, and [`conntrack`] removes flows that outlived their
//!   endpoint.
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
mod healthz;
mod metrics;
pub mod mode;
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
pub use healthz::ProxyHealth;
pub use metrics::Metrics;
pub use run::run;
