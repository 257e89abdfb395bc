//! The registry over a real store, driven as the HTTP side drives it: every kind of the table, the exact errors,
//! paging, watches, deletion.
#![allow(clippy::unwrap_used, reason = "a test ends where its expectation does")]
#[path = "postgres/database.rs"]
mod database;
mod registry {
    mod accounts;
    mod apply;
    mod crud;
    mod custom;
    mod deletion;
    mod depth;
    mod documents;
    mod errors;
    mod fuzz;
    pub mod harness;
    mod kinds;
    mod lists;
    mod ownership;
    mod pods;
    mod quotas;
    mod schemas;
    mod services;
    mod subresources;
    mod watches;
}
