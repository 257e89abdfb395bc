//! The API server: storage, authentication, authorization, admission, the registry, discovery, streaming.
pub mod admission;
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod certs;
pub mod clock;
pub mod flags;
pub mod health;
pub mod loopback;
pub mod metrics;
pub mod objects;
pub mod own_paths;
pub mod request_info;
pub mod server;
pub mod storage;
pub mod tokens;
pub mod user;
