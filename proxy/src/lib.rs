//! The node's network: services, cluster DNS, pod network.
pub mod names;
pub mod nft;
pub mod service;
pub mod network;
pub mod cni;
pub mod dns;
mod cleanup;
pub use cleanup::{Leftovers, cleanup};
