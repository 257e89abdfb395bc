//! What the test programs share that play drivers of nodes.

pub mod wire;
