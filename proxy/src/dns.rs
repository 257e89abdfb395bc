//! Cluster DNS, answered on every node.
//!
//! `zone` holds the names that Services and EndpointSlices have and answers from maps, never by a search;
//! `forward` asks for all other names, of the servers that the ConfigMap `kube-system/kube-dns` names (`settings`) or the
//! host's; `handler` joins both behind hickory's server.
//! Records follow the specification of Kubernetes DNS, version 1.1.0.

mod cache;
mod follow;
mod forward;
mod handler;
mod labels;
mod resolv_conf;
mod settings;
mod zone;

pub use follow::{Place, settings as follow_settings};
pub use forward::{Forwarder, Reply};
pub use handler::{Counters, Handler, bind, serve};
pub use resolv_conf::Upstreams;
pub use settings::Settings;
pub use zone::{Answer, Zone};

/// Seconds for which clients may keep a record of the cluster, and that there is none.
pub const TTL: u32 = 5;
