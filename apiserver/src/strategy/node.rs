//! Nodes register with their status.
use super::Strategy;

/// Rules of `nodes`.
pub struct Node;

impl Strategy for Node {}
