//! The audit log as it is configured by files and read by auditors.
#![allow(missing_docs, clippy::expect_used)]
#[path = "audit/audited.rs"]
mod audited;
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;
#[path = "audit/outputs.rs"]
mod outputs;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "webhooks/remote.rs"]
mod remote;

#[path = "audit/events.rs"]
mod events;
