//! The user's commands, one file each.
pub mod backup;
pub mod bench;
pub mod certs;
pub mod down;
pub mod export_logs;
pub mod image;
pub mod join;
pub mod kubeconfig;
pub mod logs;
pub mod restore;
pub mod secrets;
pub mod status;
pub mod token;
pub mod up;
