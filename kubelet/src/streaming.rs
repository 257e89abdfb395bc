//! Streams into containers: commands, attached processes, forwarded ports.
//!
//! The runtime's streaming server speaks SPDY/3.1. Clients that speak it too are joined to it as they
//! are; those that speak WebSocket are translated, since the runtime's own WebSocket form cannot tell
//! the end of the input.

mod channels;
pub(crate) mod fuzzing;
pub mod handlers;
pub(crate) mod join;
mod ports;
pub mod spdy;
mod tunnel;
mod websocket;
