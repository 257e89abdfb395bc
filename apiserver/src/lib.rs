//! The API server: storage, authentication, authorization, admission, the registry, discovery, streaming.
pub mod storage;
