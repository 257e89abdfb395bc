//! Servers that extend the API server: admission and conversion webhooks behind real TLS, through the real HTTP server.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]
#[path = "webhooks/admission.rs"]
mod admission;
#[path = "webhooks/aggregation.rs"]
mod aggregation;
#[path = "webhooks/conversion.rs"]
mod conversion;
#[path = "webhooks/coverage.rs"]
mod coverage;
#[path = "postgres/database.rs"]
mod database;
#[path = "webhooks/failures.rs"]
mod failures;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "registry/kinds.rs"]
mod kinds;
#[path = "webhooks/remote.rs"]
mod remote;
