//! The API as clients on real sockets see it: ownership, watches, limits, versions.
#![allow(missing_docs, dead_code, clippy::expect_used)]
#[path = "server/harness.rs"]
mod harness;

mod api {
    mod apply;
    mod options;
}
