//! The API as clients on real sockets see it: ownership, watches, limits, versions.
#![allow(missing_docs, clippy::expect_used)]
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;

mod api {
    mod apply;
    mod bad_input;
    mod flow;
    mod forms;
    mod metrics;
    mod options;
    mod proxies;
    mod versions;
}
