//! nftables: what a table should hold, the difference of two states, and how the kernel is told.
//!
//! Rules are plain data ([`Statement`]); `diff` finds the commands between two states; `message` and `expression`
//! write them as the kernel's messages, which it takes all or none of; `text` writes them in the language of the `nft`
//! program, for people. The program itself is not needed. Everything of a cluster is in its own tables, so removal is
//! the deletion of tables.

mod apply;
mod command;
mod diff;
mod expression;
mod message;
mod monitor;
mod rule;
mod ruleset;
mod text;

pub use apply::{Content, Error, Foreign, Nft};
pub use command::{Command, Commands, What};
pub use diff::{diff, full, without};
pub use monitor::Monitor;
pub use rule::{
    Datum, Field, Key, Kind, Name, Protocol, Refusal, Rule, Side, Statement, Value, Verdict, Way, state,
};
pub use ruleset::{Chain, Change, Family, Fragment, Holds, Hook, HookKind, Point, RuleSet, Set};
pub use text::{rule_text, side_by_side};
