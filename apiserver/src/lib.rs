//! The API server: storage, authentication, authorization, admission, the registry, discovery, streaming.
pub mod admission;
pub mod discovery;
pub mod openapi;
pub mod registry;
pub mod request_info;
pub mod server;
pub mod storage;
pub mod strategy;
pub mod user;
