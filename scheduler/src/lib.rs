//! The scheduler: assigns pods to nodes.
//!
//! Pods wait in a [`queue`]; the [`cache`] holds nodes with what runs or is assumed to run on them; the
//! [`algorithm`] asks the [`plugin`]s which nodes fit and which fits best. All of that is decision code without
//! I/O. The [`driver`] feeds it from informers, binds pods and reports failures.
//!
//! **Invariant**: a pod counts against its node from the moment it is assumed, not when the binding is seen.
pub mod algorithm;
pub mod args;
pub mod cache;
pub mod config;
pub mod devices;
mod driver;
pub mod index;
pub mod metrics;
pub mod node;
pub mod plugin;
pub mod plugins;
pub mod pod;
pub mod preemption;
pub mod profile;
pub mod queue;
pub mod resources;
pub mod selector;
pub mod storage;
pub mod terms;
#[cfg(test)]
mod testing;
pub mod views;
pub mod world;

pub use args::Args;
pub use driver::run;
