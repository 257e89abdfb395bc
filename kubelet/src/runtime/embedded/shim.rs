//! The process that holds a pod's sandbox: a single thread, in the namespaces of the pod.
//!
//! It is the parent of all containers of the pod, has their standard streams, writes their logs and notes how they
//! end, so that all of that goes on when the kubelet is not there. Being the pod's namespaces itself, it needs no
//! process that only pauses, except where containers share their processes. It forks (inside of the OCI runtime),
//! which a program with threads must not, and ends when it is told to or when its sandbox's directory is gone.

mod check;
mod container;
mod executor;
mod output;
mod pause;
mod profile;
mod propagation;
pub mod protocol;
mod seccomp;
mod server;
mod streams;
pub mod userns;

pub use check::check;
pub use container::unified;
pub use pause::PROGRAM as PAUSE_PROGRAM;
pub use server::run;
pub use streams::{do_not_block, resize};
