//! The words of the Container Runtime Interface, v1: sandboxes, containers, images.
//!
//! They are protobuf messages, so that a CRI socket needs no conversion, and at the same time the
//! vocabulary of the [`Runtime`](super::Runtime) trait. Only the fields that the kubelet uses are here:
//! protobuf skips unknown ones. Numbers: <https://github.com/kubernetes/cri-api>, `runtime.v1`.

mod container;
mod image;
mod sandbox;
mod security;
mod stats;
mod status;
mod streaming;

pub use container::*;
pub use image::*;
pub use sandbox::*;
pub use security::*;
pub use stats::*;
pub use status::*;
pub use streaming::*;
