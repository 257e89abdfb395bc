//! Cluster DNS, answered on every node.
//!
//! `zone` holds the names that Services and EndpointSlices have and answers from maps, never by a search;
//! `forward` asks the host's resolvers for all other names; `handler` joins both behind hickory's server.
//! Records follow the specification of Kubernetes DNS, version 1.1.0.

mod cache;
mod forward;
mod handler;
mod labels;
mod resolv_conf;
mod zone;

pub use forward::{Forwarder, Reply};
pub use handler::{Counters, Handler, bind, serve};
pub use resolv_conf::Upstreams;
pub use zone::{Answer, Zone};

/// Seconds for which clients may keep a record of the cluster, and that there is none.
pub const TTL: u32 = 5;
