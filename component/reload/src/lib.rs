//! What is read from files and read again when they change: states of any kind, and certificates with their keys.
mod files;
pub mod identity;

pub use files::Reloaded;
