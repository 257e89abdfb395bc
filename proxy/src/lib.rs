//! The node's network: services, cluster DNS, pod network.
mod cleanup;
pub mod cni;
pub mod dns;
pub mod names;
pub mod network;
pub mod nft;
pub mod service;
pub use cleanup::{Leftovers, cleanup};
