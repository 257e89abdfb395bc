//! The controller manager: one file a controller.
//!
//! A controller is a function from the observed world to the next step, level-triggered and
//! idempotent. Its file holds the decisions, which do no I/O and are tested in tables, and a thin
//! driver that reads informers, asks for a decision and carries it out. [`manager`] lists all
//! controllers and starts those that the flags select.

mod account_names;
pub mod args;
mod cache;
mod conditions;
mod context;
mod control;
mod edit;
mod expectations;
mod freshness;
mod history;
mod manager;
mod meta;
mod metrics;
mod node_affinity;
mod pods;
mod queue_names;
mod resources;
mod taints;
mod template_hash;

mod attach_detach;
mod autoscaler;
mod bootstrap_tokens;
mod certificates;
mod clusterrole_aggregation;
mod cronjob;
mod daemonset;
mod deployment;
mod device_taint_eviction;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod ephemeral_volume;
mod garbage_collector;
mod job;
mod legacy_token_cleaner;
mod local_path;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod replicaset;
mod resource_claim;
mod resource_quota;
mod root_ca;
mod service_account;
mod service_account_token;
mod service_cidrs;
mod service_load_balancer;
mod statefulset;
mod storage_version_migrator;
mod taint_eviction;
mod trust_bundle;
mod ttl;
mod ttl_after_finished;
mod volume_attributes_class_protection;
mod volume_binder;
mod volume_expand;
mod volume_protection;

pub use args::Args;
pub use manager::{names, run};
