//! The node's network in the kernel: namespaces stand for a node, its pods and a client outside.
//!
//! They need root, without which they say so and pass, and `nft` to see what the kernel made of the rules.
#![allow(missing_docs, reason = "tests")]

mod bench;
mod cni;
mod modes;
mod objects;
mod peers;
mod policies;
mod rules;
mod services;
mod support;
mod sync;
