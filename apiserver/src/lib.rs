//! The API server: storage, authentication, authorization, admission, the registry, discovery, streaming.
pub mod admission;
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod certs;
pub mod clock;
pub mod discovery;
pub mod flags;
pub mod health;
pub mod hooks;
pub mod loopback;
pub mod metrics;
pub mod objects;
pub mod openapi;
pub mod own_paths;
pub mod registry;
pub mod request_info;
pub mod run;
pub mod runtime_config;
pub mod server;
pub mod storage;
pub mod strategy;
pub mod streaming;
pub mod tokens;
pub mod user;

pub use flags::Args;
pub use run::{run, run_on};
