//! The node object: registration, status and heartbeat.

pub mod machine;
