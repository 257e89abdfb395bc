//! Containers run by Knarr itself: no daemon, and nothing on the host but the kernel.
//!
//! Images lie in a [`store`] that all clusters of a host share. A pod's sandbox is one process, its [`shim`], which
//! the kubelet starts and speaks to through a socket; it has the pod's namespaces and is the parent of its containers.
//! What is known of sandboxes and containers lies in files (`state`), so that a new kubelet finds everything again.

mod cdi;
mod client;
mod devices;
mod leftovers;
mod network;
mod registry;
mod runtime;
mod sandbox;
pub mod shim;
mod spec;
mod state;
pub mod store;
mod streams;
mod users;

pub use network::{Bandwidth, HostOnly, PodNetwork};
pub use registry::Registries;
pub use runtime::{Embedded, Settings};
