//! Containers run by Docker Engine, through its API on a socket of this host.
//!
//! Docker knows no pods. A pod's sandbox is a container of the pause program: created without a network, which it then
//! gets as sandboxes of other runtimes get it, and joined by the pod's containers. What the kubelet must find again lies
//! in labels (`note`) and, what is known only later, in a folder below the kubelet's root directory, so a new kubelet
//! adopts what runs. Several kubelets may share an engine: each sees what bears its root directory.
//!
//! Output is written to the pod's log files by the kubelet (`logs`), out of the files in which Docker keeps it; so nothing
//! is lost while no kubelet runs, and everything that reads logs of other runtimes reads these.
//!
//! Refused, since Docker cannot do it: users of a pod's own, images as volumes, limits on huge pages of one container,
//! supplementary groups without those of the image, control groups kept by systemd.

mod create;
mod engine;
mod exec;
mod hijack;
pub mod images;
mod kept;
mod logs;
mod note;
mod pause;
mod runtime;
mod sandbox;
mod status;

pub use engine::Engine;
pub use runtime::{DockerRuntime, Settings, check, endpoint, socket, used};
