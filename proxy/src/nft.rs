//! nftables: what a table should hold, the difference of two states, and the one process that applies it.
//!
//! Rules are written in nft's own language and not in its JSON form: golden files stay readable, and the
//! program parses it faster. Everything of a cluster is in its own tables, so removal is `delete table`.

mod apply;
mod diff;
mod monitor;

mod ruleset;

pub use apply::{Error, Nft};
pub use diff::{diff, full};
pub use monitor::Monitor;

pub use ruleset::{Chain, Family, Fragment, RuleSet, Set, UdpFrontend};
