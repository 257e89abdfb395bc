//! What strangers may do to the server: none of it gets past a check, stops it or makes it grow.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]
#[path = "hardening/bombs.rs"]
mod bombs;
#[path = "postgres/database.rs"]
mod database;
#[path = "hardening/framing.rs"]
mod framing;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;
#[path = "hardening/paths.rs"]
mod paths;
#[path = "hardening/raw.rs"]
mod raw;
#[path = "hardening/streams.rs"]
mod streams;
#[path = "hardening/waiting.rs"]
mod waiting;
