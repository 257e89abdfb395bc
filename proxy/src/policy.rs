//! Network policies: which packets from and to pods of this node pass.
//!
//! `model` reads API objects, `index` keeps them and says what the rules depend on, `render` writes the rules of one
//! direction; none of these does I/O. `sync` brings the rules into a table of their own, so that a cluster without
//! policies has none.
//!
//! Rules are about packets that the host forwards. What a pod exchanges with its own node always passes, as the
//! original says: kubelets probe, and the node's DNS answers. Connections that are established stay so when a policy
//! comes: the original leaves that to implementations, most of which do the same. As soon as there is any policy, a pod
//! of this node that is not known yet begins no connection, so that no pod is there before its policies are.

mod index;
mod model;
mod render;
mod sync;
#[cfg(test)]
mod tests;

pub use index::Index;
pub use model::{Pod, Policy};
pub(crate) use sync::trim;
pub use sync::{Table, Watched, run};

/// What the rules depend on besides API objects.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Name of this node.
    pub node_name: String,
    /// The bridge of the pods on this node.
    pub bridge: String,
}
