//! The pod network of one node: a bridge whose address is the gateway of the node's pods.
//!
//! Pods have single addresses (`/32`, `/128`) and reach everything through the gateway, each other too. So
//! every packet passes the host's IP stack, where services are translated back, with and without the
//! kernel's `br_netfilter`.
//!
//! [`overlay`] says what leads to the pods of other nodes, [`peers`] keeps it so.

mod bridge;
pub mod forward;
pub mod mtu;
pub mod netlink;
pub mod overlay;
pub mod peers;
pub mod sysctl;

pub use bridge::{Bridge, gateway};
