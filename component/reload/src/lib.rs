//! What is read from files and read again when they change: states of any kind, and certificates with their keys; and whose
//! client certificates are good, and how metrics are written.
pub mod clients;
pub mod exposition;
mod files;
pub mod identity;
pub mod unusual;

pub use files::Reloaded;
