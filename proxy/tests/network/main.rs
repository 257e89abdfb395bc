//! The node's network in the kernel: namespaces stand for a node, its pods and a client outside.
//!
//! They need root and nft; without root they say so and pass.
#![allow(missing_docs, reason = "tests")]

mod bench;
mod cni;
mod objects;
mod peers;
mod policies;
mod services;
mod support;
mod sync;
