//! The API server: storage, authentication, authorization, admission, the registry, discovery, streaming.
pub mod admission;
pub mod request_info;
pub mod server;
pub mod storage;
pub mod user;
