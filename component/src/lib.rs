//! What every client process of the cluster shares: the client, informers, the work queue and
//! its runner, leader election, events, health, flags, logs and shutdown.
//!
//! A controller process is wired as follows: [`flags`] give a kubeconfig, [`client`] makes one
//! HTTP/2 client of it, [`informer::Informers`] keeps one informer a kind for the whole process,
//! handlers put keys into a [`queue::Queue`], and [`runner::run`] takes them out again.

pub mod backoff;
pub mod client;
pub mod delegation;
pub mod events;
pub mod flags;
pub mod health;
pub mod informer;
pub mod lease;
pub mod log;
pub mod meta;
pub mod metrics;
pub mod placement;
pub mod queue;
pub mod runner;
pub mod selector;
pub mod serving;
pub mod shutdown;
pub mod store;
